"""Processes killed at every step of telling and feeding, and others that go on (SPEC §4)."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.events.delivery import FanOut
from aletheia.events.log import EventLog
from aletheia.events.turn import CURSORS
from tests.aletheia.events.event_processes import LEASE_S, PROJECT, emit, story
from tests.crash.harness import Ending, Forks, forking


@pytest.fixture
async def forks() -> AsyncGenerator[Forks]:
    async with forking("tests.aletheia.events.event_processes") as forks:
        yield forks


async def work(forks: Forks, directory: Path, what: str, kill_at: int = 0) -> Ending:
    return await forks.work(
        kill_at, directory=str(directory), work=what, sent=str(directory / "sent")
    )


async def with_a_story(directory: Path) -> None:
    """Make a store with the events of a run and somebody who asked for them."""
    store = EmbeddedDocuments(directory)
    await store.open()
    await FanOut(store, {}).subscribe(PROJECT, "run-1", "file")
    await emit(store, "run-1")
    await store.close()


@pytest.mark.timeout(300)
async def test_an_emitter_killed_at_any_step_leaves_no_gap_and_a_second_pass_no_repetition(
    forks: Forks, tmp_path: Path
):
    whole = await work(forks, tmp_path / "whole", "emit")
    assert whole.steps >= 4 * len(story()), "a read and an insert for each event"
    for kill_at in range(1, whole.steps + 1):
        directory, where = tmp_path / str(kill_at), f"killed at step {kill_at}"
        assert (await work(forks, directory, "emit", kill_at)).was_killed, where
        assert (await work(forks, directory, "emit")).is_done, where
        store = EmbeddedDocuments(directory)
        await store.open()
        events = await EventLog(store).read(PROJECT)
        await store.close()
        assert [event.seq for event in events] == list(range(1, len(story()) + 1)), where
        assert [event.read() for event in events] == [event for event, _ in story()], where


@pytest.mark.timeout(300)
async def test_a_feeder_killed_at_any_step_leaves_nothing_out_and_repeats_at_most_one_event(
    forks: Forks, tmp_path: Path
):
    await with_a_story(tmp_path / "whole")
    whole = await work(forks, tmp_path / "whole", "feed")
    numbers = list(range(1, len(story()) + 1))
    assert whole.steps > 2 * len(numbers), "one write for each event"
    for kill_at in range(1, whole.steps + 1):
        directory, where = tmp_path / str(kill_at), f"killed at step {kill_at}"
        await with_a_story(directory)
        assert (await work(forks, directory, "feed", kill_at)).was_killed, where
        await asyncio.sleep(LEASE_S + 0.01)
        assert (await work(forks, directory, "feed")).is_done, where
        sent = [int(line) for line in (directory / "sent").read_text().splitlines()]
        assert list(dict.fromkeys(sent)) == numbers, where
        assert len(sent) <= len(numbers) + 1, where
        store = EmbeddedDocuments(directory)
        await store.open()
        (cursor,) = await store.find(CURSORS, {})
        await store.close()
        assert not cursor["is_open"], where

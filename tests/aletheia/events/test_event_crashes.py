"""Processes killed at every step of telling and feeding, and others that go on (SPEC §4)."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.events.delivery import CURSORS, FanOut
from aletheia.events.log import EventLog
from tests.aletheia.events.event_processes import LEASE_S, PROJECT, story, tell


class Runner:
    """The process that forks those who die."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def work(self, directory: Path, work: str, kill_at: int) -> dict[str, int]:
        """Do some work, killed at a step (0: never)."""
        order = {
            "directory": str(directory),
            "work": work,
            "sent": str(directory / "sent"),
            "kill_at": kill_at,
        }
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())


@pytest.fixture
async def runner() -> AsyncGenerator[Runner]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.aletheia.events.event_processes",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield Runner(process)
    assert process.stdin
    process.stdin.close()
    await process.wait()


async def with_a_story(directory: Path) -> None:
    """Make a store with the events of a run and somebody who asked for them."""
    store = EmbeddedDocuments(directory)
    await store.open()
    await FanOut(store, EventLog(store), {}).subscribe(PROJECT, "run-1", "file")
    await tell(store, "run-1")
    await store.close()


@pytest.mark.timeout(300)
async def test_a_teller_killed_at_any_step_leaves_no_gap_and_a_second_pass_no_repetition(
    runner: Runner, tmp_path: Path
):
    whole = await runner.work(tmp_path / "whole", "tell", kill_at=0)
    assert whole["steps"] >= 4 * len(story()), "a look and an insert for each event"
    for kill_at in range(1, whole["steps"] + 1):
        directory, where = tmp_path / str(kill_at), f"killed at step {kill_at}"
        assert (await runner.work(directory, "tell", kill_at))["signal"] == signal.SIGKILL, where
        assert (await runner.work(directory, "tell", kill_at=0))["signal"] == 0, where
        store = EmbeddedDocuments(directory)
        await store.open()
        events = await EventLog(store).read(PROJECT)
        await store.close()
        assert [event.seq for event in events] == list(range(1, len(story()) + 1)), where
        assert [event.read() for event in events] == [event for event, _ in story()], where


@pytest.mark.timeout(300)
async def test_a_feeder_killed_at_any_step_leaves_nothing_out_and_repeats_at_most_one_event(
    runner: Runner, tmp_path: Path
):
    await with_a_story(tmp_path / "whole")
    whole = await runner.work(tmp_path / "whole", "feed", kill_at=0)
    numbers = list(range(1, len(story()) + 1))
    assert whole["steps"] > 2 * len(numbers), "one write for each event"
    for kill_at in range(1, whole["steps"] + 1):
        directory, where = tmp_path / str(kill_at), f"killed at step {kill_at}"
        await with_a_story(directory)
        assert (await runner.work(directory, "feed", kill_at))["signal"] == signal.SIGKILL, where
        await asyncio.sleep(LEASE_S + 0.01)
        assert (await runner.work(directory, "feed", kill_at=0))["signal"] == 0, where
        sent = [int(line) for line in (directory / "sent").read_text().splitlines()]
        assert list(dict.fromkeys(sent)) == numbers, where
        assert len(sent) <= len(numbers) + 1, where
        store = EmbeddedDocuments(directory)
        await store.open()
        (cursor,) = await store.find(CURSORS, {})
        await store.close()
        assert not cursor["is_open"], where

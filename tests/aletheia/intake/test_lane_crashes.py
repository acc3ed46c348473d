"""A shift and a lane's worker killed at every step, and others that find what they left."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from aletheia import metrics
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.intake.ledger import Ledger
from aletheia.intake.pushed import PushedStatus, PushedTasks, read_pushed
from aletheia.settings import IntakeSettings
from tests.aletheia.intake.test_crashes import (
    LEASE_S,
    LONG_LEASE_S,
    TASKS,
    computed,
    counters_in,
    list_tasks,
    tasks_of,
    was_kept,
)
from tests.crash.harness import Forks, forking
from tests.fakes.upstream import serve_fake_upstream

PUSHED = 2


@pytest.fixture
async def forks() -> AsyncGenerator[Forks]:
    async with forking("tests.aletheia.intake.lane_runner") as forks:
        yield forks


@pytest.mark.timeout(900)
async def test_a_lane_killed_at_any_step_loses_nothing_and_repeats_nothing_kept(
    forks: Forks, tmp_path: Path
):
    kill_at, was_killed = 0, True
    while was_killed:
        kill_at += 1
        where = f"killed at step {kill_at}"
        directory = tmp_path / str(kill_at)
        directory.mkdir()
        async with serve_fake_upstream() as upstream:
            list_tasks(upstream)
            order: dict[str, Any] = {
                "url": upstream.url,
                "directory": str(directory),
                "log": str(directory / "computed"),
            }
            first = await forks.work(kill_at, **order, lease_s=LEASE_S)
            was_killed = first.was_killed
            kept, before = await was_kept(directory), computed(directory)
            await asyncio.sleep(LEASE_S + 0.02)
            assert (await forks.work(**order, lease_s=LONG_LEASE_S)).is_done, where

            assert all(task.state == "succeeded" for task in tasks_of(upstream)), where
            assert upstream.tasks["faulty"].state == "failed", where
            for task_id, bodies in upstream.bodies.items():
                reports = {body for body in bodies if b'"processing"' not in body}
                assert len(reports) == 1, f"{where}: {task_id} was reported with other results"
            counters = await counters_in(directory)
            assert counters.by(metrics.TASKS, "state", type="echo") == {
                "claimed": TASKS,
                "succeeded": TASKS,
            }, where
            assert counters.total(metrics.LEDGER_ROWS) == 0, where
            assert counters.value(metrics.LANE_WAITING, "media") == 0, where
            afterwards = computed(directory) - before
            assert not afterwards.keys() & kept, f"{where}: computed what was kept"
            assert all(count == 1 for count in afterwards.values()), where
            assert set(before) | set(afterwards) == {f"text {number}" for number in range(TASKS)}
    assert kill_at > 70, "the steps of a whole shift and a worker"


async def push(directory: Path) -> None:
    documents = EmbeddedDocuments(directory)
    await documents.open()
    bodies = [
        {
            "id": f"p{n}",
            "type": "echo",
            "data": {"text": f"text {n}"},
            "callback_url": "https://x.y",
        }
        for n in range(PUSHED)
    ]
    rows = Ledger(documents, IntakeSettings(), owner="the service").rows
    await PushedTasks(documents, rows).push(read_pushed(bodies, max_entry_bytes=10_000))
    await documents.close()


async def read_statuses(directory: Path) -> list[PushedStatus | None]:
    documents = EmbeddedDocuments(directory)
    await documents.open()
    tasks = PushedTasks(documents, Ledger(documents, IntakeSettings(), owner="the service").rows)
    statuses = [await tasks.find(f"p{number}") for number in range(PUSHED)]
    await documents.close()
    return statuses


@pytest.mark.timeout(900)
async def test_pushed_tasks_killed_at_any_step_are_computed_once_kept_and_called_back_alike(
    forks: Forks, tmp_path: Path
):
    kill_at, was_killed = 0, True
    async with serve_fake_upstream() as upstream:
        while was_killed:
            kill_at += 1
            where = f"killed at step {kill_at}"
            directory = tmp_path / str(kill_at)
            directory.mkdir()
            await push(directory)
            order: dict[str, Any] = {
                "url": upstream.url,
                "directory": str(directory),
                "log": str(directory / "computed"),
            }
            was_killed = (await forks.work(kill_at, **order, lease_s=LEASE_S)).was_killed
            kept = {name.replace("p", "text ") for name in await was_kept(directory)}
            before = computed(directory)
            await asyncio.sleep(LEASE_S + 0.02)
            assert (await forks.work(**order, lease_s=LONG_LEASE_S)).is_done, where

            sent = set((directory / "callbacks").read_bytes().splitlines())
            assert len(sent) == PUSHED, f"{where}: a task was called back with other results"
            for status in await read_statuses(directory):
                assert status is not None, where
                assert status.state == "succeeded", where
                assert status.report is not None, where
                nonce = status.report["result"]["nonce"].encode()
                assert sum(nonce in line for line in sent) == 1, where
            counters = await counters_in(directory)
            assert counters.by(metrics.TASKS, "state", type="echo") == {
                "claimed": PUSHED,
                "succeeded": PUSHED,
            }, where
            assert counters.total(metrics.LEDGER_ROWS) == 0, where
            afterwards = computed(directory) - before
            assert not afterwards.keys() & kept, f"{where}: computed what was kept"
            assert all(count == 1 for count in afterwards.values()), where
        assert upstream.states == {}
    assert kill_at > 15, "the steps of a shift and a worker"

"""A poller killed at every step, and another that finds what it left (SPEC §1, Effects)."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from aletheia import metrics
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.intake.rows import ROWS
from aletheia.series import Counters
from aletheia.store.counters import read_counters
from tests.crash.harness import Forks, forking
from tests.fakes.upstream import FakeUpstream, serve_fake_upstream

TASKS = 6
LEASE_S = 0.15
"""Of the one that is killed; on a busy machine it may lose what it works on, and begin again."""

LONG_LEASE_S = 60.0
"""Of the one that finds what is left."""


@pytest.fixture
async def forks() -> AsyncGenerator[Forks]:
    async with forking("tests.aletheia.intake.crash_runner") as forks:
        yield forks


def list_tasks(upstream: FakeUpstream) -> None:
    for number in range(TASKS):
        upstream.add(f"t{number}", f"text {number}", type="echo")
    upstream.add("faulty", type="echo", data="no object")


async def was_kept(directory: Path) -> set[str]:
    """The texts whose result the ledger holds."""
    documents = EmbeddedDocuments(directory)
    await documents.open()
    rows = await documents.find(ROWS, {"outcome": "succeeded"})
    await documents.close()
    return {row["task_id"].replace("t", "text ") for row in rows}


async def counters_in(directory: Path) -> Counters:
    documents = EmbeddedDocuments(directory)
    await documents.open()
    counters = await read_counters(documents)
    await documents.close()
    return counters


def computed(directory: Path) -> Counter[str]:
    log = directory / "computed"
    return Counter(log.read_text().splitlines() if log.exists() else [])


@pytest.mark.timeout(900)
async def test_a_poller_killed_at_any_step_loses_nothing_and_repeats_nothing_kept(
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
            assert counters.by(metrics.TASKS, "state", type="invalid") == {
                "claimed": 1,
                "failed": 1,
            }, where
            assert counters.total(metrics.LEDGER_ROWS) == 0, where
            assert counters.value(metrics.DEAD_LETTERS) == 1, where
            afterwards = computed(directory) - before
            assert not afterwards.keys() & kept, f"{where}: computed what was kept"
            assert all(count == 1 for count in afterwards.values()), where
            assert set(before) | set(afterwards) == {f"text {number}" for number in range(TASKS)}
    assert kill_at > 50, "the steps of a whole shift"


def tasks_of(upstream: FakeUpstream) -> list[Any]:
    return [upstream.tasks[f"t{number}"] for number in range(TASKS)]

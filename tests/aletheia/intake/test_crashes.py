"""A poller killed at every step, and another that finds what it left (SPEC §1, Effects)."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.intake.ledger import ROWS
from tests.fakes.upstream import FakeUpstream, serve_fake_upstream

TASKS = 6
LEASE_S = 0.15


class Runner:
    """The process that forks pollers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def work(self, upstream: FakeUpstream, directory: Path, kill_at: int) -> dict[str, Any]:
        """Work one shift, killed at a step (0: never)."""
        order = {
            "url": upstream.url,
            "directory": str(directory),
            "log": str(directory / "computed"),
            "kill_at": kill_at,
            "lease_s": LEASE_S,
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
        "tests.aletheia.intake.crash_runner",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield Runner(process)
    assert process.stdin
    process.stdin.close()
    await process.wait()


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


def computed(directory: Path) -> Counter[str]:
    log = directory / "computed"
    return Counter(log.read_text().splitlines() if log.exists() else [])


@pytest.mark.timeout(300)
async def test_a_poller_killed_at_any_step_loses_nothing_and_repeats_nothing_kept(
    runner: Runner, tmp_path: Path
):
    async with serve_fake_upstream() as upstream:
        list_tasks(upstream)
        (tmp_path / "whole").mkdir()
        whole = await runner.work(upstream, tmp_path / "whole", kill_at=0)
    assert whole["steps"] > 50, "the steps of a whole shift"

    for kill_at in range(1, whole["steps"] + 1):
        directory = tmp_path / str(kill_at)
        directory.mkdir()
        async with serve_fake_upstream() as upstream:
            list_tasks(upstream)
            killed = await runner.work(upstream, directory, kill_at)
            kept, before = await was_kept(directory), computed(directory)
            await asyncio.sleep(LEASE_S + 0.02)
            after_that = await runner.work(upstream, directory, kill_at=0)

            assert after_that["exit"] == 0
            where = f"killed at step {kill_at}"
            # Steps of concurrent calls may come in another order, and so may be one fewer.
            assert killed["signal"] == signal.SIGKILL or kill_at > whole["steps"] - 5, where
            assert all(task.state == "succeeded" for task in tasks_of(upstream)), where
            assert upstream.tasks["faulty"].state == "failed", where
            for task_id, bodies in upstream.bodies.items():
                reports = {body for body in bodies if b'"processing"' not in body}
                assert len(reports) == 1, f"{where}: {task_id} was reported with other results"
            again = {text for text, count in computed(directory).items() if count > 1}
            assert not again & kept, f"{where}: computed what was kept"
            assert all(count <= 2 for count in computed(directory).values()), where
            assert set(before) <= set(computed(directory))


def tasks_of(upstream: FakeUpstream) -> list[Any]:
    return [upstream.tasks[f"t{number}"] for number in range(TASKS)]

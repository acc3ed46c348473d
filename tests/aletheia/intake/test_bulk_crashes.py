"""A run of the bulk lane killed at every step, and another that finds what it left."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.intake.bulk import BULK
from aletheia.llm.usage import USAGE
from tests.fakes.openai_batches import FakeBatchAPI, serve_fake_batches
from tests.fakes.upstream import FakeUpstream, serve_fake_upstream

TEXTS = ["twice", "twice", "refused", "left"]
LANE_S = 0.2


class Runner:
    """The process that forks runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def work(
        self,
        upstream: FakeUpstream,
        api: FakeBatchAPI,
        directory: Path,
        *,
        kill_at: int = 0,
        is_shift: bool = False,
    ) -> dict[str, Any]:
        """Work one run, killed at a step (0: never)."""
        order = {
            "url": upstream.url,
            "api_url": api.url,
            "api_key": api.api_key,
            "directory": str(directory),
            "kill_at": kill_at,
            "lane_s": LANE_S,
            "is_shift": is_shift,
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
        "tests.aletheia.intake.bulk_runner",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield Runner(process)
    assert process.stdin
    process.stdin.close()
    await process.wait()


def fill(upstream: FakeUpstream, api: FakeBatchAPI) -> None:
    """List a backlog of which one text is refused and another one is not reached in time."""
    for number, text in enumerate(TEXTS):
        upstream.add(f"t{number}", text)
    api.models = {"text-embedding-3-small": 8}
    api.refuses = {"refused"}
    api.ends, api.answers = "expired", len(set(TEXTS)) - 1


async def read_all(directory: Path, collection: str) -> list[dict[str, Any]]:
    documents = EmbeddedDocuments(directory)
    await documents.open()
    found = await documents.find(collection, {})
    await documents.close()
    return found


@pytest.mark.timeout(400)
async def test_a_run_killed_at_any_step_submits_once_and_loses_nothing(
    runner: Runner, tmp_path: Path
):
    (tmp_path / "whole").mkdir()
    async with serve_fake_upstream() as upstream, serve_fake_batches() as api:
        fill(upstream, api)
        whole = await runner.work(upstream, api, tmp_path / "whole")
    assert whole["steps"] > 30, "the steps of a whole run"

    for kill_at in range(1, whole["steps"] + 1):
        where = f"killed at step {kill_at}"
        directory = tmp_path / str(kill_at)
        directory.mkdir()
        async with serve_fake_upstream() as upstream, serve_fake_batches() as api:
            fill(upstream, api)
            killed = await runner.work(upstream, api, directory, kill_at=kill_at)
            # Steps of concurrent calls may come in another order, and so may be one fewer.
            assert killed["signal"] == signal.SIGKILL or kill_at > whole["steps"] - 5, where
            assert (await runner.work(upstream, api, directory))["exit"] == 0, where
            assert (await runner.work(upstream, api, directory, is_shift=True))["exit"] == 0, where

            assert len(api.batches) == 1, where
            assert sorted(api.worked_on) == ["refused", "twice"], where
            states = {task_id: states[-1] for task_id, states in upstream.states.items()}
            expected = {f"t{n}": "succeeded" for n in range(len(TEXTS))} | {"t2": "failed"}
            assert states == expected, where
            for task_id, bodies in upstream.bodies.items():
                reports = {body for body in bodies if b'"processing"' not in body}
                assert len(reports) == 1, f"{where}: {task_id} was reported with other results"
            single = [text for texts in api.sent for text in texts]
            assert single == ["left"], where

            orders = [one for one in await read_all(directory, BULK) if "state" in one]
            assert [order["state"] for order in orders] == ["done"], where
            spent = [one for one in await read_all(directory, USAGE) if one["is_batch"]]
            settled = [one for one in spent if one["state"] == "settled"]
            # One killed between reserving and writing the order leaves what it reserved.
            assert len(spent) - len(settled) <= 1, where
            assert [one["tokens_in"] for one in settled] == [1], where

"""A run of the bulk lane killed at every step, and another that finds what it left."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.intake.bulk.orders import BULK
from aletheia.llm.usage import USAGE
from tests.crash.harness import Forks, forking
from tests.fakes.openai_batches import FakeBatchAPI, serve_fake_batches
from tests.fakes.upstream import FakeUpstream, serve_fake_upstream

TEXTS = ["twice", "twice", "refused", "left"]
LANE_S = 0.2


@pytest.fixture
async def forks() -> AsyncGenerator[Forks]:
    async with forking("tests.aletheia.intake.bulk_runner") as forks:
        yield forks


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


@pytest.mark.timeout(900)
async def test_a_run_killed_at_any_step_submits_once_and_loses_nothing(
    forks: Forks, tmp_path: Path
):
    kill_at, was_killed = 0, True
    while was_killed:
        kill_at += 1
        where = f"killed at step {kill_at}"
        directory = tmp_path / str(kill_at)
        async with serve_fake_upstream() as upstream, serve_fake_batches() as api:
            fill(upstream, api)
            order: dict[str, Any] = {
                "url": upstream.url,
                "api_url": api.url,
                "api_key": api.api_key,
                "directory": str(directory),
                "lane_s": LANE_S,
            }
            was_killed = (await forks.work(kill_at, **order, is_shift=False)).was_killed
            assert (await forks.work(**order, is_shift=False)).is_done, where
            assert (await forks.work(**order, is_shift=True)).is_done, where

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

            orders = [row for row in await read_all(directory, BULK) if "state" in row]
            assert [order["state"] for order in orders] == ["done"], where
            spent = [call for call in await read_all(directory, USAGE) if call["is_batch"]]
            settled = [call for call in spent if call["state"] == "settled"]
            # One killed between reserving and writing the order leaves what it reserved.
            assert len(spent) - len(settled) <= 1, where
            assert [call["tokens_in"] for call in settled] == [1], where
    assert kill_at > 30, "the steps of a whole run"

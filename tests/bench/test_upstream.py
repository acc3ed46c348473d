"""The clock of a round, and what is read back from it."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from bench.corpora import DIMENSIONS, task_id
from bench.upstream import Rounds

PROCESSING = {"state": "processing"}


def succeeded(dimensions: int = DIMENSIONS, value: float = 0.5) -> dict[str, object]:
    result = {
        "embedding": [value] * dimensions,
        "model": "a-model",
        "provider": "local",
        "dimensions": dimensions,
    }
    return {"state": "succeeded", "result": result}


class Served:
    """Rounds behind a server, and a client of theirs."""

    def __init__(self, rounds: Rounds, session: aiohttp.ClientSession) -> None:
        self.rounds, self._session = rounds, session

    async def get(self, name: str) -> list[object]:
        async with self._session.get(f"/{name}/api/ai-tasks/pending?limit=10") as response:
            return (await response.json())["data"]

    async def patch(self, name: str, number: int, body: object, *, tag: str = "r1") -> int:
        path = f"/{name}/api/ai-tasks/{task_id(tag, number)}"
        async with self._session.patch(path, json=body) as response:
            return response.status


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    rounds = Rounds()
    runner = web.ServerRunner(web.Server(rounds.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession(url) as session:
        yield Served(rounds, session)
    await runner.cleanup()


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "corpus.json"
    path.write_text(json.dumps(["one text", "another text"]))
    return str(path)


async def test_a_round_is_over_when_every_task_was_reported(served: Served, corpus: str):
    await served.rounds.control({"op": "load", "name": "loop", "corpus": corpus, "tag": "r1"})
    assert len(await served.get("loop")) == 2
    for number in (0, 1):
        assert await served.patch("loop", number, PROCESSING) == 200
    assert (await served.rounds.control({"op": "progress", "name": "loop"}))["done"] == 0
    for number in (0, 1):
        assert await served.patch("loop", number, succeeded()) == 200
    finished = await served.rounds.control({"op": "finish", "name": "loop"})
    assert finished["reports"] == 4
    assert finished["seconds"] > 0


async def test_looks_before_there_are_tasks_do_not_start_the_clock(served: Served, corpus: str):
    assert await served.get("loop") == []
    await served.rounds.control({"op": "load", "name": "loop", "corpus": corpus, "tag": "r1"})
    before = served.rounds.current("loop")
    assert before.began_at is None
    await served.get("loop")
    assert before.began_at is not None


async def test_contenders_do_not_see_each_others_tasks(served: Served, corpus: str):
    await served.rounds.control({"op": "load", "name": "loop", "corpus": corpus, "tag": "r1"})
    assert await served.get("celery") == []
    assert await served.patch("celery", 0, PROCESSING) == 404


async def test_vectors_come_back_in_the_order_of_the_texts(
    served: Served, corpus: str, tmp_path: Path
):
    await served.rounds.control({"op": "load", "name": "loop", "corpus": corpus, "tag": "r1"})
    for number in (1, 0):
        await served.patch("loop", number, PROCESSING)
        await served.patch("loop", number, succeeded(value=float(number)))
    path = tmp_path / "vectors.npy"
    found = await served.rounds.control({"op": "vectors", "name": "loop", "path": str(path)})
    assert found["faulty"] == 0
    assert np.load(path)[:, 0].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(succeeded(3), id="too few dimensions"),
        pytest.param(
            {"state": "failed", "error": {"code": "x", "message": "no", "retryable": False}},
            id="failed",
        ),
    ],
)
async def test_a_task_without_a_good_vector_is_named(
    served: Served, corpus: str, tmp_path: Path, report: dict[str, object]
):
    await served.rounds.control({"op": "load", "name": "loop", "corpus": corpus, "tag": "r1"})
    for number, body in ((0, succeeded()), (1, report)):
        await served.patch("loop", number, PROCESSING)
        assert await served.patch("loop", number, body) == 200
    request = {"op": "vectors", "name": "loop", "path": str(tmp_path / "vectors.npy")}
    found = await served.rounds.control(request)
    assert found["faulty"] == 1
    assert task_id("r1", 1) in found["faults"][0]

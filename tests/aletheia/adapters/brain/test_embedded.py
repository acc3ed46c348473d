"""The Brain in a file: several processes, crashes, and matrices that keep up."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from aletheia.adapters.brain import embedded, embedded_statements
from aletheia.adapters.brain.embedded import FILE, EmbeddedGraph
from aletheia.brain.forms import measure_cosines
from aletheia.brain.index import IndexedBrain
from aletheia.errors import Misconfigured, Unavailable
from tests.fakes.brain import (
    DIMENSIONS,
    FIRST_AXIS,
    LEGAL,
    MODEL,
    PROJECT,
    FakeEmbed,
    item_of,
    vector_at,
    vector_of,
)

WRITE = (sys.executable, Path(__file__).with_name("brain_process.py"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}


def brain_over(graph: EmbeddedGraph, model: str = MODEL) -> IndexedBrain:
    return IndexedBrain(graph, FakeEmbed(), model, DIMENSIONS)


@pytest.fixture
async def graphs(tmp_path: Path) -> AsyncGenerator[list[EmbeddedGraph]]:
    """The same file, as two processes have it open."""
    two = [EmbeddedGraph(tmp_path), EmbeddedGraph(tmp_path)]
    for graph in two:
        await graph.open()
    yield two
    for graph in two:
        await graph.close()


async def find_ids(brain: IndexedBrain, threshold: float = -1.0) -> set[str]:
    found = await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=threshold, limit=2000)
    return {hit.id for hit in found}


async def test_what_one_process_writes_another_one_finds(graphs: list[EmbeddedGraph]):
    here, there = map(brain_over, graphs)
    assert await find_ids(there) == set()
    await here.upsert(PROJECT, LEGAL, [item_of("a"), item_of("b")])
    assert await find_ids(there) == {"a", "b"}
    await there.upsert(PROJECT, LEGAL, [item_of("b", vector=FIRST_AXIS), item_of("c")])
    assert await find_ids(here) == {"a", "b", "c"}
    assert await find_ids(here, 0.999) == {"b"}
    await here.graph.delete(PROJECT, ["a"])
    assert await find_ids(there) == {"b", "c"}
    await there.upsert(PROJECT, LEGAL, [item_of("a", vector=FIRST_AXIS)])
    assert await find_ids(here, 0.999) == {"a", "b"}


async def test_another_model_is_noticed_by_all_processes(graphs: list[EmbeddedGraph]):
    here = brain_over(graphs[0])
    await here.upsert(PROJECT, LEGAL, [item_of("a"), item_of("b")])
    assert await find_ids(here) == {"a", "b"}
    changed = brain_over(graphs[1], "another")
    await changed.adopt_model("another")
    await changed.upsert(PROJECT, LEGAL, [item_of("b")])
    assert await find_ids(brain_over(graphs[0], "another")) == {"b"}


async def test_many_deletions_leave_nothing_behind(
    graphs: list[EmbeddedGraph], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(embedded_statements, "MAX_GONE", 3)
    here, there = map(brain_over, graphs)
    items = [item_of(f"i{n}") for n in range(10)]
    await here.upsert(PROJECT, LEGAL, items)
    for n in range(9):
        assert await find_ids(there) == {f"i{m}" for m in range(n, 10)}
        await here.graph.delete(PROJECT, [f"i{n}"])
    assert await find_ids(there) == {"i9"}


async def test_the_project_unused_for_longest_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(embedded, "MAX_BYTES", 1)
    small = EmbeddedGraph(tmp_path)
    await small.open()
    brain = brain_over(small)
    for project in ("one", "two", "three"):
        await brain.upsert(project, LEGAL, [item_of(project, vector=FIRST_AXIS)])
    for project in ("one", "two", "three", "one"):
        (found,) = await brain.find_duplicates(project, vector=FIRST_AXIS, threshold=0.9)
        assert found.id == project
    memory = cast("Any", small)._memory
    assert [project_id for project_id in ("one", "two", "three") if project_id in memory] == ["one"]
    await small.close()


async def test_searches_agree_with_brute_force(graphs: list[EmbeddedGraph]):
    brain = brain_over(graphs[0])
    items = [item_of(f"i{n:04}") for n in range(3000)]
    await brain.upsert(PROJECT, LEGAL, items)
    vectors = np.stack([vector_of(item.content) for item in items])
    for query in map(vector_of, ("one", "another", "a third")):
        scores = measure_cosines(vectors, query)
        expected = sorted(
            ((-score, one.id) for score, one in zip(scores.tolist(), items, strict=True)),
        )
        found = await brain.find_duplicates(PROJECT, vector=query, threshold=-1.0, limit=50)
        assert [hit.id for hit in found] == [item_id for _, item_id in expected[:50]]
        above = await brain.find_duplicates(PROJECT, vector=query, threshold=0.7, limit=2000)
        assert len(above) == int((scores >= 0.7).sum())


async def test_ids_decide_among_thousands_of_equals(graphs: list[EmbeddedGraph]):
    brain = brain_over(graphs[0])
    names = [f"i{n:04}" for n in reversed(range(5000))]
    await brain.upsert(
        PROJECT, LEGAL, [item_of(item_id, vector=vector_at(0.9)) for item_id in names]
    )
    found = await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.5, limit=3)
    assert [hit.id for hit in found] == ["i0000", "i0001", "i0002"]


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path):
    started = [
        subprocess.Popen([*WRITE, tmp_path, name, "20"], env=ENVIRONMENT, text=True)
        for name in ("a", "b")
    ]
    assert [process.wait(50) for process in started] == [0, 0]
    kept = asyncio.run(_count(tmp_path))
    assert kept == 2 * 20 * 5 + 1, "and the one that both wrote"


def test_what_was_written_survives_a_kill(tmp_path: Path):
    command = [*WRITE, tmp_path, "a", "100000"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        process.kill()
    done = 5 * len([line for line in lines if line.strip()])
    assert done == 25
    assert asyncio.run(_count(tmp_path)) >= done


async def _count(directory: Path) -> int:
    graph = EmbeddedGraph(directory)
    await graph.open()
    try:
        return len(await find_ids(brain_over(graph)))
    finally:
        await graph.close()


async def test_a_file_that_was_taken_away_is_out_of_reach(
    graphs: list[EmbeddedGraph], tmp_path: Path
):
    (tmp_path / FILE).unlink()
    with pytest.raises(Unavailable, match="brain is unavailable"):
        await graphs[0].read_model()


async def test_a_file_that_is_something_else_is_refused(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b"no database at all, whatever it is" * 100)
    with pytest.raises(Unavailable):
        await EmbeddedGraph(tmp_path).open()


async def test_a_file_of_a_newer_version_is_not_touched(tmp_path: Path):
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Misconfigured, match="format 99"):
        await EmbeddedGraph(tmp_path).open()


async def test_a_graph_that_is_closed_is_out_of_reach_and_may_be_opened_again(
    graphs: list[EmbeddedGraph],
):
    await graphs[0].close()
    await graphs[0].close()
    with pytest.raises(Unavailable, match="not open"):
        await graphs[0].read_model()
    await graphs[0].open()
    assert await graphs[0].read_model() is None

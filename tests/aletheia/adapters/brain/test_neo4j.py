"""The Brain on a real Neo4j: what goes wrong, and what no other backend has."""

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, TypeVar, cast

import neo4j
import numpy as np
import pytest
from numpy.typing import NDArray

from aletheia.adapters.brain import neo4j_server
from aletheia.adapters.brain.neo4j import Neo4jGraph
from aletheia.adapters.brain.neo4j_connection import read_cypher
from aletheia.adapters.brain.neo4j_search import MAX_BYTES
from aletheia.brain.graph import EXACT_UP_TO, GraphItem
from aletheia.brain.index import IndexedBrain
from aletheia.brain.ports import BrainDepartment
from aletheia.errors import InvalidTask, Misconfigured, Unauthorized, Unavailable, Unreachable
from aletheia.vectors import measure_bytes
from tests.fakes.brain import DIMENSIONS, LEGAL, MODEL, BrainWorld, FakeEmbed, vector_of
from tests.fakes.brain_graphs import leave, read_neighbours
from tests.services.neo4j_server import Neo4jAddress, Neo4jServer, empty
from tests.services.nx import free_port

pytestmark = pytest.mark.timeout(300)  # a server of our own is started, more than once

PROJECT = "project-1"

SHOW_CONSTRAINTS = "SHOW CONSTRAINTS YIELD name"


def unit_of(text: str) -> NDArray[np.float32]:
    vector = vector_of(text)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def items_of(prefix: str, n: int, *, first: int = 0) -> list[GraphItem]:
    return [
        GraphItem(f"{prefix}{at}", f"Content {at}.", "", "", unit_of(f"{prefix}{at}"), "f", at)
        for at in range(first, first + n)
    ]


G = TypeVar("G", bound=Neo4jGraph)

BOUNDS = (EXACT_UP_TO, MAX_BYTES)
LARGE = (10, MAX_BYTES)
"""Bounds that have most projects be large."""


def connect(
    address: Neo4jAddress,
    kind: type[G] = Neo4jGraph,
    *,
    bounds: tuple[int, int] = BOUNDS,
    **settings: Any,
) -> G:
    """Connect, with `bounds` on what is compared in full, and on the bytes in memory."""
    graph = kind(address.uri, address.username, address.password, **settings)
    graph.exact_up_to, graph.memory.max_bytes = bounds
    return graph


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neo4j_server, "RETRY_S", 2.0)
    monkeypatch.setattr(neo4j_server, "CONNECT_TIMEOUT_S", 2.0)


@pytest.fixture
async def graph(neo4j_in_turn: Neo4jAddress) -> AsyncGenerator[Neo4jGraph]:
    graph = connect(neo4j_in_turn)
    await graph.open()
    await graph.set_model(MODEL, DIMENSIONS)
    yield graph
    await leave(graph, neo4j_in_turn)


@pytest.fixture
async def other(neo4j_in_turn: Neo4jAddress) -> AsyncGenerator[Neo4jGraph]:
    """The same graph as another process has it."""
    other = connect(neo4j_in_turn)
    yield other
    await other.close()


@pytest.fixture
async def frail(own_neo4j: Neo4jServer) -> AsyncGenerator[Neo4jGraph]:
    """A graph on the server that is killed."""
    graph = connect(own_neo4j.address)
    await graph.open()
    await graph.set_model(MODEL, DIMENSIONS)
    yield graph
    await graph.close()
    empty(own_neo4j.address)


async def list_ids(graph: Neo4jGraph, project_id: str = PROJECT) -> set[str]:
    return {item.id for item in await graph.list_items(project_id, limit=20_000)}


async def find_ids(graph: Neo4jGraph, vector: NDArray[np.float32], threshold: float) -> list[str]:
    found = await graph.search(PROJECT, vector, threshold=threshold, limit=10)
    return [hit.id for hit in found]


# Out of reach


async def test_a_server_that_is_not_there_is_unreachable_at_once():
    graph = connect(Neo4jAddress(f"bolt://127.0.0.1:{free_port()}"))
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(Unreachable):
            await graph.list_items(PROJECT)
    assert time.monotonic() - began < 10
    await graph.close()


async def test_a_server_that_hangs_holds_nobody_up():
    is_over = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        is_over.set()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        graph = connect(Neo4jAddress(f"bolt://127.0.0.1:{port}"), timeout_s=0.5)
        with pytest.raises(Unavailable):
            await graph.open()
        began = time.monotonic()
        calls = [graph.list_items(PROJECT) for _ in range(8)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Unavailable] * 8
        assert time.monotonic() - began < 2, "one waited for the other"
        await graph.close()
        await is_over.wait()


@pytest.mark.parametrize("uri", ["", "http://127.0.0.1", "nonsense", "bolt+x://127.0.0.1"])
async def test_an_address_that_cannot_be_right_is_said_to_be(uri: str):
    with pytest.raises(Misconfigured, match="NEO4J_URI"):
        await connect(Neo4jAddress(uri)).open()


@pytest.mark.parametrize("uri", ["bolt://me:hunter2@127.0.0.1", "bolt://127.0.0.1?key=hunter2"])
async def test_what_is_secret_in_an_address_is_not_said(uri: str):
    with pytest.raises(Misconfigured, match="NEO4J_URI") as refused:
        await connect(Neo4jAddress(uri)).open()
    assert "hunter2" not in str(refused.value)


async def test_a_host_that_nobody_knows_is_unreachable():
    graph = connect(Neo4jAddress("bolt://127.0.0.1:99999"))
    with pytest.raises(Unreachable):
        await graph.open()


async def test_wrong_credentials_are_refused_without_a_word_of_the_password(
    neo4j_in_turn: Neo4jAddress,
):
    graph = connect(Neo4jAddress(neo4j_in_turn.uri, "nobody", "hunter2"))
    with pytest.raises(Unauthorized) as refused:
        await graph.open()
    assert "hunter2" not in str(refused.value)


async def test_a_password_that_has_to_be_changed_first_is_no_good(neo4j_in_turn: Neo4jAddress):
    await run(neo4j_in_turn, "CREATE USER fresh SET PASSWORD 'at-first-1'", database="system")
    graph = connect(Neo4jAddress(neo4j_in_turn.uri, "fresh", "at-first-1"))
    try:
        with pytest.raises(Unauthorized, match="must be changed"):
            await graph.open()
    finally:
        await run(neo4j_in_turn, "DROP USER fresh", database="system")


async def test_what_the_server_refuses_is_no_fault_of_the_items(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress, tmp_path: Path
):
    world = BrainWorld(tmp_path)
    world.brain = IndexedBrain(graph, world.embed, MODEL, DIMENSIONS)
    await world.open()
    await world.save("first", "second")
    odd = "CREATE CONSTRAINT odd FOR (item:Item) REQUIRE item.department IS UNIQUE"
    await run(neo4j_in_turn, odd)
    try:
        assert await world.deliver() == 0
    finally:
        await run(neo4j_in_turn, "DROP CONSTRAINT odd")
    (state,) = await world.outbox.states()
    assert (state.waiting, state.dead) == (1, 0)
    world.now += 700
    assert await world.deliver() == 2
    await world.close()


async def test_a_database_that_is_not_there_is_said_to_be_missing(neo4j_in_turn: Neo4jAddress):
    graph = connect(neo4j_in_turn, database="no-such-database")
    with pytest.raises(Misconfigured, match="no-such-database"):
        await graph.open()


async def test_a_server_killed_in_mid_batch_loses_and_doubles_nothing(
    own_neo4j: Neo4jServer, frail: Neo4jGraph
):
    items = items_of("i", 5000)
    await frail.upsert(PROJECT, LEGAL, items[:600])
    writing = asyncio.create_task(frail.upsert(PROJECT, LEGAL, items))
    while len(await list_ids(frail)) < 1100:
        await asyncio.sleep(0.01)
    own_neo4j.kill()
    with pytest.raises(Unavailable):
        await writing
    with pytest.raises(Unreachable):
        await frail.search(PROJECT, items[0].vector, threshold=0.9, limit=1)
    await asyncio.to_thread(own_neo4j.start)

    there = await list_ids(frail)
    assert len(there) >= 1100
    assert len(there) % 100 == 0
    created, updated = await frail.upsert(PROJECT, LEGAL, items)
    assert (created, updated) == (5000 - len(there), len(there))
    assert await list_ids(frail) == {item.id for item in items}
    assert await find_ids(frail, items[4999].vector, 0.999999) == ["i4999"]


async def test_a_database_that_is_read_only_can_be_searched_and_says_that_it_is(
    own_neo4j: Neo4jServer, frail: Neo4jGraph
):
    items = items_of("i", 3)
    await frail.upsert(PROJECT, LEGAL, items)
    settings = {"server.databases.default_to_read_only": "true"}
    # In order: what a killed one has to recover cannot be recovered by one that may not write.
    await asyncio.to_thread(own_neo4j.stop)
    await asyncio.to_thread(own_neo4j.start, settings)
    late = connect(own_neo4j.address)
    try:
        for graph in (frail, late):
            assert await find_ids(graph, items[1].vector, 0.999999) == ["i1"]
            with pytest.raises(Unavailable, match="read-only"):
                await graph.upsert(PROJECT, LEGAL, items)
    finally:
        await late.close()
        await asyncio.to_thread(own_neo4j.restart)
    assert await frail.upsert(PROJECT, LEGAL, items) == (0, 3)


async def test_a_server_whose_disk_is_full_loses_nothing_it_has_taken(
    own_neo4j: Neo4jServer, frail: Neo4jGraph
):
    items = items_of("i", 100)
    await frail.upsert(PROJECT, LEGAL, items[:10])
    own_neo4j.limit_files(1000)
    with pytest.raises(Unavailable):
        for at in range(10, 100, 10):
            await frail.upsert(PROJECT, LEGAL, items[at : at + 10])
    with pytest.raises(Unavailable, match="restarted"):
        await frail.upsert(PROJECT, LEGAL, items[:10])
    # A database that could not write its log wants to be started anew, with room.
    await asyncio.to_thread(own_neo4j.restart)
    assert {item.id for item in items[:10]} <= await list_ids(frail)
    await frail.upsert(PROJECT, LEGAL, items)
    assert await list_ids(frail) == {item.id for item in items}


# At the same time


async def test_processes_that_begin_at_once_all_find_what_they_need(
    neo4j_address: Neo4jAddress, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(neo4j_server, "RETRY_S", 15.0)
    for name in [row["name"] for row in (await run(neo4j_address, SHOW_CONSTRAINTS)).records]:
        await run(neo4j_address, f"DROP CONSTRAINT {name}")
    await run(neo4j_address, "DROP INDEX aletheia_item_revision IF EXISTS")
    graphs = [connect(neo4j_address) for _ in range(8)]
    await asyncio.gather(*(graph.open() for graph in graphs))
    await asyncio.gather(*(graph.set_model(MODEL, DIMENSIONS) for graph in graphs))
    items = items_of("i", 3)
    await graphs[0].upsert(PROJECT, LEGAL, items)
    assert await find_ids(graphs[-1], items[1].vector, 0.999999) == ["i1"]
    for graph in graphs:
        await graph.close()
    assert len((await run(neo4j_address, SHOW_CONSTRAINTS)).records) == 5
    empty(neo4j_address)


async def test_writers_of_the_same_items_wait_for_each_other(graph: Neo4jGraph, other: Neo4jGraph):
    items = items_of("i", 60)
    calls = [
        one.upsert(PROJECT, BrainDepartment(slug, slug), order)
        for slug in ("a", "b", "c")
        for one, order in ((graph, items), (other, items[::-1]))
    ]
    await other.read_model()
    answers = await asyncio.gather(*calls)
    assert sum(created for created, _ in answers) == 60
    held = [len(await graph.list_newest(PROJECT, slug, 100)) for slug in ("a", "b", "c")]
    assert sorted(held) == [0, 0, 60]


async def test_edges_drawn_at_once_between_the_same_items_are_all_drawn(
    graph: Neo4jGraph, other: Neo4jGraph
):
    items = items_of("i", 40)
    ids = [item.id for item in items]
    await graph.upsert(PROJECT, LEGAL, items)
    calls = [
        writer.link(PROJECT, order, threshold=-1.0)
        for writer in (graph, other)
        for order in (ids, ids[::-1], ids[20:] + ids[:20])
    ]
    assert await asyncio.gather(*calls) == [400] * 6


# Searching


async def test_what_another_process_has_written_or_deleted_counts_at_once(
    graph: Neo4jGraph, other: Neo4jGraph
):
    items = items_of("i", 3)
    await graph.upsert(PROJECT, LEGAL, items[:2])
    assert await find_ids(other, items[0].vector, 0.999999) == ["i0"]
    await graph.upsert(PROJECT, LEGAL, items[2:])
    assert await find_ids(other, items[2].vector, 0.999999) == ["i2"]
    assert await graph.delete(PROJECT, ["i0"]) == 1
    assert await find_ids(other, items[0].vector, 0.999999) == []


class Late(Neo4jGraph):
    """Lets others go first between its first read of a project and its search.

    Attributes:
        has_polled: whether it waits for them.
        goes_on: set it to have it go on.
        read: how many vectors it has read.
    """

    def __init__(self, uri: str, username: str, password: str) -> None:
        super().__init__(uri, username, password)
        self.has_polled, self.goes_on = asyncio.Event(), asyncio.Event()
        self.read = 0

    async def read_state(self, project_id: str) -> Any:
        state = await super().read_state(project_id)
        if not self.has_polled.is_set():
            self.has_polled.set()
            await self.goes_on.wait()
        return state

    async def _read_vectors(self, vectors: Any, state: Any, timeout_s: float) -> None:
        before = len(vectors._rows)
        await super()._read_vectors(vectors, state, timeout_s)
        self.read += len(vectors._rows) - before


async def test_whoever_is_overtaken_while_it_looks_reads_nothing_again(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    items = items_of("i", 30)
    late = connect(neo4j_in_turn, Late)
    await graph.upsert(PROJECT, LEGAL, items[:20])
    overtaken = asyncio.create_task(find_ids(late, items[5].vector, 0.999999))
    await late.has_polled.wait()
    await graph.upsert(PROJECT, LEGAL, items[20:])
    assert await find_ids(late, items[25].vector, 0.999999) == ["i25"]
    late.goes_on.set()
    assert await overtaken == ["i5"]
    assert await find_ids(late, items[25].vector, 0.999999) == ["i25"]
    assert late.read == 30
    await late.close()


async def test_candidates_of_the_index_come_out_as_if_all_were_compared(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    items = items_of("i", 1500)
    await graph.upsert("project-2", LEGAL, items_of("x", 1500))
    await graph.upsert(PROJECT, LEGAL, items)
    by_index = connect(neo4j_in_turn, bounds=(0, 0))
    for at, threshold in ((0, 0.5), (7, 0.8), (90, -1.0)):
        vector = items[at].vector
        expected = await graph.search(PROJECT, vector, threshold=threshold, limit=10)
        assert len(expected) > 1
        assert await by_index.search(PROJECT, vector, threshold=threshold, limit=10) == expected
    ids = [item.id for item in items[:20]]
    edges = await graph.link(PROJECT, ids, threshold=0.5)
    drawn = [await read_neighbours(graph, PROJECT, item_id) for item_id in ids]
    assert await by_index.link(PROJECT, ids, threshold=0.5) == edges
    for one, expected in zip(ids, drawn, strict=True):
        again = await read_neighbours(graph, PROJECT, one)
        assert {near.id: near.score for near in again} == pytest.approx(
            {near.id: near.score for near in expected}, abs=0.00001
        )
    assert not holds_vectors(by_index)
    await by_index.close()


def holds_vectors(graph: Neo4jGraph, project_id: str = PROJECT) -> bool:
    """Whether a project's vectors are in memory."""
    return project_id in graph.memory


async def until_held(graph: Neo4jGraph) -> None:
    async with asyncio.timeout(20):
        while not holds_vectors(graph):
            await asyncio.sleep(0.01)


async def test_a_large_project_is_compared_in_full_once_its_vectors_are_in_memory(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    items = items_of("i", 60)
    await graph.upsert(PROJECT, LEGAL, items[:40])
    large = connect(neo4j_in_turn, bounds=LARGE)
    assert await find_ids(large, items[7].vector, 0.999999) == ["i7"]
    await until_held(large)
    expected = await graph.search(PROJECT, items[3].vector, threshold=-1.0, limit=40)
    assert await large.search(PROJECT, items[3].vector, threshold=-1.0, limit=40) == expected
    # What comes later, and what goes.
    for item in items[40:]:
        await graph.upsert(PROJECT, LEGAL, [item])
    assert await find_ids(large, items[55].vector, 0.999999) == ["i55"]
    await graph.delete(PROJECT, ["i3"])
    assert await find_ids(large, items[3].vector, 0.999999) == []
    assert await find_ids(large, items[55].vector, 0.999999) == ["i55"]
    await large.close()


async def test_many_writes_to_a_large_project_are_read_beside_the_search(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    items = items_of("i", 120)
    await graph.upsert(PROJECT, LEGAL, items[:40])
    large = connect(neo4j_in_turn, bounds=LARGE)
    await find_ids(large, items[7].vector, 0.999999)
    await until_held(large)
    for item in items[40:]:
        await graph.upsert(PROJECT, LEGAL, [item])
    assert await find_ids(large, items[110].vector, 0.999999) == ["i110"]
    expected = await graph.search(PROJECT, items[3].vector, threshold=-1.0, limit=120)
    async with asyncio.timeout(20):
        while await large.search(PROJECT, items[3].vector, threshold=-1.0, limit=120) != expected:
            await asyncio.sleep(0.01)
    await large.close()


async def test_a_graph_that_is_closed_while_it_reads_vectors_stops_reading(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    await graph.upsert(PROJECT, LEGAL, items_of("i", 2000))
    large = connect(neo4j_in_turn, bounds=LARGE)
    assert await find_ids(large, unit_of("i7"), 0.999999) == ["i7"]
    await large.close()
    assert not holds_vectors(large)
    assert await find_ids(large, unit_of("i7"), 0.999999) == ["i7"]
    await until_held(large)
    await large.close()


class Counting(Late):
    """Counts how often vectors are read.

    Attributes:
        readings: how often.
    """

    def __init__(self, uri: str, username: str, password: str) -> None:
        super().__init__(uri, username, password)
        self.has_polled.set()
        self.readings = 0

    async def _read_vectors(self, vectors: Any, state: Any, timeout_s: float) -> None:
        self.readings += 1
        await super()._read_vectors(vectors, state, timeout_s)


async def test_projects_that_do_not_fit_into_memory_together_are_not_read_over_and_over(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    projects = [f"project-{at}" for at in range(4)]
    for project in projects:
        await graph.upsert(project, LEGAL, items_of("i", 400))
    one_bytes = measure_bytes(400, DIMENSIONS)
    narrow = connect(neo4j_in_turn, Counting, bounds=(10, one_bytes))
    for _ in range(10):
        for project in projects:
            found = await narrow.search(project, unit_of("i7"), threshold=0.999999, limit=5)
            assert [hit.id for hit in found] == ["i7"]
            assert sum(holds_vectors(narrow, project_id) for project_id in projects) <= 1
    assert 1 <= narrow.readings < 15
    await narrow.close()


async def test_deleting_what_is_not_there_has_nothing_read_anew(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    await graph.upsert(PROJECT, LEGAL, items_of("i", 20))
    other = connect(neo4j_in_turn, Counting)
    for _ in range(3):
        assert await find_ids(other, unit_of("i7"), 0.999999) == ["i7"]
        assert await graph.delete(PROJECT, ["nobody"]) == 0
    assert other.readings == 1
    await other.close()


async def test_many_items_of_a_large_project_are_linked_from_memory_and_few_by_the_index(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    items = items_of("i", 300)
    await graph.upsert(PROJECT, LEGAL, items)
    large = connect(neo4j_in_turn, Counting, bounds=LARGE)
    assert await large.link(PROJECT, ["i1", "i2"], threshold=-1.0) == 20
    assert not holds_vectors(large)
    ids = [item.id for item in items]
    assert await large.link(PROJECT, ids, threshold=-1.0) == 3000
    assert holds_vectors(large)
    drawn = [await read_neighbours(graph, PROJECT, item_id) for item_id in ids[:20]]
    narrow = connect(neo4j_in_turn, Counting, bounds=(10, 0))
    assert await narrow.link(PROJECT, ids, threshold=-1.0) == 3000
    assert narrow.readings == 0
    for one, expected in zip(ids[:20], drawn, strict=True):
        again = await read_neighbours(graph, PROJECT, one)
        assert [near.score for near in again] == pytest.approx(
            [near.score for near in expected], abs=0.00001
        )
    await large.close()
    await narrow.close()


async def test_a_database_that_was_emptied_meanwhile_is_made_ready_and_read_again(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    await graph.upsert(PROJECT, LEGAL, items_of("old", 3))
    assert await find_ids(graph, unit_of("old1"), 0.999999) == ["old1"]
    for name in [row["name"] for row in (await run(neo4j_in_turn, SHOW_CONSTRAINTS)).records]:
        await run(neo4j_in_turn, f"DROP CONSTRAINT {name}")
    empty(neo4j_in_turn)
    assert await graph.read_model() is None
    await graph.set_model(MODEL, DIMENSIONS)
    assert len((await run(neo4j_in_turn, SHOW_CONSTRAINTS)).records) == 5
    # As many writes as before, so that only the project itself tells that it is another one.
    await graph.upsert(PROJECT, LEGAL, items_of("new", 3))
    assert await find_ids(graph, unit_of("new1"), 0.999999) == ["new1"]
    assert await find_ids(graph, unit_of("old1"), 0.999999) == []


async def test_all_are_compared_while_the_index_is_not_ready(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    items = items_of("i", 50)
    await graph.upsert(PROJECT, LEGAL, items)
    by_index = connect(neo4j_in_turn, bounds=(0, MAX_BYTES))
    await by_index.open()
    await run(neo4j_in_turn, read_cypher("drop_index"))
    assert await find_ids(by_index, items[3].vector, 0.999999) == ["i3"]
    assert await by_index.link(PROJECT, ["i3"], threshold=-1.0) == 10
    await by_index.close()


async def test_every_duplicate_among_five_items_beside_ten_thousand_is_found(graph: Neo4jGraph):
    many = items_of("i", 10_000)
    near = np.stack([item.vector for item in many]) @ unit_of("query")
    order: list[int] = np.argsort(-near).tolist()
    nearest = [many[at] for at in order[:5]]
    await graph.upsert("large", LEGAL, many)
    await graph.upsert("small", LEGAL, nearest)
    found = await graph.search("small", unit_of("query"), threshold=0.5, limit=10)
    assert [hit.id for hit in found] == [hit.id for hit in nearest]


async def test_a_vector_of_another_length_is_neither_kept_nor_compared(graph: Neo4jGraph):
    (good,) = items_of("good", 1)
    long = np.full(9, 1 / 3, np.float32)
    bad = GraphItem("bad", "", "", "", long, "f", 1)
    with pytest.raises(InvalidTask) as refused:
        await graph.upsert(PROJECT, LEGAL, [good, bad])
    assert refused.value.code == "wrong_dimensions"
    await graph.upsert(PROJECT, LEGAL, [good])
    assert await list_ids(graph) == {"good0"}
    with pytest.raises(InvalidTask):
        await graph.search(PROJECT, long, threshold=0.5, limit=1)


# The embedding model


async def test_a_change_of_model_that_was_cut_short_is_finished_by_the_next_one(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    await graph.upsert(PROJECT, LEGAL, items_of("i", 3))
    begun = {"model": "tests/new", "dimensions": DIMENSIONS, "is_alone": False}
    await run(neo4j_in_turn, read_cypher("write_model"), begun)
    assert await find_ids(graph, unit_of("i0"), -1.0) == []
    await graph.set_model("tests/new", DIMENSIONS)
    left = await run(neo4j_in_turn, "MATCH (i:Item) WHERE i.vector IS NOT NULL RETURN i")
    assert left.records == []


async def test_reconciling_finishes_a_change_of_model_that_was_cut_short(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress
):
    await graph.upsert(PROJECT, LEGAL, items_of("i", 3))
    begun = {"model": "tests/new", "dimensions": DIMENSIONS, "is_alone": False}
    await run(neo4j_in_turn, read_cypher("write_model"), begun)
    await run(neo4j_in_turn, read_cypher("drop_index"))
    assert not await IndexedBrain(graph, FakeEmbed(), "tests/new").adopt_model("tests/new")
    (index,) = (await run(neo4j_in_turn, read_cypher("read_index"))).records
    assert (index["state"], index["dimensions"]) == ("ONLINE", DIMENSIONS)
    left = await run(neo4j_in_turn, "MATCH (i:Item) WHERE i.vector IS NOT NULL RETURN i")
    assert left.records == []


async def test_a_writer_that_has_not_heard_of_a_new_model_adds_nothing_to_compare(
    graph: Neo4jGraph, other: Neo4jGraph
):
    await other.read_model()
    await graph.set_model("tests/new", DIMENSIONS)
    await other.upsert(PROJECT, LEGAL, items_of("i", 1))
    assert await find_ids(graph, unit_of("i0"), -1.0) == []
    assert [item.has_vector for item in await graph.list_items(PROJECT)] == [False]


# What the server is asked


async def run(
    address: Neo4jAddress,
    statement: str,
    parameters: dict[str, Any] | None = None,
    *,
    database: str = "neo4j",
) -> neo4j.EagerResult:
    server: Any = neo4j.AsyncGraphDatabase
    auth = (address.username, address.password)
    async with server.driver(address.uri, auth=auth, notifications_min_severity="OFF") as driver:
        return await driver.execute_query(statement, parameters, database_=database)


GIVEN: dict[str, Any] = {
    "project_id": PROJECT,
    "id": "i1",
    "ids": ["i1", "i2"],
    "slug": "legal",
    "name": "Legal",
    "code_dep_number": 1,
    "version": "v1",
    "properties": {"project_id": PROJECT, "department": "legal", "version": "v1", "body": "{}"},
    "model": MODEL,
    "dimensions": DIMENSIONS,
    "is_alone": True,
    "vector": unit_of("i1").tolist(),
    "items": [{"id": "i1", "order": 1, "properties": {"content": "x"}}],
    "links": [{"id": "i1", "near": [{"id": "i2", "cosine": 0.5}]}],
    "max_found": 10,
    "min_cosine": 0.5,
    "limit": 10,
    "after": "",
    "revision": 0,
}


def operators_of(plan: dict[str, Any]) -> set[str]:
    kind = plan["operatorType"].partition("@")[0]
    return {kind}.union(*(operators_of(child) for child in plan.get("children", ())))


@pytest.mark.parametrize(
    "name",
    [
        "count_newer",
        "delete",
        "find_neighbours",
        "link",
        "list_items",
        "list_newest",
        "read_chosen",
        "read_contents",
        "read_model",
        "read_state",
        "read_vectors",
        "save_evaluation",
        "search",
        "upsert",
        "write_model",
    ],
)
async def test_no_statement_scans_for_what_an_index_finds(
    graph: Neo4jGraph, neo4j_in_turn: Neo4jAddress, name: str
):
    await graph.upsert(PROJECT, LEGAL, items_of("i", 200))
    await graph.link(PROJECT, ["i1"], threshold=-1.0)
    answer = await run(neo4j_in_turn, "PROFILE\n" + read_cypher(name), GIVEN)
    plan: Any = cast("Any", answer.summary).profile
    scans = {"AllNodesScan", "NodeByLabelScan"}
    assert operators_of(plan)
    assert not operators_of(plan) & scans

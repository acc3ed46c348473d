"""Every backend of the Brain, each test with an empty one.

A further backend is a further name in `GRAPHS` and a branch of `opened_graph`; one whose server
cannot be had skips with the reason.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.adapters.brain.neo4j import Neo4jGraph
from aletheia.adapters.brain.service import BrainService
from aletheia.brain.graph import BrainGraph
from aletheia.brain.index import IndexedBrain
from aletheia.brain.ports import Brain
from tests.fakes.brain import DIMENSIONS, MODEL, FakeEmbed, find_department
from tests.fakes.brain_app import BRAIN_KEY, make_brain_app
from tests.fakes.brain_graphs import leave
from tests.fakes.serving import serving
from tests.services.fixtures import (
    neo4j_address,
    neo4j_in_turn,
    own_neo4j,
    shared_directory,
    shared_neo4j,
)
from tests.services.neo4j_server import Neo4jAddress

__all__ = ["neo4j_address", "neo4j_in_turn", "own_neo4j", "shared_directory", "shared_neo4j"]

GRAPHS = ["embedded", "neo4j"]
"""What keeps items, by name."""

OVER_HTTP = "http over "

BRAINS = [*GRAPHS, f"{OVER_HTTP}embedded"]
"""What answers the four calls, by name. The service does the same whatever keeps the items."""


@asynccontextmanager
async def opened_graph(name: str, request: pytest.FixtureRequest) -> AsyncGenerator[BrainGraph]:
    if name == "neo4j":
        async with opened_neo4j(request.getfixturevalue("neo4j_in_turn")) as graph:
            yield graph
        return
    directory: Path = request.getfixturevalue("tmp_path")
    graph = EmbeddedGraph(directory)
    await graph.open()
    yield graph
    await graph.close()


@asynccontextmanager
async def opened_neo4j(address: Neo4jAddress) -> AsyncGenerator[Neo4jGraph]:
    graph = Neo4jGraph(address.uri, address.username, address.password)
    await graph.open()
    yield graph
    await leave(graph, address)


@asynccontextmanager
async def reached(brain: IndexedBrain, *, is_over_http: bool) -> AsyncGenerator[Brain]:
    """A Brain as it is, or as a client of our own service has it."""
    if not is_over_http:
        yield brain
        return
    async with serving(make_brain_app(brain)) as url:
        client = BrainService(url, api_key=BRAIN_KEY, model=brain.model, max_retries=0)
        await client.open()
        yield client
        await client.close()


@pytest.fixture
def embed() -> FakeEmbed:
    return FakeEmbed()


@pytest.fixture(params=GRAPHS)
async def graph(request: pytest.FixtureRequest) -> AsyncGenerator[BrainGraph]:
    async with opened_graph(request.param, request) as graph:
        yield graph


@pytest.fixture
def indexed(graph: BrainGraph, embed: FakeEmbed) -> IndexedBrain:
    """A Brain over the graph of the same test."""
    return IndexedBrain(graph, embed, MODEL, DIMENSIONS, catalogue=find_department)


@pytest.fixture(params=BRAINS)
async def brain(request: pytest.FixtureRequest, embed: FakeEmbed) -> AsyncGenerator[Brain]:
    name: str = request.param
    async with opened_graph(name.removeprefix(OVER_HTTP), request) as graph:
        brain = IndexedBrain(graph, embed, MODEL, DIMENSIONS, catalogue=find_department)
        async with reached(brain, is_over_http=name.startswith(OVER_HTTP)) as client:
            yield client

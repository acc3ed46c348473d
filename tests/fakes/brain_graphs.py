"""What a backend of the Brain has on file, read past it."""

import sqlite3
from typing import Any

import orjson

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.adapters.brain.neo4j import Neo4jGraph
from aletheia.brain.graph import BrainGraph
from aletheia.brain.ports import Duplicate
from tests.fakes.brain import DIMENSIONS, MODEL
from tests.services.neo4j_server import Neo4jAddress, empty

_SQL_NEIGHBOURS = (
    "SELECT there.id, score, there.content FROM items AS here "
    "JOIN edges ON source = here.key JOIN items AS there ON there.key = target "
    "WHERE here.project = ? AND here.id = ? ORDER BY score DESC, there.id"
)
_CYPHER_NEIGHBOURS = (
    "MATCH (:Item {project_id: $project_id, id: $id})-[edge:SIMILAR]->(other:Item) "
    "RETURN other.id, edge.cosine AS cosine, other.content ORDER BY cosine DESC, other.id"
)
_SQL_EVALUATION = (
    "SELECT body FROM evaluations WHERE project = ? AND department = ? AND version = ?"
)
_CYPHER_EVALUATION = (
    "MATCH (one:Evaluation {project_id: $project_id, department: $slug, version: $version}) "
    "RETURN one.body"
)


async def leave(graph: Neo4jGraph, address: Neo4jAddress) -> None:
    """Close a graph in a Neo4j, which is left to the next test as `neo4j_in_turn` has it."""
    await graph.set_model(MODEL, DIMENSIONS)
    await graph.close()
    empty(address, keeps_model=True)


async def read_neighbours(graph: BrainGraph, project_id: str, item_id: str) -> list[Duplicate]:
    """The items that an item has edges to, the nearest first."""
    given = {"project_id": project_id, "id": item_id}
    rows = await _ask(graph, _SQL_NEIGHBOURS, _CYPHER_NEIGHBOURS, given)
    return [Duplicate(*row) for row in rows]


async def read_evaluation(
    graph: BrainGraph, project_id: str, department: str, version: str
) -> dict[str, Any] | None:
    """What is saved of an evaluation, as it was given; `None` if nothing is."""
    given = {"project_id": project_id, "slug": department, "version": version}
    rows = await _ask(graph, _SQL_EVALUATION, _CYPHER_EVALUATION, given)
    return orjson.loads(rows[0][0]) if rows else None


async def _ask(
    graph: BrainGraph, sql: str, cypher: str, given: dict[str, str]
) -> list[tuple[Any, ...]]:
    opened: Any = graph
    if isinstance(graph, EmbeddedGraph):

        def fetch(file: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return file.execute(sql, tuple(given.values())).fetchall()

        return await opened.reader.ask(fetch)
    async with opened._server.connected() as connection:
        return [tuple(row.values()) for row in await connection.ask(cypher, given)]

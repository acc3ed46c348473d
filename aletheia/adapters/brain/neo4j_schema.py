"""What the Brain's statements rely on in Neo4j: constraints, the vector index, and the model."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import neo4j
from neo4j.exceptions import ClientError, Neo4jError

from aletheia.adapters.brain.neo4j_server import READ_ONLY, Connection, read_cypher, to_literal

ONLINE: Final = "ONLINE"
"""State of an index that can be searched."""

_POPULATING: Final = "POPULATING"
_POLL_S: Final = 0.05
_IS_THERE: Final = "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists"


@dataclass(frozen=True, slots=True)
class KeptModel:
    """The embedding model whose vectors are kept; `is_alone` if those of any other one are gone."""

    model: str
    dimensions: int
    is_alone: bool


async def prepare(connection: Connection) -> None:
    """Create constraints and indexes; a database that is read-only is left as it is."""
    try:
        for statement in read_cypher("schema").split(";"):
            await _create(connection, statement)
        kept = await read_kept(connection)
        if kept is not None and kept.is_alone:
            await _ensure_index(connection, kept.dimensions)
    except Neo4jError as error:
        if error.code not in READ_ONLY:
            raise


async def read_kept(connection: Connection) -> KeptModel | None:
    """Return the embedding model; `None` at first."""
    rows = await connection.ask(read_cypher("read_model"), is_reading=True)
    return KeptModel(**rows[0]) if rows else None


async def set_model(connection: Connection, model: str, dimensions: int) -> None:
    """Set the embedding model, and delete vectors and edges of another one."""
    kept = await read_kept(connection)
    if kept is None:
        # It may have been emptied since we connected.
        await prepare(connection)
    if kept != KeptModel(model, dimensions, is_alone=True):
        chosen = {"model": model, "dimensions": dimensions}
        await connection.ask(read_cypher("write_model"), chosen | {"is_alone": False})
        await connection.ask(read_cypher("drop_index"))
        async with connection.session() as session:
            for name in ("forget_edges", "forget_vectors"):
                # Not within a transaction: these have transactions of their own.
                result = await session.run(neo4j.Query(to_literal(read_cypher(name))), chosen)
                await result.consume()
        await _ensure_index(connection, dimensions)
        await connection.ask(read_cypher("write_model"), chosen | {"is_alone": True})
    else:
        await _ensure_index(connection, dimensions)


async def read_index_state(connection: Connection) -> str:
    """Return the state of the vector index; empty where there is none."""
    rows = await connection.ask(read_cypher("read_index"), is_reading=True)
    return rows[0]["state"] if rows else ""


async def _ensure_index(connection: Connection, dimensions: int) -> None:
    """Create the vector index unless it is there, and wait for it."""
    config = {
        "vector.dimensions": dimensions,
        "vector.similarity_function": "cosine",
        # Quantised vectors would be ranked by other cosines than ours.
        "vector.quantization.enabled": False,
    }
    options = {"indexConfig": config}
    await _create(connection, read_cypher("create_index"), {"options": options})
    while await read_index_state(connection) == _POPULATING:  # noqa: ASYNC110 - no event
        await asyncio.sleep(_POLL_S)


async def _create(
    connection: Connection, statement: str, parameters: Mapping[str, Any] | None = None
) -> None:
    """Create a constraint or an index, unless another process was just faster."""
    try:
        await connection.ask(statement, parameters)
    except ClientError as error:
        if error.code != _IS_THERE:
            raise

"""A database of Neo4j: its statements, and the constraints, index and model they rely on."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, LiteralString, cast

import neo4j
from neo4j.exceptions import ClientError, Neo4jError

READ_ONLY: Final = frozenset(
    {
        "Neo.ClientError.General.ForbiddenOnReadOnlyDatabase",
        "Neo.ClientError.General.WriteOnReadOnlyAccessDatabase",
    }
)
"""Codes of errors of a database that may not be written to."""

_POPULATING: Final = "POPULATING"
_POLL_S: Final = 0.05
_IS_THERE: Final = "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists"


@dataclass(frozen=True, slots=True)
class KeptModel:
    """The embedding model whose vectors are kept; `is_alone` if those of any other one are gone."""

    model: str
    dimensions: int
    is_alone: bool


@dataclass(frozen=True, slots=True)
class Connection:
    """A driver that reaches its server, and the database that statements go to."""

    driver: neo4j.AsyncDriver
    database: str

    async def ask(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        is_reading: bool = False,
    ) -> list[dict[str, Any]]:
        """Run a statement in a transaction of its own, retried after a transient error."""
        answer = await self.driver.execute_query(
            to_literal(statement),
            dict(parameters or {}),
            routing_=neo4j.RoutingControl.READ if is_reading else neo4j.RoutingControl.WRITE,
            database_=self.database,
        )
        # Not `Record.data`, which goes through every number of a vector.
        return [dict(cast("Any", row).items()) for row in answer.records]

    def session(self) -> neo4j.AsyncSession:
        """Open a session, for what is not one statement in one transaction."""
        return self.driver.session(  # pyright: ignore[reportUnknownMemberType] - takes any setting
            database=self.database
        )

    async def prepare(self) -> None:
        """Create constraints and indexes; a database that is read-only is left as it is."""
        try:
            for statement in read_cypher("schema").split(";"):
                await self._create(statement)
            kept = await self.read_kept()
            if kept is not None and kept.is_alone:
                await self._ensure_index(kept.dimensions)
        except Neo4jError as error:
            if error.code not in READ_ONLY:
                raise

    async def read_kept(self) -> KeptModel | None:
        """Return the embedding model; `None` at first."""
        rows = await self.ask(read_cypher("read_model"), is_reading=True)
        return KeptModel(**rows[0]) if rows else None

    async def set_model(self, model: str, dimensions: int) -> None:
        """Set the embedding model, and delete vectors and edges of another one."""
        kept = await self.read_kept()
        if kept is None:
            # It may have been emptied since we connected.
            await self.prepare()
        if kept == KeptModel(model, dimensions, is_alone=True):
            await self._ensure_index(dimensions)
            return
        chosen = {"model": model, "dimensions": dimensions}
        await self.ask(read_cypher("write_model"), chosen | {"is_alone": False})
        await self.ask(read_cypher("drop_index"))
        async with self.session() as session:
            for name in ("forget_edges", "forget_vectors"):
                # Not within a transaction: these have transactions of their own.
                result = await session.run(neo4j.Query(to_literal(read_cypher(name))), chosen)
                await result.consume()
        await self._ensure_index(dimensions)
        await self.ask(read_cypher("write_model"), chosen | {"is_alone": True})

    async def read_index_state(self) -> str:
        """Return the state of the vector index, such as `ONLINE`; empty where there is none."""
        rows = await self.ask(read_cypher("read_index"), is_reading=True)
        return rows[0]["state"] if rows else ""

    async def _ensure_index(self, dimensions: int) -> None:
        """Create the vector index unless it is there, and wait for it."""
        config = {
            "vector.dimensions": dimensions,
            "vector.similarity_function": "cosine",
            # Quantised vectors would be ranked by other cosines than ours.
            "vector.quantization.enabled": False,
        }
        await self._create(read_cypher("create_index"), {"options": {"indexConfig": config}})
        while await self.read_index_state() == _POPULATING:  # noqa: ASYNC110 - no event
            await asyncio.sleep(_POLL_S)

    async def _create(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Create a constraint or an index, unless another process was just faster."""
        try:
            await self.ask(statement, parameters)
        except ClientError as error:
            if error.code != _IS_THERE:
                raise


@cache
def read_cypher(name: str) -> str:
    """Return the statement in a file of `cypher/`."""
    return files("aletheia.adapters.brain").joinpath("cypher", f"{name}.cypher").read_text()


def to_literal(statement: str) -> LiteralString:
    """Return a statement of ours as the type that the driver wants: nothing in it is given."""
    return cast("LiteralString", statement)

"""The Brain in Neo4j, 5.23 or later, community edition included.

    (:Project)-[:HAS]->(:Department)-[:HAS]->(:Item)-[:SIMILAR {cosine}]->(:Item)
                       (:Department)-[:EVALUATED_AS]->(:Evaluation)
    (:BrainModel)      which embedding model the vectors are of

What is sent to the server stands in `cypher/`; labels and names of relationships are fixed, and
all that comes from outside is a parameter. An item carries the name of the model its vector is of,
so that a writer that has not heard of another model adds nothing that searches compare.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from aletheia.adapters.brain import neo4j_schema as schema
from aletheia.adapters.brain.neo4j_search import WRITTEN_AT_ONCE, Neo4jSearch
from aletheia.adapters.brain.neo4j_server import Neo4jServer, Rows
from aletheia.brain.graph import EXACT_UP_TO, NEIGHBOURS, GraphItem
from aletheia.brain.ports import BrainDepartment, Duplicate, IndexedItem, KnownItem, ModelChanged
from aletheia.brain.vectors import check_length

REBUILD_TIMEOUT_S: Final = 600.0
"""Bound on making index and vectors ready for another embedding model."""

MAX_BYTES: Final = 2**30
"""Of all vectors in memory: 550,000 of 384 numbers, with room for some more."""


class Neo4jGraph:
    """A `BrainGraph` in a database of a Neo4j server; every call connects if none has so far.

    Args:
        uri: see `Neo4jServer`, also for what follows.
        username: of a user of the server.
        password: of that user.
        database: its name.
        timeout_s: bound on a call, its retries included, seconds.
        connect_timeout_s: bound on connecting, seconds.
        retry_s: for how long a call is retried after transient errors, seconds.
        exact_up_to: items of a project up to which all are compared, whatever reading them takes.
        max_bytes: of the vectors in memory; the project that was searched longest ago goes first,
            and a larger one is searched by the index alone.
    """

    def __init__(
        self,
        uri: str,
        username: str,
        password: str,
        *,
        database: str = "neo4j",
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        retry_s: float = 5.0,
        exact_up_to: int = EXACT_UP_TO,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._server = Neo4jServer(
            uri,
            username,
            password,
            database=database,
            prepare=schema.prepare,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            retry_s=retry_s,
        )
        self.vectors = Neo4jSearch(self._server, exact_up_to=exact_up_to, max_bytes=max_bytes)
        self._model: tuple[str, int] | None = None

    async def open(self) -> None:
        """See `BrainGraph.open` and `Neo4jServer.open`."""
        await self._server.open()

    async def close(self) -> None:
        """See `BrainGraph.close`."""
        await self.vectors.close()
        await self._server.close()

    async def read_model(self) -> tuple[str, int] | None:
        """See `BrainGraph.read_model`."""
        connection = await self._server.connected()
        async with self._server.bounded():
            kept = await schema.read_kept(connection)
        self._model = None if kept is None else (kept.model, kept.dimensions)
        return self._model

    async def set_model(self, model: str, dimensions: int) -> None:
        """See `BrainGraph.set_model`."""
        connection = await self._server.connected()
        async with self._server.bounded(REBUILD_TIMEOUT_S):
            await schema.set_model(connection, model, dimensions)
        self._model = (model, dimensions)

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[GraphItem]
    ) -> tuple[int, int]:
        """See `BrainGraph.upsert`; all items of a statement, or none.

        Raises:
            InvalidTask: `wrong_dimensions`.
            ModelChanged: no embedding model has been set.
        """
        if not items:
            return 0, 0
        model, dimensions = self._model or await self.read_model() or (None, 0)
        if model is None:
            raise ModelChanged("none", "none")
        for item in items:
            check_length(item.vector, dimensions)
        created = 0
        for start in range(0, len(items), WRITTEN_AT_ONCE):
            rows = Rows(_to_row(item) for item in items[start : start + WRITTEN_AT_ONCE])
            (answer,) = await self._server.write(
                "upsert",
                project_id=project_id,
                slug=department.slug,
                name=department.name,
                code_dep_number=department.code_dep_number,
                model=model,
                items=rows,
            )
            created += answer["created"]
        return created, len(items) - created

    async def search(
        self, project_id: str, vector: NDArray[np.float32], *, threshold: float, limit: int
    ) -> list[Duplicate]:
        """See `BrainGraph.search`.

        Raises:
            InvalidTask: `wrong_dimensions`.
        """
        return await self.vectors.search(project_id, vector, threshold=threshold, limit=limit)

    async def list_newest(self, project_id: str, department: str, limit: int) -> list[KnownItem]:
        """See `BrainGraph.list_newest`."""
        rows = await self._server.read(
            "list_newest", project_id=project_id, slug=department, limit=limit
        )
        return [KnownItem(**row) for row in rows]

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """See `IndexedItems.list_items`."""
        rows = await self._server.read(
            "list_items", project_id=project_id, after=after, limit=limit
        )
        return [IndexedItem(**row) for row in rows]

    async def delete(self, project_id: str, ids: Sequence[str]) -> int:
        """See `IndexedItems.delete`."""
        deleted = 0
        known = list(dict.fromkeys(ids))
        for start in range(0, len(known), WRITTEN_AT_ONCE):
            batch = known[start : start + WRITTEN_AT_ONCE]
            (answer,) = await self._server.write("delete", project_id=project_id, ids=batch)
            deleted += answer["deleted"]
        return deleted

    async def link(
        self, project_id: str, ids: Sequence[str], *, threshold: float, limit: int = NEIGHBOURS
    ) -> int:
        """See `BrainGraph.link`."""
        state = await self.vectors.read_state(project_id)
        if state is None:
            return 0
        edges = 0
        known = list(dict.fromkeys(ids))
        for start in range(0, len(known), WRITTEN_AT_ONCE):
            batch = known[start : start + WRITTEN_AT_ONCE]
            near = await self.vectors.find_neighbours(state, batch, threshold, limit)
            links = Rows(
                {"id": item_id, "near": [{"id": hit.id, "cosine": hit.score} for hit in hits]}
                for item_id, hits in near.items()
            )
            (answer,) = await self._server.write("link", project_id=project_id, links=links)
            edges += answer["edges"]
        return edges

    async def save_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """See `IndexedItems.save_evaluation`; plain values are properties of the node, too."""
        shown = {
            name: value for name, value in values.items() if isinstance(value, str | float | int)
        }
        ours = {
            "project_id": project_id,
            "department": department,
            "version": version,
            "body": orjson.dumps(dict(values)).decode(),
        }
        await self._server.write(
            "save_evaluation",
            project_id=project_id,
            slug=department,
            version=version,
            properties=shown | ours,
        )


def _to_row(item: GraphItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "order": item.order,
        "properties": {
            "content": item.content,
            "summary": item.summary,
            "context": item.context,
            "fingerprint": item.fingerprint,
            "vector": item.vector.tolist(),
        },
    }

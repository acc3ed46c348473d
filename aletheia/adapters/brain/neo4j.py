"""The Brain in Neo4j, 5.23 or later, community edition included.

    (:Project)-[:HAS]->(:Department)-[:HAS]->(:Item)-[:SIMILAR {cosine}]->(:Item)
                       (:Department)-[:EVALUATED_AS]->(:Evaluation)
    (:BrainModel)      which embedding model the vectors are of

What is sent to the server stands in `cypher/`; labels and names of relationships are fixed, and
all that comes from outside is a parameter. An item carries the name of the model its vector is of,
so that a writer that has not heard of another model adds nothing that searches compare.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from aletheia.adapters.brain.neo4j_search import WRITTEN_AT_ONCE, Neo4jSearch
from aletheia.adapters.brain.neo4j_server import Neo4jServer, Rows
from aletheia.brain.forms import check_length
from aletheia.brain.graph import GraphItem, IndexedItem
from aletheia.brain.ports import BrainDepartment, KnownItem, ModelChanged

REBUILD_TIMEOUT_S: Final = 600.0
"""Bound on making index and vectors ready for another embedding model."""


class Neo4jGraph(Neo4jSearch):
    """A `BrainGraph` in a database of a Neo4j server; every call connects if none has so far.

    For its arguments see `Neo4jServer`.
    """

    def __init__(
        self,
        uri: str,
        username: str,
        password: str,
        *,
        database: str = "neo4j",
        timeout_s: float = 30.0,
    ) -> None:
        super().__init__(
            Neo4jServer(uri, username, password, database=database, timeout_s=timeout_s)
        )
        self._model: tuple[str, int] | None = None

    async def open(self) -> None:
        """See `BrainGraph.open` and `Neo4jServer.open`."""
        await self._server.open()

    async def read_model(self) -> tuple[str, int] | None:
        """See `BrainGraph.read_model`."""
        async with self._server.connected() as connection:
            kept = await connection.read_kept()
        self._model = None if kept is None else (kept.model, kept.dimensions)
        return self._model

    async def set_model(self, model: str, dimensions: int) -> None:
        """See `BrainGraph.set_model`."""
        async with self._server.connected(REBUILD_TIMEOUT_S) as connection:
            await connection.set_model(model, dimensions)
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
            rows = Rows(
                {
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
                for item in items[start : start + WRITTEN_AT_ONCE]
            )
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

    async def list_newest(self, project_id: str, department: str, limit: int) -> list[KnownItem]:
        """See `BrainGraph.list_newest`."""
        rows = await self._server.read(
            "list_newest", project_id=project_id, slug=department, limit=limit
        )
        return [KnownItem(**row) for row in rows]

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """See `BrainGraph.list_items`."""
        rows = await self._server.read(
            "list_items", project_id=project_id, after=after, limit=limit
        )
        return [IndexedItem(**row) for row in rows]

    async def delete(self, project_id: str, ids: Sequence[str]) -> int:
        """See `BrainGraph.delete`."""
        deleted = 0
        for batch in _batches(ids):
            (answer,) = await self._server.write("delete", project_id=project_id, ids=batch)
            deleted += answer["deleted"]
        return deleted

    async def link(self, project_id: str, ids: Sequence[str], *, threshold: float) -> int:
        """See `BrainGraph.link`."""
        state = await self.read_state(project_id)
        if state is None:
            return 0
        edges = 0
        for batch in _batches(ids):
            near = await self.find_neighbours(state, batch, threshold)
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
        """See `BrainGraph.save_evaluation`; plain values are properties of the node, too."""
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


def _batches(ids: Sequence[str]) -> Iterator[list[str]]:
    known = list(dict.fromkeys(ids))
    for start in range(0, len(known), WRITTEN_AT_ONCE):
        yield known[start : start + WRITTEN_AT_ONCE]

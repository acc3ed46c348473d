"""The Brain in a file: SQLite, and for searches a matrix of each project's vectors in memory.

Every write to a project raises its revision and stamps with it what it touches. A matrix knows the
revision it was brought up to, and takes in what came after; it is made anew only when its epoch is
over. Any number of processes may write and search at once.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from aletheia.adapters.brain import embedded_statements as statements
from aletheia.adapters.brain.matrices import Near, ProjectVectors, VectorsInMemory
from aletheia.adapters.documents.file import SqliteFile
from aletheia.adapters.documents.worker import fetch
from aletheia.brain.access import BRAIN
from aletheia.brain.graph import GraphItem, IndexedItem
from aletheia.brain.ports import BrainDepartment, Duplicate, KnownItem

FILE: Final = "brain.sqlite3"

MAX_BYTES: Final = 2**30
"""Of all matrices of a process: 550,000 vectors of 384 numbers, and a margin."""

_FORMAT: Final = 1


class EmbeddedGraph(SqliteFile):
    """A `BrainGraph` in a file below a directory on a local disk; all its searches are exact.

    `directory` is created on opening if it is missing. Of the matrices, `MAX_BYTES` in all, that of
    the project that was searched longest ago goes first, and that of the one searched stays.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / FILE, _FORMAT, setup=statements.set_up, name=BRAIN)
        # The reading thread's: nothing else touches it while the file is open.
        self._memory = VectorsInMemory[int](MAX_BYTES)

    async def close(self) -> None:
        """See `BrainGraph.close`."""
        await super().close()
        self._memory.clear()

    async def read_model(self) -> tuple[str, int] | None:
        """See `BrainGraph.read_model`."""
        return await self.reader.ask(statements.read_model)

    async def set_model(self, model: str, dimensions: int) -> None:
        """See `BrainGraph.set_model`."""
        await self.writer.ask(statements.set_model, model, dimensions)

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[GraphItem]
    ) -> tuple[int, int]:
        """See `BrainGraph.upsert`; all of the items, or none."""
        return await self.writer.ask(statements.upsert, project_id, department, items)

    async def search(
        self, project_id: str, vector: NDArray[np.float32], *, threshold: float, limit: int
    ) -> list[Duplicate]:
        """See `BrainGraph.search`."""

        def find(connection: sqlite3.Connection) -> list[Duplicate]:
            with statements.reading(connection):
                vectors = self._bring_up(connection, project_id)
                if vectors is None or vectors.dimensions != len(vector):
                    return []
                (near,) = vectors.find_near(vector[np.newaxis], threshold, limit)
                return [
                    Duplicate(hit.id, hit.score, statements.read_content(connection, hit.key))
                    for hit in near
                ]

        return await self.reader.ask(find)

    async def list_newest(self, project_id: str, department: str, limit: int) -> list[KnownItem]:
        """See `BrainGraph.list_newest`."""
        given = (project_id, department, limit)
        rows = await self.reader.ask(fetch, statements.LIST_NEWEST, given)
        return [KnownItem(*row) for row in rows]

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """See `BrainGraph.list_items`."""
        rows = await self.reader.ask(fetch, statements.LIST_ITEMS, (project_id, after, limit))
        return [IndexedItem(*named, has_vector=bool(has_vector)) for *named, has_vector in rows]

    async def delete(self, project_id: str, ids: Sequence[str]) -> int:
        """See `BrainGraph.delete`."""
        return await self.writer.ask(statements.delete, project_id, ids)

    async def link(self, project_id: str, ids: Sequence[str], *, threshold: float) -> int:
        """See `BrainGraph.link`."""

        def find(connection: sqlite3.Connection) -> dict[int, list[Near[int]]]:
            with statements.reading(connection):
                vectors = self._bring_up(connection, project_id)
                keys = statements.read_keys(connection, project_id, ids)
            return {} if vectors is None else vectors.find_neighbours(keys, threshold)

        near = await self.reader.ask(find)
        return await self.writer.ask(statements.link, near)

    async def save_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """See `BrainGraph.save_evaluation`."""
        row = (project_id, department, version, orjson.dumps(dict(values)))
        await self.writer.ask(fetch, statements.SAVE_EVALUATION, row)

    def _bring_up(
        self, connection: sqlite3.Connection, project_id: str
    ) -> ProjectVectors[int] | None:
        """Return a project's vectors as the file has them now; `None` before the first."""
        state = statements.read_state(connection, project_id)
        if state is None:
            return None
        revision, epoch, dimensions = state
        vectors = self._memory.get(project_id)
        if vectors is None or vectors.kind != epoch:
            rows = statements.count_vectors(connection, project_id)
            vectors = ProjectVectors[int](epoch, dimensions, rows)
        if vectors.revision < revision:
            statements.take_in(vectors, connection, project_id)
            vectors.revision = revision
        self._memory.keep(project_id, vectors)
        return vectors

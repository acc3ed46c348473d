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
from aletheia.brain.graph import NEIGHBOURS, GraphItem
from aletheia.brain.ports import BrainDepartment, Duplicate, IndexedItem, KnownItem

FILE: Final = "brain.sqlite3"

MAX_GONE: Final = 10_000
"""Deleted items of a project that are remembered for matrices that do not know it yet."""

MAX_BYTES: Final = 2**30
"""Of all matrices of a process: 550,000 vectors of 384 numbers, with room for more."""

_FORMAT: Final = 1
_BRAIN: Final = "brain"


class EmbeddedGraph:
    """A `BrainGraph` in a file below a directory on a local disk; all its searches are exact.

    Args:
        directory: created on opening if it is missing.
        lock_timeout_s: how long a write waits for those of other processes, seconds.
        max_bytes: of all matrices; the project that was searched longest ago goes first, and the
            one that is searched stays.
        max_gone: deleted items of a project that are remembered; with more, its matrices are made
            anew.
    """

    def __init__(
        self,
        directory: Path,
        *,
        lock_timeout_s: float = 10.0,
        max_bytes: int = MAX_BYTES,
        max_gone: int = MAX_GONE,
    ) -> None:
        self._max_gone = max_gone
        self._file = SqliteFile(
            directory / FILE,
            _FORMAT,
            setup=statements.set_up,
            name=_BRAIN,
            lock_timeout_s=lock_timeout_s,
        )
        # The reading thread's: nothing else touches it while the file is open.
        self._memory = VectorsInMemory[int](max_bytes)

    async def open(self) -> None:
        """See `BrainGraph.open`.

        Raises:
            Unavailable: the file cannot be made or read, or is something else.
            Misconfigured: a newer version of this program wrote it.
        """
        await self._file.open()

    async def close(self) -> None:
        """See `BrainGraph.close`."""
        await self._file.close()
        self._memory.clear()

    async def read_model(self) -> tuple[str, int] | None:
        """See `BrainGraph.read_model`."""
        return await self._file.reader.ask(statements.read_model)

    async def set_model(self, model: str, dimensions: int) -> None:
        """See `BrainGraph.set_model`."""
        await self._file.writer.ask(statements.set_model, model, dimensions)

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[GraphItem]
    ) -> tuple[int, int]:
        """See `BrainGraph.upsert`; all of the items, or none."""
        return await self._file.writer.ask(statements.upsert, project_id, department, items)

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

        return await self._file.reader.ask(find)

    async def list_newest(self, project_id: str, department: str, limit: int) -> list[KnownItem]:
        """See `BrainGraph.list_newest`."""
        rows = await self._read(statements.LIST_NEWEST, project_id, department, limit)
        return [KnownItem(*row) for row in rows]

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """See `IndexedItems.list_items`."""
        rows = await self._read(statements.LIST_ITEMS, project_id, after, limit)
        return [IndexedItem(*named, has_vector=bool(has_vector)) for *named, has_vector in rows]

    async def delete(self, project_id: str, ids: Sequence[str]) -> int:
        """See `IndexedItems.delete`."""
        return await self._file.writer.ask(statements.delete, project_id, ids, self._max_gone)

    async def link(
        self, project_id: str, ids: Sequence[str], *, threshold: float, limit: int = NEIGHBOURS
    ) -> int:
        """See `BrainGraph.link`."""

        def find(connection: sqlite3.Connection) -> dict[int, list[Near[int]]]:
            with statements.reading(connection):
                vectors = self._bring_up(connection, project_id)
                keys = statements.read_keys(connection, project_id, ids)
            return {} if vectors is None else vectors.find_neighbours(keys, threshold, limit)

        near = await self._file.reader.ask(find)
        return await self._file.writer.ask(statements.link, near)

    async def save_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """See `IndexedItems.save_evaluation`."""
        row = (project_id, department, version, orjson.dumps(dict(values)))
        await self._file.writer.ask(fetch, statements.SAVE_EVALUATION, row)

    async def _read(self, statement: str, *parameters: Any) -> list[Any]:
        return await self._file.reader.ask(fetch, statement, parameters)

    def _bring_up(
        self, connection: sqlite3.Connection, project_id: str
    ) -> ProjectVectors[int] | None:
        """Return a project's vectors as the file has them now; `None` before the first."""
        state = statements.read_state(connection, project_id)
        if state is None:
            return None
        vectors = self._memory.get(project_id)
        if vectors is None or vectors.kind != state.epoch:
            rows = statements.count_vectors(connection, project_id)
            vectors = ProjectVectors[int](state.epoch, state.dimensions, rows)
        if vectors.revision < state.revision:
            statements.take_in(vectors, connection, project_id)
            vectors.revision = state.revision
        self._memory.keep(project_id, vectors)
        return vectors

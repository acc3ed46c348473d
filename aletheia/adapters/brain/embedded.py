"""The Brain in a file: SQLite, and for searches a matrix of each project's vectors in memory.

Every write to a project raises its revision and stamps with it what it touches. A matrix knows the
revision it was brought up to, and takes in what came after; it is made anew only when its epoch is
over, which a change of the embedding model ends. Any number of processes may write and search at
once: what one was told is written, another one finds.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from aletheia.adapters.brain.nearest import find_near
from aletheia.adapters.documents.file import SqliteFile
from aletheia.brain.ports import (
    NEIGHBOURS,
    BrainDepartment,
    Duplicate,
    GraphItem,
    IndexedItem,
    KnownItem,
)

FILE: Final = "brain.sqlite3"

_FORMAT: Final = 1
_BRAIN: Final = "brain"

MAX_GONE: Final = 10_000
"""Deleted items of a project that are remembered for matrices that do not know it yet."""

MAX_BYTES: Final = 2**30
"""Of all matrices of a process: 700,000 vectors of 384 numbers."""

_FIRST_ROWS: Final = 1024
_READ_AT_ONCE: Final = 4096

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS model(
    one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, dimensions INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS projects(
    name TEXT PRIMARY KEY, revision INTEGER NOT NULL, epoch INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS departments(
    project TEXT, slug TEXT, name TEXT NOT NULL, number INTEGER, PRIMARY KEY (project, slug)
) WITHOUT ROWID;
-- A key is never given twice, so that a matrix cannot take one item for another.
CREATE TABLE IF NOT EXISTS items(
    key INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, id TEXT NOT NULL,
    department TEXT NOT NULL, place INTEGER NOT NULL, fingerprint TEXT NOT NULL,
    content TEXT NOT NULL, summary TEXT NOT NULL, context TEXT NOT NULL, UNIQUE (project, id)
);
CREATE INDEX IF NOT EXISTS newest ON items(project, department, place DESC, id);
CREATE TABLE IF NOT EXISTS vectors(
    key INTEGER PRIMARY KEY, project TEXT NOT NULL, revision INTEGER NOT NULL,
    vector BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS written ON vectors(project, revision);
CREATE TABLE IF NOT EXISTS gone(
    project TEXT, revision INTEGER, key INTEGER, PRIMARY KEY (project, revision, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS edges(
    source INTEGER, target INTEGER, score REAL NOT NULL, PRIMARY KEY (source, target)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reached ON edges(target);
CREATE TABLE IF NOT EXISTS evaluations(
    project TEXT, department TEXT, version TEXT, body BLOB NOT NULL,
    PRIMARY KEY (project, department, version)
)
"""


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
        self._max_bytes, self._max_gone = max_bytes, max_gone
        self._file = SqliteFile(
            directory / FILE, _FORMAT, setup=_set_up, name=_BRAIN, lock_timeout_s=lock_timeout_s
        )
        # The reading thread's: nothing else touches them while the file is open.
        self._matrices = OrderedDict[str, _Matrix]()

    @property
    def projects_in_memory(self) -> list[str]:
        """The projects whose matrices are there, the one that was searched last at the end."""
        return list(self._matrices)

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
        self._matrices.clear()

    async def read_model(self) -> tuple[str, int] | None:
        """See `BrainGraph.read_model`."""
        return await self._file.reader.ask(_read_model)

    async def set_model(self, model: str, dimensions: int) -> None:
        """See `BrainGraph.set_model`."""
        await self._file.writer.ask(lambda connection: _set_model(connection, model, dimensions))

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[GraphItem]
    ) -> tuple[int, int]:
        """See `BrainGraph.upsert`; all of the items, or none."""
        return await self._file.writer.ask(
            lambda connection: _upsert(connection, project_id, department, items)
        )

    async def search(
        self, project_id: str, vector: NDArray[np.float32], *, threshold: float, limit: int
    ) -> list[Duplicate]:
        """See `BrainGraph.search`."""

        def find(connection: sqlite3.Connection) -> list[Duplicate]:
            with _reading(connection):
                matrix = self._bring_up(connection, project_id)
                if matrix is None or matrix.dimensions != len(vector):
                    return []
                (near,) = matrix.find_near(vector[np.newaxis], threshold, limit)
                content = "SELECT content FROM items WHERE key = ?"
                return [
                    Duplicate(one.id, one.score, _fetch(connection, content, (one.key,))[0][0])
                    for one in near
                ]

        return await self._file.reader.ask(find)

    async def list_newest(self, project_id: str, department: str, limit: int) -> list[KnownItem]:
        """See `BrainGraph.list_newest`."""
        newest = (
            "SELECT id, content, summary, context FROM items "
            "WHERE project = ? AND department = ? ORDER BY place DESC, id LIMIT ?"
        )
        return [KnownItem(*row) for row in await self._read(newest, project_id, department, limit)]

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """See `BrainGraph.list_items`."""
        page = (
            "SELECT id, department, fingerprint, vectors.key IS NOT NULL "
            "FROM items LEFT JOIN vectors USING (key) "
            "WHERE items.project = ? AND id > ? ORDER BY id LIMIT ?"
        )
        rows = await self._read(page, project_id, after, limit)
        return [IndexedItem(*named, has_vector=bool(is_found)) for *named, is_found in rows]

    async def delete(self, project_id: str, ids: Sequence[str]) -> int:
        """See `BrainGraph.delete`."""
        return await self._file.writer.ask(
            lambda connection: _delete(connection, project_id, ids, self._max_gone)
        )

    async def link(
        self, project_id: str, ids: Sequence[str], *, threshold: float, limit: int = NEIGHBOURS
    ) -> int:
        """See `BrainGraph.link`."""

        def find(connection: sqlite3.Connection) -> dict[int, list[_Near]]:
            with _reading(connection):
                matrix = self._bring_up(connection, project_id)
                keys = _keys_of(connection, project_id, ids)
            return {} if matrix is None else matrix.find_neighbours(keys, threshold, limit)

        near = await self._file.reader.ask(find)
        return await self._file.writer.ask(lambda connection: _link(connection, near))

    async def list_neighbours(self, project_id: str, item_id: str) -> list[Duplicate]:
        """See `BrainGraph.list_neighbours`."""
        neighbours = (
            "SELECT there.id, score, there.content FROM items AS here "
            "JOIN edges ON source = here.key JOIN items AS there ON there.key = target "
            "WHERE here.project = ? AND here.id = ? ORDER BY score DESC, there.id"
        )
        return [Duplicate(*row) for row in await self._read(neighbours, project_id, item_id)]

    async def keep_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """See `BrainGraph.keep_evaluation`."""
        keep = "INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?)"
        row = (project_id, department, version, orjson.dumps(dict(values)))
        await self._file.writer.ask(lambda connection: _fetch(connection, keep, row))

    async def read_evaluation(
        self, project_id: str, department: str, version: str
    ) -> dict[str, Any] | None:
        """See `BrainGraph.read_evaluation`."""
        kept = "SELECT body FROM evaluations WHERE project = ? AND department = ? AND version = ?"
        rows = await self._read(kept, project_id, department, version)
        return orjson.loads(rows[0][0]) if rows else None

    async def _read(self, statement: str, *parameters: Any) -> list[Any]:
        return await self._file.reader.ask(
            lambda connection: _fetch(connection, statement, parameters)
        )

    def _bring_up(self, connection: sqlite3.Connection, project_id: str) -> "_Matrix | None":
        """Give a project's matrix as the file has it now; `None` where there is nothing yet."""
        known = "SELECT revision, epoch FROM projects WHERE name = ?"
        rows = _fetch(connection, known, (project_id,))
        model = _read_model(connection)
        if not rows or model is None:
            return None
        ((revision, epoch),) = rows
        matrix = self._matrices.get(project_id)
        if matrix is None or matrix.epoch != epoch:
            matrix = self._matrices[project_id] = _Matrix(epoch, model[1])
        self._matrices.move_to_end(project_id)
        if matrix.revision < revision:
            matrix.take_in(connection, project_id, revision)
            while len(self._matrices) > 1 and self._bytes() > self._max_bytes:
                self._matrices.popitem(last=False)
        return matrix

    def _bytes(self) -> int:
        return sum(matrix.bytes for matrix in self._matrices.values())


@dataclass(frozen=True, slots=True)
class _Near:
    """An item near to another one: its score, its id and its key."""

    score: float
    id: str
    key: int


class _Matrix:
    """The vectors of a project, a row each.

    Attributes:
        epoch: in which it may be brought up to date.
        revision: up to which it is.
        dimensions: length of a vector.
    """

    def __init__(self, epoch: int, dimensions: int) -> None:
        self.epoch, self.dimensions = epoch, dimensions
        self.revision = 0
        self._vectors = np.empty((_FIRST_ROWS, dimensions), np.float32)
        self._keys: list[int] = []
        self._ids: list[str] = []
        self._rows: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        """How large it is."""
        return self._vectors.nbytes

    def take_in(self, connection: sqlite3.Connection, project_id: str, revision: int) -> None:
        """Bring it up to a revision, the file's own."""
        since = (project_id, self.revision)
        written = (
            "SELECT vectors.key, id, vector FROM vectors JOIN items USING (key) "
            "WHERE vectors.project = ? AND revision > ? AND length(vector) = ?"
        )
        cursor = connection.execute(written, (*since, 4 * self.dimensions))
        while rows := cursor.fetchmany(_READ_AT_ONCE):
            keys, ids, vectors = zip(*rows, strict=True)
            read = np.frombuffer(b"".join(vectors), "<f4").reshape(-1, self.dimensions)
            self._put(keys, ids, read)
        gone = "SELECT key FROM gone WHERE project = ? AND revision > ?"
        for (key,) in _fetch(connection, gone, since):
            self._drop(key)
        self.revision = revision

    def find_near(
        self,
        queries: NDArray[np.float32],
        threshold: float,
        limit: int,
        *,
        without: Sequence[int] = (),
    ) -> list[list[_Near]]:
        """Find the rows near to each of some vectors; see `nearest.find_near`."""
        size = len(self._keys)
        found = find_near(
            self._vectors[:size], self._ids, queries, threshold, limit, without=without
        )
        return [
            [_Near(score, self._ids[row], self._keys[row]) for row, score in near] for near in found
        ]

    def find_neighbours(
        self, keys: Sequence[int], threshold: float, limit: int
    ) -> dict[int, list[_Near]]:
        """Find what is near to rows of its own, by their keys."""
        there = [key for key in dict.fromkeys(keys) if key in self._rows]
        rows = [self._rows[key] for key in there]
        near = self.find_near(self._vectors[rows], threshold, limit, without=rows)
        return dict(zip(there, near, strict=True))

    def _put(self, keys: Sequence[int], ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        self._reserve(len(self._keys) + len(keys))
        for key, item_id in zip(keys, ids, strict=True):
            if key not in self._rows:
                self._rows[key] = len(self._keys)
                self._keys.append(key)
                self._ids.append(item_id)
        self._vectors[[self._rows[key] for key in keys]] = vectors

    def _drop(self, key: int) -> None:
        """Forget a row, and put the last one into its place."""
        row = self._rows.pop(key, None)
        if row is None:
            return
        last_key, last_id = self._keys.pop(), self._ids.pop()
        if last_key != key:
            self._vectors[row] = self._vectors[len(self._keys)]
            self._keys[row], self._ids[row] = last_key, last_id
            self._rows[last_key] = row

    def _reserve(self, rows: int) -> None:
        capacity = len(self._vectors)
        if rows <= capacity:
            return
        while capacity < rows:
            capacity *= 2
        grown = np.empty((capacity, self.dimensions), np.float32)
        grown[: len(self._keys)] = self._vectors[: len(self._keys)]
        self._vectors = grown


@contextmanager
def _reading(connection: sqlite3.Connection) -> Generator[None]:
    """See the file as it is at one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def _set_up(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)


def _fetch(
    connection: sqlite3.Connection, statement: str, parameters: Sequence[Any] = ()
) -> list[Any]:
    return connection.execute(statement, parameters).fetchall()


def _read_model(connection: sqlite3.Connection) -> tuple[str, int] | None:
    rows = _fetch(connection, "SELECT name, dimensions FROM model")
    return rows[0] if rows else None


def _set_model(connection: sqlite3.Connection, model: str, dimensions: int) -> None:
    if _read_model(connection) == (model, dimensions):
        return
    connection.execute("INSERT OR REPLACE INTO model VALUES (1, ?, ?)", (model, dimensions))
    for table in ("vectors", "edges", "gone"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
    connection.execute("UPDATE projects SET epoch = epoch + 1, revision = revision + 1")


def _next_revision(connection: sqlite3.Connection, project_id: str) -> int:
    count = (
        "INSERT INTO projects VALUES (?, 1, 0) "
        "ON CONFLICT DO UPDATE SET revision = revision + 1 RETURNING revision"
    )
    ((revision,),) = _fetch(connection, count, (project_id,))
    return revision


def _upsert(
    connection: sqlite3.Connection,
    project_id: str,
    department: BrainDepartment,
    items: Sequence[GraphItem],
) -> tuple[int, int]:
    revision = _next_revision(connection, project_id)
    connection.execute(
        "INSERT OR REPLACE INTO departments VALUES (?, ?, ?, ?)",
        (project_id, department.slug, department.name, department.code_dep_number),
    )
    created = 0
    for one in items:
        values = (department.slug, one.fingerprint, one.content, one.summary, one.context)
        known = _fetch(
            connection,
            "SELECT key, department, fingerprint FROM items WHERE project = ? AND id = ?",
            (project_id, one.id),
        )
        if not known:
            cursor = connection.execute(
                "INSERT INTO items(department, fingerprint, content, summary, context, "
                "project, id, place) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, project_id, one.id, one.order),
            )
            key = cursor.lastrowid
            created += 1
        else:
            key = known[0][0]
            if known[0][1:] != values[:2]:
                connection.execute(
                    "UPDATE items SET department = ?, fingerprint = ?, content = ?, summary = ?, "
                    "context = ? WHERE key = ?",
                    (*values, key),
                )
        connection.execute(
            "INSERT INTO vectors VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "vector = excluded.vector, revision = excluded.revision "
            "WHERE vector IS NOT excluded.vector",
            (key, project_id, revision, one.vector.astype("<f4").tobytes()),
        )
    return created, len(items) - created


def _keys_of(connection: sqlite3.Connection, project_id: str, ids: Sequence[str]) -> list[int]:
    chosen = "SELECT key FROM items WHERE project = ? AND id = ?"
    return [
        key
        for one in dict.fromkeys(ids)
        for (key,) in _fetch(connection, chosen, (project_id, one))
    ]


def _delete(
    connection: sqlite3.Connection, project_id: str, ids: Sequence[str], max_gone: int
) -> int:
    keys = _keys_of(connection, project_id, ids)
    if not keys:
        return 0
    revision = _next_revision(connection, project_id)
    for key in keys:
        connection.execute("DELETE FROM items WHERE key = ?", (key,))
        connection.execute("DELETE FROM vectors WHERE key = ?", (key,))
        connection.execute("DELETE FROM edges WHERE source = ?", (key,))
        connection.execute("DELETE FROM edges WHERE target = ?", (key,))
        connection.execute("INSERT INTO gone VALUES (?, ?, ?)", (project_id, revision, key))
    ((gone,),) = _fetch(connection, "SELECT count(*) FROM gone WHERE project = ?", (project_id,))
    if gone > max_gone:
        connection.execute("DELETE FROM gone WHERE project = ?", (project_id,))
        connection.execute("UPDATE projects SET epoch = epoch + 1 WHERE name = ?", (project_id,))
    return len(keys)


def _link(connection: sqlite3.Connection, near: Mapping[int, Sequence[_Near]]) -> int:
    # What was deleted since the search gets none.
    draw = (
        "INSERT INTO edges SELECT :source, :target, :score "
        "WHERE EXISTS (SELECT 1 FROM vectors WHERE key = :source) "
        "AND EXISTS (SELECT 1 FROM vectors WHERE key = :target)"
    )
    drawn = 0
    for source, targets in near.items():
        connection.execute("DELETE FROM edges WHERE source = ?", (source,))
        for one in targets:
            edge = {"source": source, "target": one.key, "score": one.score}
            drawn += connection.execute(draw, edge).rowcount
    return drawn

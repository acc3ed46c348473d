"""What the Brain in a file says to SQLite; each function within a transaction of its caller."""

import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from aletheia.adapters.brain.matrices import Near, ProjectVectors
from aletheia.adapters.documents.worker import fetch
from aletheia.brain.graph import GraphItem
from aletheia.brain.ports import BrainDepartment

MAX_GONE: Final = 10_000
"""Deleted items of a project that are remembered for matrices that do not know it yet."""

_READ_AT_ONCE: Final = 4096
_NUMBER: Final = "<f4"
_NUMBER_BYTES: Final = 4

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

LIST_NEWEST: Final = (
    "SELECT id, content, summary, context FROM items "
    "WHERE project = ? AND department = ? ORDER BY place DESC, id LIMIT ?"
)
LIST_ITEMS: Final = (
    "SELECT id, department, fingerprint, vectors.key IS NOT NULL "
    "FROM items LEFT JOIN vectors USING (key) "
    "WHERE items.project = ? AND id > ? ORDER BY id LIMIT ?"
)
SAVE_EVALUATION: Final = "INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?)"


@contextmanager
def reading(connection: sqlite3.Connection) -> Generator[None]:
    """Read the file as it is at one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def set_up(connection: sqlite3.Connection) -> None:
    """Create the tables. Repeatable."""
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)


def read_model(connection: sqlite3.Connection) -> tuple[str, int] | None:
    """Return the embedding model and the length of its vectors; `None` at first."""
    rows = fetch(connection, "SELECT name, dimensions FROM model")
    return rows[0] if rows else None


def set_model(connection: sqlite3.Connection, model: str, dimensions: int) -> None:
    """Set the embedding model, and delete vectors and edges of another one."""
    if read_model(connection) == (model, dimensions):
        return
    connection.execute("INSERT OR REPLACE INTO model VALUES (1, ?, ?)", (model, dimensions))
    for table in ("vectors", "edges", "gone"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
    connection.execute("UPDATE projects SET epoch = epoch + 1, revision = revision + 1")


def read_state(connection: sqlite3.Connection, project_id: str) -> tuple[int, int, int] | None:
    """Return revision, epoch and dimensions of a project; `None` before the first item.

    The epoch grows when matrices have to be made anew.
    """
    state = "SELECT revision, epoch, dimensions FROM projects JOIN model WHERE projects.name = ?"
    rows = fetch(connection, state, (project_id,))
    return rows[0] if rows else None


def count_vectors(connection: sqlite3.Connection, project_id: str) -> int:
    """Return how many vectors a project has."""
    ((vectors,),) = fetch(
        connection, "SELECT count(*) FROM vectors WHERE project = ?", (project_id,)
    )
    return vectors


def take_in(vectors: ProjectVectors[int], connection: sqlite3.Connection, project_id: str) -> None:
    """Apply what was written and deleted since their revision to a project's vectors."""
    since = (project_id, vectors.revision)
    written = (
        "SELECT vectors.key, id, vector FROM vectors JOIN items USING (key) "
        "WHERE vectors.project = ? AND revision > ? AND length(vector) = ?"
    )
    cursor = connection.execute(written, (*since, _NUMBER_BYTES * vectors.dimensions))
    while rows := cursor.fetchmany(_READ_AT_ONCE):
        keys, ids, blobs = zip(*rows, strict=True)
        numbers = np.frombuffer(b"".join(blobs), _NUMBER)
        vectors.put(keys, ids, numbers.reshape(-1, vectors.dimensions))
    gone = "SELECT key FROM gone WHERE project = ? AND revision > ?"
    for (key,) in fetch(connection, gone, since):
        vectors.drop(key)


def read_content(connection: sqlite3.Connection, key: int) -> str:
    """Return an item's full text."""
    ((content,),) = fetch(connection, "SELECT content FROM items WHERE key = ?", (key,))
    return content


def read_keys(connection: sqlite3.Connection, project_id: str, ids: Sequence[str]) -> list[int]:
    """Return the keys of items; those that are not there are passed over."""
    chosen = "SELECT key FROM items WHERE project = ? AND id = ?"
    return [
        key
        for item_id in dict.fromkeys(ids)
        for (key,) in fetch(connection, chosen, (project_id, item_id))
    ]


def upsert(
    connection: sqlite3.Connection,
    project_id: str,
    department: BrainDepartment,
    items: Sequence[GraphItem],
) -> tuple[int, int]:
    """Write items; return how many are new and how many were there."""
    revision = _raise_revision(connection, project_id)
    connection.execute(
        "INSERT OR REPLACE INTO departments VALUES (?, ?, ?, ?)",
        (project_id, department.slug, department.name, department.code_dep_number),
    )
    created = 0
    for item in items:
        values = (department.slug, item.fingerprint, item.content, item.summary, item.context)
        known = fetch(
            connection,
            "SELECT key, department, fingerprint FROM items WHERE project = ? AND id = ?",
            (project_id, item.id),
        )
        if not known:
            cursor = connection.execute(
                "INSERT INTO items(department, fingerprint, content, summary, context, "
                "project, id, place) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, project_id, item.id, item.order),
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
            (key, project_id, revision, item.vector.astype(_NUMBER).tobytes()),
        )
    return created, len(items) - created


def delete(connection: sqlite3.Connection, project_id: str, ids: Sequence[str]) -> int:
    """Delete items with their edges; return how many there were.

    Their keys are remembered for matrices in memory; with more than `MAX_GONE` an epoch ends.
    """
    keys = read_keys(connection, project_id, ids)
    if not keys:
        return 0
    revision = _raise_revision(connection, project_id)
    for key in keys:
        connection.execute("DELETE FROM items WHERE key = ?", (key,))
        connection.execute("DELETE FROM vectors WHERE key = ?", (key,))
        connection.execute("DELETE FROM edges WHERE source = ?", (key,))
        connection.execute("DELETE FROM edges WHERE target = ?", (key,))
        connection.execute("INSERT INTO gone VALUES (?, ?, ?)", (project_id, revision, key))
    ((gone,),) = fetch(connection, "SELECT count(*) FROM gone WHERE project = ?", (project_id,))
    if gone > MAX_GONE:
        connection.execute("DELETE FROM gone WHERE project = ?", (project_id,))
        connection.execute("UPDATE projects SET epoch = epoch + 1 WHERE name = ?", (project_id,))
    return len(keys)


def link(connection: sqlite3.Connection, near: Mapping[int, Sequence[Near[int]]]) -> int:
    """Replace the edges of some items; return how many they have now."""
    # What was deleted since the search gets none.
    draw = (
        "INSERT INTO edges SELECT :source, :target, :score "
        "WHERE EXISTS (SELECT 1 FROM vectors WHERE key = :source) "
        "AND EXISTS (SELECT 1 FROM vectors WHERE key = :target)"
    )
    drawn = 0
    for source, targets in near.items():
        connection.execute("DELETE FROM edges WHERE source = ?", (source,))
        for target in targets:
            edge = {"source": source, "target": target.key, "score": target.score}
            drawn += connection.execute(draw, edge).rowcount
    return drawn


def _raise_revision(connection: sqlite3.Connection, project_id: str) -> int:
    count = (
        "INSERT INTO projects VALUES (?, 1, 0) "
        "ON CONFLICT DO UPDATE SET revision = revision + 1 RETURNING revision"
    )
    ((revision,),) = fetch(connection, count, (project_id,))
    return revision

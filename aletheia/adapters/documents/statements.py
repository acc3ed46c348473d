"""What the embedded store does with a connection: SQL over the two tables of a collection."""

# Names of tables are checked against a pattern before they become part of a statement (`notation`),
# everything else is bound.
# ruff: noqa: S608 - values are parameters; only names of our own are written into statements

import sqlite3
from collections.abc import Sequence
from typing import cast

from aletheia.adapters.documents.notation import ID, PAYLOAD, check_value
from aletheia.adapters.documents.sql import Clause, body_of, document_of, escape
from aletheia.adapters.documents.worker import fetch
from aletheia.documents import Change, Document, Update


class Table:
    """The two tables of a collection whose name was checked, quoted."""

    def __init__(self, collection: str) -> None:
        self.documents = f'"documents:{collection}"'
        self.payloads = f'"payloads:{collection}"'


def create_tables(connection: sqlite3.Connection, table: Table) -> None:
    """Create the tables of a collection that are missing."""
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {table.documents}"
        "(key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL)"
    )
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {table.payloads}"
        "(key INTEGER PRIMARY KEY, payload BLOB NOT NULL)"
    )


def insert_rows(
    connection: sqlite3.Connection, table: Table, rows: Sequence[tuple[str, str, bytes | None]]
) -> set[str]:
    """Insert documents, each an id, a body and a payload; return the ids that were new."""
    inserted: set[str] = set()
    for id_, body, payload in rows:
        cursor = connection.execute(
            f"INSERT INTO {table.documents}(id, body) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (escape(id_), body),
        )
        if cursor.rowcount:
            inserted.add(id_)
            if payload is not None:
                _set_payload(connection, table, cast("int", cursor.lastrowid), payload)
    return inserted


def update_rows(
    connection: sqlite3.Connection, table: Table, steps: Sequence[tuple[Update, Clause]]
) -> tuple[list[bool], list[str]]:
    """Make updates whose condition holds; return whether each was made, and which did not fit."""
    answers: list[bool] = []
    complaints: list[str] = []
    for update, (sql, parameters) in steps:
        id_ = escape(update.id)
        row = connection.execute(
            f"SELECT key, body FROM {table.documents} WHERE id = ? AND {sql}",
            (id_, *parameters),
        ).fetchone()
        if row is None:
            answers.append(False)
            continue
        try:
            _change_row(connection, table, id_, row, update.change)
        except ValueError as error:
            complaints.append(str(error))
            answers.append(False)
        else:
            answers.append(True)
    return answers, complaints


def upsert_rows(
    connection: sqlite3.Connection, table: Table, updates: Sequence[Update]
) -> tuple[list[bool], list[str]]:
    """Make updates, creating documents that are missing; return as `update_rows` does."""
    answers: list[bool] = []
    complaints: list[str] = []
    for update in updates:
        connection.execute(
            f"INSERT INTO {table.documents}(id, body) VALUES (?, '{{}}') ON CONFLICT DO NOTHING",
            (escape(update.id),),
        )
        made, errors = update_rows(connection, table, [(update, ("1", []))])
        answers += made
        complaints += errors
    return answers, complaints


def select(
    connection: sqlite3.Connection, table: Table, chosen: Clause, *, with_payload: bool
) -> list[Document]:
    """Return the documents a clause chooses, in its order."""
    sql, parameters = chosen
    columns, joined = "id, body, NULL", ""
    if with_payload:
        columns, joined = "id, body, payload", f"LEFT JOIN {table.payloads} USING (key)"
    statement = f"SELECT {columns} FROM {table.documents} {joined} WHERE {sql}"
    found: list[Document] = []
    for id_, body, payload in fetch(connection, statement, parameters):
        document = document_of(id_, body)
        if payload is not None:
            document[PAYLOAD] = payload
        found.append(document)
    return found


def take_first(
    connection: sqlite3.Connection, table: Table, chosen: Clause, change: Change
) -> Document | None:
    """Change the first document a clause chooses, and return it."""
    sql, parameters = chosen
    row = connection.execute(
        f"SELECT key, body, id FROM {table.documents} WHERE {sql}", parameters
    ).fetchone()
    if row is None:
        return None
    key, body, id_ = row
    return document_of(id_, _change_row(connection, table, id_, (key, body), change))


def delete_rows(connection: sqlite3.Connection, table: Table, chosen: Clause) -> int:
    """Delete the documents a clause chooses; return how many there were."""
    sql, parameters = chosen
    keys = f"SELECT key FROM {table.documents} WHERE {sql}"
    connection.execute(f"DELETE FROM {table.payloads} WHERE key IN ({keys})", parameters)
    cursor = connection.execute(f"DELETE FROM {table.documents} WHERE key IN ({keys})", parameters)
    return cursor.rowcount


def _change_row(
    connection: sqlite3.Connection,
    table: Table,
    id_: str,
    row: tuple[int, str],
    change: Change,
) -> str:
    """Change one document and return its body; `ValueError` when the change does not fit it."""
    key, body = row
    document = document_of(id_, body)
    _apply(document, change)
    changed = body_of(document)
    if changed != body:
        connection.execute(f"UPDATE {table.documents} SET body = ? WHERE key = ?", (changed, key))
    if PAYLOAD in change.set:
        _set_payload(connection, table, key, change.set[PAYLOAD])
    elif PAYLOAD in change.unset:
        connection.execute(f"DELETE FROM {table.payloads} WHERE key = ?", (key,))
    return changed


def _set_payload(connection: sqlite3.Connection, table: Table, key: int, payload: bytes) -> None:
    connection.execute(
        f"INSERT INTO {table.payloads}(key, payload) VALUES (?, ?) "
        "ON CONFLICT DO UPDATE SET payload = excluded.payload",
        (key, payload),
    )


def _apply(document: Document, change: Change) -> None:
    """Make a checked change, its payload aside, in a document."""
    for name, value in change.set.items():
        if name != PAYLOAD:
            parent, last = _parent_of(document, name)
            parent[last] = value
    for name in change.unset:
        *path, last = name.split(".")
        parent: Document | None = document
        for segment in path:
            inner = (parent or {}).get(segment)
            parent = cast("Document", inner) if isinstance(inner, dict) else None
        if parent is not None:
            parent.pop(last, None)
    for name, amount in change.increase.items():
        parent, last = _parent_of(document, name)
        before = parent.get(last, 0)
        if isinstance(before, bool) or not isinstance(before, int | float):
            message = f"{name!r} of {document[ID]!r} is not a number to be increased"
            raise ValueError(message)  # noqa: TRY004 - as for any change that does not fit
        after = before + amount
        check_value(after, name)
        parent[last] = after


def _parent_of(document: Document, name: str) -> tuple[Document, str]:
    """Return the object that holds a value, made if it is missing, and the last segment."""
    *path, last = name.split(".")
    parent = document
    for segment in path:
        inner = parent.setdefault(segment, {})
        if not isinstance(inner, dict):
            message = f"{name!r} leads through a value of {document[ID]!r} with no names"
            raise ValueError(message)  # noqa: TRY004 - as for any change that does not fit
        parent = cast("Document", inner)
    return parent, last

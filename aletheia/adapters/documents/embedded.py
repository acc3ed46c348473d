"""The document store in files: SQLite, shared by the processes of one machine.

A collection is two tables with a common key: `documents:NAME` with the JSON and `payloads:NAME`
with the bytes, so that reading or changing the one never touches the other.
"""

# Names of tables and of values are checked against patterns before they become part of a
# statement (`notation`), everything else is bound.
# ruff: noqa: S608

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aletheia.adapters.documents.file import SqliteFile
from aletheia.adapters.documents.lane import Reader, Writer
from aletheia.adapters.documents.notation import (
    ID,
    PAYLOAD,
    check_change,
    check_collection,
    check_documents,
    check_ids,
    check_limit,
    check_name,
    check_names,
    check_updates,
    check_value,
    read_where,
)
from aletheia.adapters.documents.sql import (
    Clause,
    body_of,
    document_of,
    escape,
    filter_of,
    json_of,
    order_of,
    string_filter_of,
    unescape,
    value_of,
)
from aletheia.documents import Change, Document, Update, Where

FILE = "documents.sqlite3"

_FORMAT = 1
"""Of the tables; kept in the file, so that an older program does not touch a newer store."""


@dataclass(frozen=True, slots=True)
class _Table:
    """The two tables of a collection, quoted."""

    documents: str
    payloads: str

    @classmethod
    def of(cls, collection: str) -> "_Table":
        return cls(f'"documents:{collection}"', f'"payloads:{collection}"')


class EmbeddedDocuments:
    """Documents in SQLite below a directory on a local disk.

    Several processes may have the same directory open. It and its files are readable by their
    owner only, since they hold what tasks say.

    Args:
        directory: created on opening if it is missing.
        lock_timeout_s: how long a write waits for those of other processes, seconds.
        is_durable: whether an answer to a write means that it survives a power failure, too. If
            not, the last writes before one may be lost, and a write takes a fraction of the time;
            no crash of a process loses any.
    """

    def __init__(
        self, directory: Path, *, lock_timeout_s: float = 10.0, is_durable: bool = True
    ) -> None:
        self._file = SqliteFile(
            directory / FILE, _FORMAT, lock_timeout_s=lock_timeout_s, is_durable=is_durable
        )
        self._known: set[str] = set()

    async def open(self) -> None:
        """Create the files if there are none, and connect. Idempotent.

        Raises:
            Unavailable: the files cannot be made or read, or are not a store.
            Misconfigured: a newer version of this program wrote them.
        """
        await self._file.open()

    async def close(self) -> None:
        """Do what was asked so far, then disconnect. Idempotent."""
        await self._file.close()
        self._known.clear()

    async def ensure_index(self, collection: str, names: Sequence[str]) -> None:
        """Index the values of these names, in this order. Idempotent."""
        checked = check_names(names)
        table = await self._table(collection)
        columns = ", ".join([*(value_of(name) for name in checked), "id"])
        index = f'"index:{collection}({",".join(checked)})"'
        statement = f"CREATE INDEX IF NOT EXISTS {index} ON {table.documents} ({columns})"
        await self._writer().ask(lambda connection: _fetch(connection, statement))

    async def insert(self, collection: str, documents: Sequence[Document]) -> set[str]:
        """Insert what is not there yet, and return its ids."""
        check_collection(collection)
        rows = [
            (cast("str", document[ID]), body_of(document), document.get(PAYLOAD))
            for document in check_documents(documents)
        ]
        if not rows:
            return set()
        table = await self._table(collection)
        return await self._writer().ask(lambda connection: _insert(connection, table, rows))

    async def update(self, collection: str, updates: Sequence[Update]) -> list[bool]:
        """Change documents whose condition holds, and say for each whether it did.

        Raises:
            ValueError: a change does not fit its document; the others have been made.
        """
        check_collection(collection)
        check_updates(updates)
        if not updates:
            return []
        # Updates of a batch mostly share a condition, which is read once.
        conditions = {id(update.where): update.where for update in updates}
        clauses = {key: filter_of(read_where(where)) for key, where in conditions.items()}
        steps = [(update, clauses[id(update.where)]) for update in updates]
        table = await self._table(collection)
        answers, complaints = await self._writer().ask(
            lambda connection: _update(connection, table, steps)
        )
        _complain(complaints)
        return answers

    async def upsert(self, collection: str, updates: Sequence[Update]) -> None:
        """Change documents, creating those that are missing.

        Raises:
            ValueError: a change does not fit its document; the others have been made.
        """
        check_collection(collection)
        check_updates(updates, is_upsert=True)
        if not updates:
            return
        steps = list(updates)
        table = await self._table(collection)
        _complain(await self._writer().ask(lambda connection: _upsert(connection, table, steps)))

    async def get(
        self, collection: str, ids: Sequence[str], *, with_payload: bool = False
    ) -> dict[str, Document]:
        """Read documents by id."""
        check_collection(collection)
        wanted = check_ids(ids)
        if not wanted:
            return {}
        chosen = "id IN (SELECT value FROM json_each(?))", [json_of(wanted)]
        table = await self._table(collection)
        found = await self._reader().ask(
            lambda connection: _select(connection, table, chosen, with_payload=with_payload)
        )
        by_id = {cast("str", document[ID]): document for document in found}
        return {id_: by_id[id_] for id_ in wanted if id_ in by_id}

    async def find(
        self,
        collection: str,
        where: Where,
        *,
        sort: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        with_payload: bool = False,
    ) -> list[Document]:
        """Read the documents for which conditions hold, ordered by a name and then by id."""
        check_collection(collection)
        check_limit(limit)
        sql, parameters = filter_of(read_where(where))
        order = order_of(sort and check_name(sort), is_descending=descending)
        bound = -1 if limit is None else limit
        chosen = f"{sql} ORDER BY {order} LIMIT {bound}", parameters
        table = await self._table(collection)
        return await self._reader().ask(
            lambda connection: _select(connection, table, chosen, with_payload=with_payload)
        )

    async def take(
        self, collection: str, where: Where, change: Change, *, sort: str | None = None
    ) -> Document | None:
        """Change the first document for which conditions hold, and return it."""
        check_collection(collection)
        check_change(change)
        sql, parameters = filter_of(read_where(where))
        chosen = f"{sql} ORDER BY {order_of(sort and check_name(sort))} LIMIT 1", parameters
        table = await self._table(collection)
        return await self._writer().ask(lambda connection: _take(connection, table, chosen, change))

    async def delete(self, collection: str, where: Where, *, limit: int | None = None) -> int:
        """Delete the documents for which conditions hold, in the order of their ids."""
        check_collection(collection)
        check_limit(limit)
        sql, parameters = filter_of(read_where(where))
        bound = "" if limit is None else f" ORDER BY id LIMIT {limit}"
        table = await self._table(collection)
        return await self._writer().ask(
            lambda connection: _delete(connection, table, (sql + bound, parameters))
        )

    async def count(self, collection: str, where: Where) -> int:
        """Count the documents for which conditions hold."""
        check_collection(collection)
        sql, parameters = filter_of(read_where(where))
        table = await self._table(collection)
        statement = f"SELECT count(*) FROM {table.documents} WHERE {sql}"
        ((count,),) = await self._reader().ask(
            lambda connection: _fetch(connection, statement, parameters)
        )
        return count

    async def count_by(self, collection: str, name: str, where: Where) -> dict[str, int]:
        """Count the documents for which conditions hold by the string value of a name."""
        check_collection(collection)
        if "." in check_name(name):
            raise ValueError(f"{name!r} is not a top-level name")
        sql, parameters = filter_of(read_where(where))
        table = await self._table(collection)
        statement = (
            f"SELECT {value_of(name)}, count(*) FROM {table.documents} "
            f"WHERE ({sql}) AND {string_filter_of(name)} GROUP BY 1"
        )
        rows = await self._reader().ask(
            lambda connection: _fetch(connection, statement, parameters)
        )
        return {unescape(value): count for value, count in rows}

    async def clock_skew_s(self) -> float | None:
        """Return `None`: the clock is ours."""
        return None

    def _writer(self) -> Writer:
        return self._file.writer

    def _reader(self) -> Reader:
        return self._file.reader

    async def _table(self, collection: str) -> _Table:
        """Return the tables of a collection, made on its first use."""
        check_collection(collection)
        table = _Table.of(collection)
        if collection not in self._known:
            await self._writer().ask(lambda connection: _create_tables(connection, table))
            self._known.add(collection)
        return table


def _fetch(
    connection: sqlite3.Connection, statement: str, parameters: Sequence[Any] = ()
) -> list[Any]:
    return connection.execute(statement, parameters).fetchall()


def _create_tables(connection: sqlite3.Connection, table: _Table) -> None:
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {table.documents}"
        "(key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL)"
    )
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {table.payloads}"
        "(key INTEGER PRIMARY KEY, payload BLOB NOT NULL)"
    )


def _insert(
    connection: sqlite3.Connection, table: _Table, rows: Sequence[tuple[str, str, bytes | None]]
) -> set[str]:
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


def _update(
    connection: sqlite3.Connection, table: _Table, steps: Sequence[tuple[Update, Clause]]
) -> tuple[list[bool], list[str]]:
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
        answers.append(True)
    return answers, complaints


def _upsert(connection: sqlite3.Connection, table: _Table, updates: Sequence[Update]) -> list[str]:
    complaints: list[str] = []
    for update in updates:
        connection.execute(
            f"INSERT INTO {table.documents}(id, body) VALUES (?, '{{}}') ON CONFLICT DO NOTHING",
            (escape(update.id),),
        )
        _, errors = _update(connection, table, [(update, ("1", []))])
        complaints += errors
    return complaints


def _select(
    connection: sqlite3.Connection, table: _Table, chosen: Clause, *, with_payload: bool
) -> list[Document]:
    sql, parameters = chosen
    if not with_payload:
        statement = f"SELECT id, body FROM {table.documents} WHERE {sql}"
        return [document_of(id_, body) for id_, body in _fetch(connection, statement, parameters)]
    statement = (
        f"SELECT id, body, payload FROM {table.documents} LEFT JOIN {table.payloads} USING (key) "
        f"WHERE {sql}"
    )
    found: list[Document] = []
    for id_, body, payload in _fetch(connection, statement, parameters):
        document = document_of(id_, body)
        if payload is not None:
            document[PAYLOAD] = payload
        found.append(document)
    return found


def _take(
    connection: sqlite3.Connection, table: _Table, chosen: Clause, change: Change
) -> Document | None:
    sql, parameters = chosen
    row = connection.execute(
        f"SELECT key, body, id FROM {table.documents} WHERE {sql}", parameters
    ).fetchone()
    if row is None:
        return None
    key, body, id_ = row
    return document_of(id_, _change_row(connection, table, id_, (key, body), change))


def _delete(connection: sqlite3.Connection, table: _Table, chosen: Clause) -> int:
    sql, parameters = chosen
    keys = f"SELECT key FROM {table.documents} WHERE {sql}"
    connection.execute(f"DELETE FROM {table.payloads} WHERE key IN ({keys})", parameters)
    cursor = connection.execute(f"DELETE FROM {table.documents} WHERE key IN ({keys})", parameters)
    return cursor.rowcount


def _change_row(
    connection: sqlite3.Connection,
    table: _Table,
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


def _set_payload(connection: sqlite3.Connection, table: _Table, key: int, payload: bytes) -> None:
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
        _remove(document, name.split("."))
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
    """Find the object that holds a value, making it, and return it with the last segment."""
    *path, last = name.split(".")
    parent = document
    for segment in path:
        inner = parent.setdefault(segment, {})
        if not isinstance(inner, dict):
            message = f"{name!r} leads through a value of {document[ID]!r} with no names"
            raise ValueError(message)  # noqa: TRY004 - as for any change that does not fit
        parent = cast("Document", inner)
    return parent, last


def _remove(document: Document, path: Sequence[str]) -> None:
    parent = document
    for segment in path[:-1]:
        inner = parent.get(segment)
        if not isinstance(inner, dict):
            return
        parent = cast("Document", inner)
    parent.pop(path[-1], None)


def _complain(complaints: Sequence[str]) -> None:
    if complaints:
        raise ValueError("; ".join(complaints))

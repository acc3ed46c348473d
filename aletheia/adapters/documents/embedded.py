"""The document store in files: SQLite, shared by the processes of one machine.

A collection is two tables with a common key: `documents:NAME` with the JSON and `payloads:NAME`
with the bytes, so that reading or changing the one never touches the other.
"""

# Names of tables and of values are checked against patterns before they become part of a
# statement (`notation`), everything else is bound.
# ruff: noqa: S608 - values are parameters; only names of our own are written into statements

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from aletheia.adapters.documents import notation, sql, statements
from aletheia.adapters.documents.file import SqliteFile
from aletheia.adapters.documents.notation import ID, PAYLOAD
from aletheia.adapters.documents.statements import Table
from aletheia.adapters.documents.worker import fetch
from aletheia.documents import Change, Document, Update, Where

FILE = "documents.sqlite3"

_FORMAT = 1
"""Of the tables; kept in the file, so that an older program does not touch a newer store."""


class EmbeddedDocuments:
    """Documents in SQLite below a directory on a local disk, which several processes may share.

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
        notation.check_collection(collection)
        checked = notation.check_names(names)
        table = await self._table(collection)
        columns = ", ".join([*(sql.value_of(name) for name in checked), "id"])
        index = f'"index:{collection}({",".join(checked)})"'
        statement = f"CREATE INDEX IF NOT EXISTS {index} ON {table.documents} ({columns})"
        await self._file.writer.ask(fetch, statement)

    async def insert(self, collection: str, documents: Sequence[Document]) -> set[str]:
        """Insert what is not there yet, and return its ids."""
        notation.check_collection(collection)
        rows = [
            (cast("str", document[ID]), sql.body_of(document), document.get(PAYLOAD))
            for document in notation.check_documents(documents)
        ]
        if not rows:
            return set()
        table = await self._table(collection)
        return await self._file.writer.ask(statements.insert_rows, table, rows)

    async def update(self, collection: str, updates: Sequence[Update]) -> list[bool]:
        """Change documents whose condition holds, and say for each whether it did.

        Raises:
            ValueError: a change does not fit its document; the others have been made.
        """
        notation.check_collection(collection)
        notation.check_updates(updates)
        if not updates:
            return []
        # Updates of a batch mostly share a condition, which is read once.
        conditions = {id(update.where): update.where for update in updates}
        clauses = {
            key: sql.filter_of(notation.read_where(where)) for key, where in conditions.items()
        }
        steps = [(update, clauses[id(update.where)]) for update in updates]
        table = await self._table(collection)
        answers, complaints = await self._file.writer.ask(statements.update_rows, table, steps)
        _complain(complaints)
        return answers

    async def upsert(self, collection: str, updates: Sequence[Update]) -> None:
        """Change documents, creating those that are missing.

        Raises:
            ValueError: a change does not fit its document; the others have been made.
        """
        notation.check_collection(collection)
        notation.check_updates(updates, is_upsert=True)
        if not updates:
            return
        steps = list(updates)
        table = await self._table(collection)
        complaints = await self._file.writer.ask(statements.upsert_rows, table, steps)
        _complain(complaints)

    async def get(
        self, collection: str, ids: Sequence[str], *, with_payload: bool = False
    ) -> dict[str, Document]:
        """Read documents by id."""
        notation.check_collection(collection)
        wanted = notation.check_ids(ids)
        if not wanted:
            return {}
        chosen = "id IN (SELECT value FROM json_each(?))", [sql.json_of(wanted)]
        table = await self._table(collection)
        found = await self._file.reader.ask(
            statements.select, table, chosen, with_payload=with_payload
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
        notation.check_collection(collection)
        notation.check_limit(limit)
        condition, parameters = sql.filter_of(notation.read_where(where))
        order = sql.order_of(sort and notation.check_name(sort), is_descending=descending)
        bound = -1 if limit is None else limit
        chosen = f"{condition} ORDER BY {order} LIMIT {bound}", parameters
        table = await self._table(collection)
        return await self._file.reader.ask(
            statements.select, table, chosen, with_payload=with_payload
        )

    async def take(
        self, collection: str, where: Where, change: Change, *, sort: str | None = None
    ) -> Document | None:
        """Change the first document for which conditions hold, and return it."""
        notation.check_collection(collection)
        notation.check_change(change)
        condition, parameters = sql.filter_of(notation.read_where(where))
        order = sql.order_of(sort and notation.check_name(sort))
        chosen = f"{condition} ORDER BY {order} LIMIT 1", parameters
        table = await self._table(collection)
        return await self._file.writer.ask(statements.take_first, table, chosen, change)

    async def delete(self, collection: str, where: Where, *, limit: int | None = None) -> int:
        """Delete the documents for which conditions hold, in the order of their ids."""
        notation.check_collection(collection)
        notation.check_limit(limit)
        condition, parameters = sql.filter_of(notation.read_where(where))
        bound = "" if limit is None else f" ORDER BY id LIMIT {limit}"
        table = await self._table(collection)
        return await self._file.writer.ask(
            statements.delete_rows, table, (condition + bound, parameters)
        )

    async def count(self, collection: str, where: Where) -> int:
        """Count the documents for which conditions hold."""
        notation.check_collection(collection)
        condition, parameters = sql.filter_of(notation.read_where(where))
        table = await self._table(collection)
        statement = f"SELECT count(*) FROM {table.documents} WHERE {condition}"
        ((count,),) = await self._file.reader.ask(fetch, statement, parameters)
        return count

    async def count_by(self, collection: str, name: str, where: Where) -> dict[str, int]:
        """Count the documents for which conditions hold by the string value of a name."""
        notation.check_collection(collection)
        if "." in notation.check_name(name):
            raise ValueError(f"{name!r} is not a top-level name")
        condition, parameters = sql.filter_of(notation.read_where(where))
        table = await self._table(collection)
        statement = (
            f"SELECT {sql.value_of(name)}, count(*) FROM {table.documents} "
            f"WHERE ({condition}) AND {sql.string_filter_of(name)} GROUP BY 1"
        )
        rows = await self._file.reader.ask(fetch, statement, parameters)
        return {sql.unescape(value): count for value, count in rows}

    async def clock_skew_s(self) -> float | None:
        """Return `None`: the clock is ours."""
        return None

    async def _table(self, collection: str) -> Table:
        """Return the tables of a collection, made on its first use."""
        table = Table.of(collection)
        if collection not in self._known:
            await self._file.writer.ask(statements.create_tables, table)
            self._known.add(collection)
        return table


def _complain(complaints: Sequence[str]) -> None:
    if complaints:
        raise ValueError("; ".join(complaints))

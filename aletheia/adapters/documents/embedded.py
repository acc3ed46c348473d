"""The document store in files: SQLite, shared by the processes of one machine.

A collection is two tables with a common key: `documents:NAME` with the JSON and `payloads:NAME`
with the bytes, so that reading or changing the one never touches the other.
"""

# Names of tables and of values are checked against patterns before they become part of a
# statement (`notation`), everything else is bound.
# ruff: noqa: S608 - values are parameters; only names of our own are written into statements

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from aletheia.adapters.documents import notation, sql, statements
from aletheia.adapters.documents.counter_table import CounterTable, create_counters, read_counters
from aletheia.adapters.documents.file import SqliteFile
from aletheia.adapters.documents.notation import ID, PAYLOAD
from aletheia.adapters.documents.statements import Table
from aletheia.adapters.documents.worker import fetch
from aletheia.documents import (
    Change,
    Document,
    Insert,
    Take,
    Update,
    Upsert,
    Where,
    Write,
    is_unmet,
)
from aletheia.errors import Unavailable
from aletheia.series import NOTHING, Counts

T = TypeVar("T")

Work: TypeAlias = Callable[[sqlite3.Connection], T]
"""What is done with the connection that writes, in the transaction under way."""

FILE = "documents.sqlite3"

_FORMAT = 1
"""Of the tables; kept in the file, so that an older program does not touch a newer store."""


class EmbeddedDocuments(SqliteFile):
    """Documents in SQLite below a directory on a local disk, which several processes may share.

    Args:
        directory: created on opening if it is missing.
        is_durable: whether an answer to a write means that it survives a power failure, too. If
            not, the last writes before one may be lost, and a write takes a fraction of the time;
            no crash of a process loses any.
    """

    has_transactions: bool = True

    def __init__(self, directory: Path, *, is_durable: bool = True) -> None:
        self._counters = CounterTable()
        super().__init__(
            directory / FILE,
            _FORMAT,
            setup=create_counters,
            is_durable=is_durable,
            alongside=self._counters,
        )
        self._known: set[str] = set()

    async def close(self) -> None:
        """Write what was noted; see `SqliteFile.close`."""
        with suppress(Unavailable, TimeoutError):  # as where it is closed already
            async with asyncio.timeout(notation.LAST_WRITE_S):
                await self._write_noted()
        await super().close()
        self._known.clear()

    async def ensure_index(self, collection: str, names: Sequence[str]) -> None:
        """Index the values of these names, in this order. Idempotent."""
        checked = notation.check_names(names)
        table = await self._table(collection)
        columns = ", ".join([*(sql.value_of(name) for name in checked), "id"])
        index = f'"index:{collection}({",".join(checked)})"'
        statement = f"CREATE INDEX IF NOT EXISTS {index} ON {table.documents} ({columns})"
        await self.writer.ask(fetch, statement)

    async def insert(
        self,
        collection: str,
        documents: Sequence[Document],
        *,
        counts: Mapping[str, Counts] | None = None,
    ) -> set[str]:
        """Insert what is not there yet, and return its ids."""
        work = await self._insertion(Insert(collection, documents, counts or {}))
        return await self.writer.ask(work) if documents else set()

    async def update(self, collection: str, updates: Sequence[Update]) -> list[bool]:
        """Change documents whose condition holds, and say for each whether it did."""
        notation.check_updates(updates)
        table = await self._table(collection)
        if not updates:
            return []
        # Updates of a batch mostly share a condition, which is read once.
        conditions = {id(update.where): update.where for update in updates}
        clauses = {key: sql.filter_of(where) for key, where in conditions.items()}
        steps = [(update, clauses[id(update.where)]) for update in updates]

        def update(connection: sqlite3.Connection) -> tuple[list[bool], list[str]]:
            answers, complaints = statements.update_rows(connection, table, steps)
            self._add_made(updates, answers)
            return answers, complaints

        answers, complaints = await self.writer.ask(update)
        if complaints:
            raise ValueError("; ".join(complaints))
        return answers

    async def upsert(self, collection: str, updates: Sequence[Update]) -> None:
        """Change documents, creating those that are missing."""
        work = await self._upserting(Upsert(collection, updates))
        if updates and (complaints := await self.writer.ask(work)):
            raise ValueError("; ".join(complaints))

    async def get(
        self, collection: str, ids: Sequence[str], *, with_payload: bool = False
    ) -> dict[str, Document]:
        """Read documents by id."""
        wanted = notation.check_ids(ids)
        table = await self._table(collection)
        if not wanted:
            return {}
        chosen = "id IN (SELECT value FROM json_each(?))", [sql.json_of(wanted)]
        found = await self.reader.ask(statements.select, table, chosen, with_payload=with_payload)
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
        notation.check_limit(limit)
        condition, parameters = sql.filter_of(where)
        order = sql.order_of(sort and notation.check_name(sort), is_descending=descending)
        bound = -1 if limit is None else limit
        chosen = f"{condition} ORDER BY {order} LIMIT {bound}", parameters
        table = await self._table(collection)
        return await self.reader.ask(statements.select, table, chosen, with_payload=with_payload)

    async def take(
        self,
        collection: str,
        where: Where,
        change: Change,
        *,
        sort: str | None = None,
        counts: Counts = NOTHING,
    ) -> Document | None:
        """Change the first document for which conditions hold, and return it."""
        work = await self._taking(Take(collection, where, change, counts), sort)
        return await self.writer.ask(work)

    async def write(self, writes: Sequence[Write]) -> list[Any]:
        """Make writes in one transaction."""
        works = [await self._work_of(write) for write in writes]

        def make(connection: sqlite3.Connection) -> list[Any]:
            answers: list[Any] = []
            for work in works:
                answers.append(work(connection))
                if is_unmet(writes[len(answers) - 1], answers[-1]):
                    break
            return answers

        return await self.writer.ask(make) if works else []

    async def delete(
        self,
        collection: str,
        where: Where,
        *,
        limit: int | None = None,
        counts: Counts = NOTHING,
    ) -> int:
        """Delete the documents for which conditions hold, in the order of their ids."""
        notation.check_limit(limit)
        condition, parameters = sql.filter_of(where)
        bound = "" if limit is None else f" ORDER BY id LIMIT {limit}"
        table = await self._table(collection)

        def delete(connection: sqlite3.Connection) -> int:
            chosen = condition + bound, parameters
            deleted = statements.delete_rows(connection, table, chosen)
            self._counters.add(counts, deleted)
            return deleted

        return await self.writer.ask(delete)

    async def count(self, collection: str, where: Where) -> int:
        """Count the documents for which conditions hold."""
        condition, parameters = sql.filter_of(where)
        table = await self._table(collection)
        statement = f"SELECT count(*) FROM {table.documents} WHERE {condition}"
        ((count,),) = await self.reader.ask(fetch, statement, parameters)
        return count

    async def count_by(self, collection: str, name: str, where: Where) -> dict[str, int]:
        """Count the documents for which conditions hold by the string value of a name."""
        value = sql.value_of(notation.check_top_level(name))
        condition, parameters = sql.filter_of(where)
        table = await self._table(collection)
        statement = (
            f"SELECT {value}, count(*) FROM {table.documents} "
            f"WHERE ({condition}) AND {sql.string_filter_of(name)} GROUP BY 1"
        )
        rows = await self.reader.ask(fetch, statement, parameters)
        return {sql.unescape(value): count for value, count in rows}

    def note(self, counts: Counts) -> None:
        """Add to counters with the next transaction, or when the store is closed."""
        self._counters.note(counts)

    async def counters(self) -> dict[str, float]:
        """Read all counters, what was noted here among them."""
        await self._write_noted()
        return await self.reader.ask(read_counters)

    async def clock_skew_s(self) -> float | None:
        """Return `None`: the clock is ours."""
        return None

    async def _write_noted(self) -> None:
        if self._counters.has_noted:
            await self.writer.ask(lambda _: None)  # its transaction takes along what is noted

    async def _work_of(self, write: Write) -> Work[Any]:
        match write:
            case Insert():
                return await self._insertion(write)
            case Take():
                return await self._taking(write)
            case Upsert():
                upserting = await self._upserting(write)

                def upsert(connection: sqlite3.Connection) -> None:
                    if complaints := upserting(connection):
                        raise ValueError("; ".join(complaints))

                return upsert

    async def _insertion(self, insert: Insert) -> Work[set[str]]:
        rows = [
            (cast("str", document[ID]), sql.body_of(document), document.get(PAYLOAD))
            for document in notation.check_documents(insert.documents)
        ]
        table = await self._table(insert.collection)

        def work(connection: sqlite3.Connection) -> set[str]:
            inserted = statements.insert_rows(connection, table, rows)
            for id_ in inserted if insert.counts else ():
                self._counters.add(insert.counts.get(id_, NOTHING))
            return inserted

        return work

    async def _upserting(self, upsert: Upsert) -> Work[list[str]]:
        """Return the work of an upsert, which returns what does not fit."""
        notation.check_updates(upsert.updates, is_upsert=True)
        table = await self._table(upsert.collection)

        def work(connection: sqlite3.Connection) -> list[str]:
            answers, complaints = statements.upsert_rows(connection, table, upsert.updates)
            self._add_made(upsert.updates, answers)
            return complaints

        return work

    async def _taking(self, take: Take, sort: str | None = None) -> Work[Document | None]:
        notation.check_change(take.change)
        condition, parameters = sql.filter_of(take.where)
        order = sql.order_of(sort and notation.check_name(sort))
        chosen = f"{condition} ORDER BY {order} LIMIT 1", parameters
        table = await self._table(take.collection)

        def work(connection: sqlite3.Connection) -> Document | None:
            taken = statements.take_first(connection, table, chosen, take.change)
            if taken is not None:
                self._counters.add(take.counts)
            return taken

        return work

    def _add_made(self, updates: Sequence[Update], answers: Sequence[bool]) -> None:
        """Add what updates that were made carry, in the transaction under way."""
        for update, is_made in zip(updates, answers, strict=True):
            if is_made and update.counts:
                self._counters.add(update.counts)

    async def _table(self, collection: str) -> Table:
        """Return the tables of a collection, made on its first use."""
        notation.check_collection(collection)
        table = Table(collection)
        if collection not in self._known:
            await self.writer.ask(statements.create_tables, table)
            self._known.add(collection)
        return table

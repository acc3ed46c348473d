"""The document store on MongoDB, or on a service that speaks its protocol.

Only the core that such services share is used: single-document atomic writes, unique `_id`,
unordered bulk writes, plain filters, `$group` by one name. No transactions, pipeline updates,
array filters, compound `$group` ids or change streams; and no `_id` in compound indexes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, cast

from pymongo import AsyncMongoClient, ReturnDocument, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, PyMongoError

from aletheia.adapters.documents.mongodb_counters import COUNTERS, MongoCounters
from aletheia.adapters.documents.mongodb_errors import indices_of_duplicates, translating
from aletheia.adapters.documents.mongodb_queries import (
    CODEC,
    encode_document,
    filter_of,
    filter_of_update,
    measure_skew_s,
    operators_of,
    rounds_of,
)
from aletheia.adapters.documents.notation import (
    ID,
    LAST_WRITE_S,
    PAYLOAD,
    check_change,
    check_collection,
    check_documents,
    check_ids,
    check_limit,
    check_name,
    check_names,
    check_top_level,
    check_updates,
    check_writes,
)
from aletheia.documents import Change, Document, Update, Where, Write, write_in_turn
from aletheia.errors import Misconfigured, Unavailable
from aletheia.series import NOTHING, Counts
from aletheia.store.patience import STORE

IN_FLIGHT = 16
"""Conditional updates of one call under way at once."""

IDS_AT_ONCE = 1000
"""Ids in one request to read or delete by id."""

UPSERT_TRIES = 5
"""Two upserts of one new id can collide, and the loser has to try again."""

TIMEOUT_S = 5.0
"""How long a server is looked for before it counts as out of reach."""


class MongoDocuments:
    """Documents in one database of a MongoDB-compatible server.

    `uri`: `mongodb://` or `mongodb+srv://` with whatever it takes to sign in. No part of it gets
    into a message of ours.
    """

    has_transactions: bool = False

    def __init__(self, uri: str, database: str) -> None:
        self._uri, self._name = uri, database
        self._database: AsyncDatabase[Document] | None = None
        self._counters = MongoCounters(
            lambda updates: self._upsert_rounds(COUNTERS, updates), lambda: self.find(COUNTERS, {})
        )

    async def open(self) -> None:
        """Connect, and check that the server answers. Idempotent.

        Raises:
            Misconfigured: the URI or the database's name cannot be read.
            Unavailable: the server does not answer.
        """
        if self._database is not None:
            return
        database = _connect(self._uri, self._name)
        try:
            with self._translating():
                await database.client.admin.command("ping")
        except BaseException:
            await database.client.close()
            raise
        self._database = database

    async def close(self) -> None:
        """Write what was noted, and disconnect. Idempotent."""
        with suppress(Unavailable, TimeoutError):  # as where it is closed already
            async with asyncio.timeout(LAST_WRITE_S):
                await self._counters.add()
        database, self._database = self._database, None
        if database is not None:
            await database.client.close()

    async def ensure_index(self, collection: str, names: Sequence[str]) -> None:
        """Index the values of these names, in this order. Idempotent."""
        keys = [(name, 1) for name in check_names(names)]
        target = self._collection(collection)
        with self._translating():
            await target.create_index(keys)

    async def insert(
        self,
        collection: str,
        documents: Sequence[Document],
        *,
        counts: Mapping[str, Counts] | None = None,
    ) -> set[str]:
        """Insert what is not there yet, and return its ids."""
        target = self._collection(collection)
        checked = check_documents(documents)
        if not checked:
            return set()
        encoded = [encode_document(document) for document in checked]
        ids = [cast("str", document[ID]) for document in checked]
        duplicates: set[int] = set()
        with self._translating():
            try:
                await target.insert_many(encoded, ordered=False)
            except BulkWriteError as error:
                duplicates = indices_of_duplicates(error)
        inserted = {id_ for index, id_ in enumerate(ids) if index not in duplicates}
        await self._counters.add([(counts or {}).get(id_, NOTHING) for id_ in inserted])
        return inserted

    async def update(self, collection: str, updates: Sequence[Update]) -> list[bool]:
        """Change documents whose condition holds, and say for each whether it did.

        The protocol answers a bulk of updates with one number, so each is a request of its own.
        """
        target = self._collection(collection)
        check_updates(updates)
        filters = [filter_of_update(update) for update in updates]
        answers = [False] * len(updates)
        free = asyncio.Semaphore(IN_FLIGHT)

        async def make(index: int) -> None:
            async with free:
                with self._translating():
                    result = await target.update_one(
                        filters[index], operators_of(updates[index].change)
                    )
                answers[index] = result.matched_count > 0

        try:
            for indices in rounds_of([update.id for update in updates]):
                await _all(make, indices)
        finally:
            for update, is_made in zip(updates, answers, strict=True):
                if is_made:
                    self._counters.note(update.counts)
        await self._counters.add()
        return answers

    async def upsert(self, collection: str, updates: Sequence[Update]) -> None:
        """Change documents, creating those that are missing."""
        await self._upsert_rounds(collection, updates)
        await self._counters.add([update.counts for update in updates])

    async def get(
        self, collection: str, ids: Sequence[str], *, with_payload: bool = False
    ) -> dict[str, Document]:
        """Read documents by id."""
        target = self._collection(collection)
        wanted = check_ids(ids)
        found: dict[str, Document] = {}
        for start in range(0, len(wanted), IDS_AT_ONCE):
            chunk = wanted[start : start + IDS_AT_ONCE]
            with self._translating():
                cursor = target.find({ID: {"$in": chunk}}, None if with_payload else {PAYLOAD: 0})
                found.update({document[ID]: document for document in await cursor.to_list()})
        return {id_: found[id_] for id_ in wanted if id_ in found}

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
        target = self._collection(collection)
        check_limit(limit)
        chosen = filter_of(where)
        names = dict.fromkeys([ID] if sort is None else [check_name(sort), ID])
        order = [(name, -1 if descending else 1) for name in names]
        if limit == 0:
            return []
        with self._translating():
            return await target.find(
                chosen, None if with_payload else {PAYLOAD: 0}, sort=order, limit=limit or 0
            ).to_list()

    async def take(
        self,
        collection: str,
        where: Where,
        change: Change,
        *,
        sort: str | None = None,
        counts: Counts = NOTHING,
    ) -> Document | None:
        """Change the first document for which conditions hold, and return it.

        Among documents that `sort` puts level any may be the first: an index can then name it.
        """
        target = self._collection(collection)
        check_change(change)
        chosen = filter_of(where)
        order = None if sort is None else [(check_name(sort), 1)]
        with self._translating():
            # Without a projection: not every compatible service heeds one here.
            taken = await target.find_one_and_update(
                chosen, operators_of(change), sort=order, return_document=ReturnDocument.AFTER
            )
        if taken is not None:
            taken.pop(PAYLOAD, None)
            await self._counters.add([counts])
        return taken

    async def write(self, writes: Sequence[Write]) -> list[Any]:
        """Make writes one after the other; what none of them may be is found out before."""
        check_writes(writes)
        return await write_in_turn(self, writes)

    async def delete(
        self,
        collection: str,
        where: Where,
        *,
        limit: int | None = None,
        counts: Counts = NOTHING,
    ) -> int:
        """Delete the documents for which conditions hold, in the order of their ids."""
        check_limit(limit)
        deleted = await self._delete(collection, where, limit)
        await self._counters.add([{name: by * deleted for name, by in counts.items()}])
        return deleted

    async def _delete(self, collection: str, where: Where, limit: int | None) -> int:
        target, chosen = self._collection(collection), filter_of(where)
        if limit is None:
            with self._translating():
                return (await target.delete_many(chosen)).deleted_count
        deleted = 0
        while deleted < limit:
            with self._translating():
                ids = await target.find(
                    chosen, {ID: 1}, sort=[(ID, 1)], limit=min(limit - deleted, IDS_AT_ONCE)
                ).to_list()
                if not ids:
                    break
                among = {ID: {"$in": [document[ID] for document in ids]}}
                result = await target.delete_many({"$and": [among, chosen]} if chosen else among)
            deleted += result.deleted_count
        return deleted

    async def count(self, collection: str, where: Where) -> int:
        """Count the documents for which conditions hold."""
        target = self._collection(collection)
        chosen = filter_of(where)
        with self._translating():
            return await target.count_documents(chosen)

    async def count_by(self, collection: str, name: str, where: Where) -> dict[str, int]:
        """Count the documents for which conditions hold by the string value of a name."""
        target = self._collection(collection)
        grouped = {"$group": {"_id": f"${check_top_level(name)}", "count": {"$sum": 1}}}
        pipeline = [{"$match": filter_of(where)}, grouped]
        with self._translating():
            rows = await (await target.aggregate(pipeline)).to_list()
        return {row["_id"]: row["count"] for row in rows if isinstance(row["_id"], str)}

    def note(self, counts: Counts) -> None:
        """Add to counters with the next write that counts, or when the store is closed."""
        self._counters.note(counts)

    async def counters(self) -> dict[str, float]:
        """Read all counters, what was noted here among them."""
        await self._counters.add()
        return await self._counters.numbers()

    async def clock_skew_s(self) -> float | None:
        """Measure how far the server's clock is ahead of ours, in seconds."""
        with self._translating():
            return await measure_skew_s(self._opened())

    def _opened(self) -> AsyncDatabase[Document]:
        if self._database is None:
            raise Unavailable(STORE, "it is not open")
        return self._database

    def _collection(self, collection: str) -> AsyncCollection[Document]:
        check_collection(collection)
        return self._opened()[collection]

    def _translating(self) -> AbstractContextManager[None]:
        return translating(self._uri)

    async def _upsert_rounds(self, collection: str, updates: Sequence[Update]) -> None:
        target = self._collection(collection)
        check_updates(updates, is_upsert=True)
        for indices in rounds_of([update.id for update in updates]):
            await self._upsert_once(target, [updates[index] for index in indices])

    async def _upsert_once(
        self, target: AsyncCollection[Document], updates: Sequence[Update]
    ) -> None:
        """Upsert documents of different ids."""
        waiting = list(updates)

        async def upsert_alone(index: int) -> None:
            update = waiting[index]
            with self._translating():
                await target.update_one({ID: update.id}, operators_of(update.change), upsert=True)

        with self._translating():
            for tries_left in reversed(range(UPSERT_TRIES)):
                writes = [
                    UpdateOne({ID: update.id}, operators_of(update.change), upsert=True)
                    for update in waiting
                ]
                try:
                    await target.bulk_write(writes, ordered=False)
                except BulkWriteError as error:
                    if not tries_left:
                        raise
                    waiting = [waiting[index] for index in sorted(indices_of_duplicates(error))]
                except KeyError:
                    # An answer without `nModified`, as some compatible services give to a bulk of
                    # which they refuse a part; one by one they say what they refuse.
                    await _all(upsert_alone, range(len(waiting)))
                    return
                else:
                    return


def _connect(uri: str, name: str) -> AsyncDatabase[Document]:
    try:
        client: AsyncMongoClient[Document] = AsyncMongoClient(
            uri,
            appname="aletheia",
            maxPoolSize=2 * IN_FLIGHT,
            w="majority",
            journal=True,
            wTimeoutMS=10_000,
            serverSelectionTimeoutMS=int(TIMEOUT_S * 1000),
            connectTimeoutMS=int(TIMEOUT_S * 1000),
            waitQueueTimeoutMS=10_000,
            socketTimeoutMS=30_000,
        )
        return client.get_database(name, codec_options=CODEC)
    except (PyMongoError, ValueError, TypeError) as error:
        kind = type(error).__name__
    # Raised out here, as an error about a URI that cannot be read may quote any part of it.
    raise Misconfigured(
        "MONGODB_URI",
        f"it, or the database {name!r}, cannot be read ({kind}); user and password "
        "must be percent-encoded",
    )


async def _all(make: Callable[[int], Awaitable[None]], indices: Sequence[int]) -> None:
    """Make all, whatever becomes of each, then raise what went wrong, an outage before the rest."""
    outcomes = await asyncio.gather(*map(make, indices), return_exceptions=True)
    errors = [outcome for outcome in outcomes if outcome is not None]
    complaints = [str(error) for error in errors if isinstance(error, ValueError)]
    for error in errors:
        if not isinstance(error, ValueError):
            raise error
    if complaints:
        raise ValueError("; ".join(complaints))

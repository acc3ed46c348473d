"""The document store on MongoDB, or on a service that speaks its protocol.

Only the core that such services share is used: single-document atomic writes, unique `_id`,
unordered bulk writes, plain filters, `$group` by one name. No transactions, pipeline updates,
array filters, compound `$group` ids or change streams; and no `_id` in compound indexes.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import unquote_plus

import bson
from bson import CodecOptions, DBRef, Int64
from bson.codec_options import TypeDecoder, TypeRegistry
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, ReturnDocument, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError

from aletheia.adapters.documents.notation import (
    ID,
    PAYLOAD,
    Among,
    Condition,
    Equal,
    Ordered,
    check_change,
    check_collection,
    check_documents,
    check_ids,
    check_limit,
    check_name,
    check_names,
    check_updates,
    read_where,
)
from aletheia.documents import Change, Document, Update, Where
from aletheia.errors import Misconfigured, Unavailable

STORE = "store"

MAX_BYTES = 16 * 2**20
"""Largest document MongoDB holds, in BSON."""

IN_FLIGHT = 16
"""Conditional updates of one call under way at once."""

IDS_AT_ONCE = 1000
"""Ids in one request to read or delete by id."""

UPSERT_TRIES = 5
"""Two upserts of one new id can collide, and the loser has to try again."""

CLOCK_PROBES = 3

_DUPLICATE_KEY = 11000
_BAD_DOCUMENT_CODES = frozenset(
    {
        2,  # BadValue
        9,  # FailedToParse
        14,  # TypeMismatch
        15,  # Overflow
        22,  # InvalidBSON
        28,  # PathNotViable
        40,  # ConflictingUpdateOperators
        52,  # DollarPrefixedFieldName
        57,  # DottedFieldName
        10334,  # BSONObjectTooLarge
        17280,  # KeyTooLong
        17419,  # the updated document is larger than MongoDB's limit
        17420,  # the inserted one is
    }
)
"""Server errors that say what is wrong with a document or a change, not with the server."""


class _PlainInt(TypeDecoder):
    """Reads 64-bit integers as what they were when written."""

    @property
    def bson_type(self) -> type[Int64]:
        return Int64

    def transform_bson(self, value: Any) -> Any:
        return int(value)


class _PlainObject(TypeDecoder):
    """Reads an object with the keys `$ref` and `$id` as the JSON object it is."""

    @property
    def bson_type(self) -> type[DBRef]:
        return DBRef

    def transform_bson(self, value: Any) -> Any:
        return dict(value.as_doc())


_CODEC: CodecOptions[Document] = CodecOptions(
    type_registry=TypeRegistry([_PlainInt(), _PlainObject()])
)


class MongoDocuments:
    """Documents in one database of a MongoDB-compatible server.

    Args:
        uri: `mongodb://` or `mongodb+srv://` with whatever it takes to sign in. No part of it
            gets into a message of ours.
        database: its name.
        timeout_s: how long a server is looked for before it counts as out of reach, seconds.
    """

    def __init__(self, uri: str, database: str, *, timeout_s: float = 5.0) -> None:
        self._uri = uri
        self._name = database
        self._timeout_s = timeout_s
        self._client: AsyncMongoClient[Document] | None = None
        self._database: AsyncDatabase[Document] | None = None

    async def open(self) -> None:
        """Connect, and see that the server answers. Idempotent.

        Raises:
            Misconfigured: the URI or the database's name cannot be read.
            Unavailable: the server does not answer.
        """
        if self._client is not None:
            return
        client, database = self._connect()
        try:
            with self._translating():
                await client.admin.command("ping")
        except BaseException:
            await client.close()
            raise
        self._client, self._database = client, database

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        client, self._client, self._database = self._client, None, None
        if client is not None:
            await client.close()

    async def ensure_index(self, collection: str, names: Sequence[str]) -> None:
        """Index the values of these names, in this order. Idempotent."""
        keys = [(name, 1) for name in check_names(names)]
        target = self._collection(collection)
        with self._translating():
            await target.create_index(keys)

    async def insert(self, collection: str, documents: Sequence[Document]) -> set[str]:
        """Insert what is not there yet, and return its ids."""
        target = self._collection(collection)
        checked = check_documents(documents)
        if not checked:
            return set()
        encoded = [_encode(document) for document in checked]
        ids = [cast("str", document[ID]) for document in checked]
        with self._translating():
            try:
                await target.insert_many(encoded, ordered=False)
            except BulkWriteError as error:
                duplicates = _indices_of_duplicates(error)
                return {id_ for index, id_ in enumerate(ids) if index not in duplicates}
        return set(ids)

    async def update(self, collection: str, updates: Sequence[Update]) -> list[bool]:
        """Change documents whose condition holds, and say for each whether it did.

        The protocol answers a bulk of updates with one number, so each is a request of its own.

        Raises:
            ValueError: a change does not fit its document; the others have been made.
        """
        target = self._collection(collection)
        check_updates(updates)
        filters = [_filter_of_update(update) for update in updates]
        answers = [False] * len(updates)
        free = asyncio.Semaphore(IN_FLIGHT)

        async def make(index: int) -> None:
            async with free:
                with self._translating():
                    result = await target.update_one(
                        filters[index], _operators_of(updates[index].change)
                    )
                answers[index] = result.matched_count > 0

        for indices in _rounds([update.id for update in updates]):
            await _all(make, indices)
        return answers

    async def upsert(self, collection: str, updates: Sequence[Update]) -> None:
        """Change documents, creating those that are missing.

        Raises:
            ValueError: a change does not fit its document; the others have been made.
        """
        target = self._collection(collection)
        check_updates(updates, is_upsert=True)
        for indices in _rounds([update.id for update in updates]):
            await self._upsert_once(target, [updates[index] for index in indices])

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
                cursor = target.find({ID: {"$in": chunk}}, _projection(with_payload=with_payload))
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
        chosen = _filter_of(read_where(where))
        names = dict.fromkeys([ID] if sort is None else [check_name(sort), ID])
        order = [(name, -1 if descending else 1) for name in names]
        if limit == 0:
            return []
        with self._translating():
            return await target.find(
                chosen, _projection(with_payload=with_payload), sort=order, limit=limit or 0
            ).to_list()

    async def take(
        self, collection: str, where: Where, change: Change, *, sort: str | None = None
    ) -> Document | None:
        """Change the first document for which conditions hold, and return it.

        Among documents that `sort` puts level any may be the first: an index can then name it.
        """
        target = self._collection(collection)
        check_change(change)
        chosen = _filter_of(read_where(where))
        order = None if sort is None else [(check_name(sort), 1)]
        with self._translating():
            return await target.find_one_and_update(
                chosen,
                _operators_of(change),
                projection=_projection(with_payload=False),
                sort=order,
                return_document=ReturnDocument.AFTER,
            )

    async def delete(self, collection: str, where: Where, *, limit: int | None = None) -> int:
        """Delete the documents for which conditions hold, in the order of their ids."""
        target = self._collection(collection)
        check_limit(limit)
        chosen = _filter_of(read_where(where))
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
        chosen = _filter_of(read_where(where))
        with self._translating():
            return await target.count_documents(chosen)

    async def count_by(self, collection: str, name: str, where: Where) -> dict[str, int]:
        """Count the documents for which conditions hold by the string value of a name."""
        target = self._collection(collection)
        if "." in check_name(name):
            raise ValueError(f"{name!r} is not a top-level name")
        grouped = {"$group": {"_id": f"${name}", "count": {"$sum": 1}}}
        pipeline = [{"$match": _filter_of(read_where(where))}, grouped]
        with self._translating():
            rows = await (await target.aggregate(pipeline)).to_list()
        return {row["_id"]: row["count"] for row in rows if isinstance(row["_id"], str)}

    async def clock_skew_s(self) -> float | None:
        """Measure how far the server's clock is ahead of ours, in seconds.

        Half of the fastest of some round trips is taken for the way there.
        """
        client, _ = self._opened()
        probes: list[tuple[float, float]] = []
        for _ in range(CLOCK_PROBES):
            began, asked_at = time.monotonic(), time.time()
            with self._translating():
                answer = await client.admin.command("hello")
            round_trip_s = time.monotonic() - began
            there = answer.get("localTime")
            if not isinstance(there, datetime):
                return None
            there_s = there.replace(tzinfo=UTC).timestamp()
            probes.append((round_trip_s, there_s - (asked_at + round_trip_s / 2)))
        return min(probes)[1]

    def _connect(self) -> tuple[AsyncMongoClient[Document], AsyncDatabase[Document]]:
        try:
            client: AsyncMongoClient[Document] = AsyncMongoClient(
                self._uri,
                appname="aletheia",
                maxPoolSize=2 * IN_FLIGHT,
                w="majority",
                journal=True,
                wTimeoutMS=10_000,
                serverSelectionTimeoutMS=int(self._timeout_s * 1000),
                connectTimeoutMS=int(self._timeout_s * 1000),
                waitQueueTimeoutMS=10_000,
                socketTimeoutMS=30_000,
            )
            return client, client.get_database(self._name, codec_options=_CODEC)
        except (PyMongoError, ValueError, TypeError) as error:
            kind = type(error).__name__
        # Raised out here, as an error about a URI that cannot be read may quote any part of it.
        raise Misconfigured(
            "MONGODB_URI",
            f"it, or the database {self._name!r}, cannot be read ({kind}); user and password "
            "must be percent-encoded",
        )

    def _opened(self) -> tuple[AsyncMongoClient[Document], AsyncDatabase[Document]]:
        if self._client is None or self._database is None:
            raise Unavailable(STORE, "it is not open")
        return self._client, self._database

    def _collection(self, collection: str) -> AsyncCollection[Document]:
        check_collection(collection)
        _, database = self._opened()
        return database[collection]

    async def _upsert_once(
        self, target: AsyncCollection[Document], updates: Sequence[Update]
    ) -> None:
        """Upsert documents of different ids."""
        waiting = [
            UpdateOne({ID: update.id}, _operators_of(update.change), upsert=True)
            for update in updates
        ]
        with self._translating():
            for tries_left in reversed(range(UPSERT_TRIES)):
                try:
                    await target.bulk_write(waiting, ordered=False)
                except BulkWriteError as error:
                    if not tries_left:
                        raise
                    waiting = [waiting[index] for index in sorted(_indices_of_duplicates(error))]
                else:
                    return

    @contextmanager
    def _translating(self) -> Generator[None]:
        """Turn pymongo's errors into ours.

        What a bulk error says holds the documents themselves, so only the server's words are
        taken from it.
        """
        try:
            yield
        except DocumentTooLarge as error:
            raise ValueError("a document is over the 16 MB that MongoDB holds") from error
        except (BSONError, OverflowError) as error:
            raise ValueError(f"MongoDB cannot hold this: {error}") from error
        except OperationFailure as error:
            code, said = _told(error)
            reason = f"{type(error).__name__}: {self._redact(said)} (code {code})"
            if code in _BAD_DOCUMENT_CODES:
                raise ValueError(reason) from None
            raise Unavailable(STORE, reason) from None
        except PyMongoError as error:
            said = str(error)
            # What follows is the driver's view of every server, for as long as a screen.
            brief, _, _ = said.partition(", Topology Description")
            raise Unavailable(STORE, f"{type(error).__name__}: {self._redact(brief)}") from (
                error if self._redact(said) == said else None
            )

    def _redact(self, text: str) -> str:
        user_info = re.match(r"[^/]*//([^@]*)@", self._uri)
        if user_info is None:
            return text
        for secret in [user_info[1], *user_info[1].split(":")[1:]]:
            for form in (secret, unquote_plus(secret)):
                text = text.replace(form, "***") if form else text
        return text


def _encode(document: Document) -> RawBSONDocument:
    """Encode once, and see that it fits."""
    encoded = bson.encode(document, codec_options=_CODEC)
    if len(encoded) > MAX_BYTES:
        raise ValueError(
            f"document {document[ID]!r} of {len(encoded)} bytes is over the 16 MB that MongoDB "
            "holds"
        )
    return RawBSONDocument(encoded)


def _projection(*, with_payload: bool) -> dict[str, int] | None:
    return None if with_payload else {PAYLOAD: 0}


def _filter_of(conditions: Sequence[Condition]) -> dict[str, Any]:
    """Write conditions that must all hold as a filter."""
    clauses = [{condition.name: _wanted_of(condition)} for condition in conditions]
    flat = {name: wanted for clause in clauses for name, wanted in clause.items()}
    return flat if len(flat) == len(clauses) else {"$and": clauses}


def _wanted_of(condition: Condition) -> Any:
    match condition:
        case Equal():
            return {"$ne": condition.operand} if condition.negated else condition.operand
        case Among():
            return {"$in": list(condition.operands)}
        case Ordered():
            # Not every compatible service keeps to the operand's own kind by itself.
            kind = "string" if isinstance(condition.operand, str) else "number"
            return {condition.operator: condition.operand, "$type": kind}


def _filter_of_update(update: Update) -> dict[str, Any]:
    chosen = _filter_of(read_where(update.where))
    by_id = {ID: update.id}
    return {"$and": [by_id, chosen]} if ID in chosen else by_id | chosen


def _operators_of(change: Change) -> dict[str, Any]:
    """Write a change as update operators; none at all is one without an effect."""
    operators: dict[str, Any] = {
        "$set": dict(change.set),
        "$unset": dict.fromkeys(change.unset, ""),
        "$inc": dict(change.increase),
    }
    given = {operator: names for operator, names in operators.items() if names}
    return given or {"$unset": {"aletheia_nothing": ""}}


def _rounds(ids: Sequence[str]) -> list[list[int]]:
    """Part indices so that no id comes twice in a part, each id's in order."""
    rounds: list[list[int]] = []
    seen: Counter[str] = Counter()
    for index, id_ in enumerate(ids):
        if seen[id_] == len(rounds):
            rounds.append([])
        rounds[seen[id_]].append(index)
        seen[id_] += 1
    return rounds


async def _all(make: Callable[[int], Awaitable[None]], indices: Sequence[int]) -> None:
    """Do all, whatever becomes of each, then raise what went wrong, an outage before the rest."""
    outcomes = await asyncio.gather(*map(make, indices), return_exceptions=True)
    errors = [outcome for outcome in outcomes if outcome is not None]
    complaints = [str(error) for error in errors if isinstance(error, ValueError)]
    for error in errors:
        if not isinstance(error, ValueError):
            raise error
    if complaints:
        raise ValueError("; ".join(complaints))


def _indices_of_duplicates(error: BulkWriteError) -> set[int]:
    """Find which writes met an id that was there already; any other failure is raised."""
    details = error.details
    failed: list[Mapping[str, Any]] = details.get("writeErrors", [])
    if details.get("writeConcernErrors") or any(one["code"] != _DUPLICATE_KEY for one in failed):
        raise error
    return {one["index"] for one in failed}


def _told(error: OperationFailure) -> tuple[int | None, str]:
    """Find the code and the words in which the server put what is wrong."""
    details = error.details or {}
    if not isinstance(error, BulkWriteError):
        return error.code, details.get("errmsg", "")
    failed: list[Mapping[str, Any]] = [
        *(one for one in details.get("writeErrors", []) if one["code"] != _DUPLICATE_KEY),
        *details.get("writeConcernErrors", []),
        *details.get("writeErrors", []),
    ]
    return (failed[0]["code"], failed[0]["errmsg"]) if failed else (None, "")

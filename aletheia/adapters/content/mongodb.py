"""A project's items in a MongoDB that the application uses as well, beside our collections."""

import heapq
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import UTC
from typing import Any, Final, TypeAlias

from bson import CodecOptions, DatetimeConversion, ObjectId, json_util
from bson.errors import InvalidId
from pymongo import UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, OperationFailure

from aletheia.adapters.documents.mongodb import IDS_AT_ONCE, UPSERT_TRIES, MongoDocuments
from aletheia.adapters.documents.mongodb_errors import indices_of_duplicates
from aletheia.errors import Misconfigured
from aletheia.items.content import COLLECTION, ID_DIGITS, SavedItem, read_document, to_document
from aletheia.store.project_id import check_project_id

log = logging.getLogger(__name__)

_ID: Final = "_id"
_READ: Final = dict.fromkeys(
    ("content", "summary", "context", "user_id", "created_at", "automation"), 1
)
_FIRST: Final = ObjectId("0" * ID_DIGITS)
_IDS_LISTED_AT_ONCE: Final = 10_000
_DATABASE_DIFFERS_IN_CASE: Final = 13297

_Raw: TypeAlias = dict[str, Any]

_CODEC: Final[CodecOptions[_Raw]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""Reads whatever others have written; what is odd about a value is found when it is checked."""


class MongoContent(MongoDocuments):
    """The items of one project, and our collections beside them; raises as `database_of`."""

    def __init__(self, uri: str, project_id: str) -> None:
        super().__init__(uri, database_of(project_id))
        self._project_id = project_id

    async def mark(self) -> int:
        """Count the documents, as the server's books have it."""
        with self._translating():
            return await self._gather().estimated_document_count()

    async def list_ids(self) -> AsyncGenerator[Sequence[str]]:
        """Yield the ids of all documents, some at a time."""
        with self._translating():
            async with self._gather().find({}, {_ID: 1}, batch_size=_IDS_LISTED_AT_ONCE) as cursor:
                page: list[str] = []
                async for document in cursor:
                    page.append(write_id(document[_ID]))
                    if len(page) == _IDS_LISTED_AT_ONCE:
                        yield page
                        page = []
                if page:
                    yield page

    async def list_page(
        self, after: str, limit: int, *, department: str | None = None
    ) -> list[str]:
        """Return the next ids after one: those of the usual type in their order, then others.

        Others are looked for among all ids, and only once no more of the usual type follow: no
        comparison holds for ids of several types.
        """
        page: list[str] = []
        is_usual = _is_usual(after)
        if is_usual or not after:
            page = await self._list_usual(after, limit, department)
        if len(page) < limit:
            others = await self._list_others("" if is_usual else after, department)
            page += heapq.nsmallest(limit - len(page), others)
        return page

    async def _list_usual(self, after: str, limit: int, department: str | None) -> list[str]:
        where: _Raw = {} if department is None else {"automation.department": department}
        where[_ID] = {"$gt": ObjectId(after)} if after else {"$gte": _FIRST}
        with self._translating():
            cursor = self._gather().find(where, {_ID: 1}).sort(_ID, 1).limit(limit)
            found = [row[_ID] for row in await cursor.to_list()]
        return [write_id(raw) for raw in found if isinstance(raw, ObjectId)]

    async def _list_others(self, after: str, department: str | None) -> list[str]:
        if department is not None:
            ids = await self.list_department(department)
            return [written for written in ids if written > after and not _is_usual(written)]
        others: list[str] = []
        async for ids in self.list_ids():
            others += [written for written in ids if written > after and not _is_usual(written)]
        return others

    async def read_items(self, ids: Sequence[str]) -> dict[str, SavedItem]:
        """Read documents by id."""
        found: dict[str, SavedItem] = {}
        for start in range(0, len(ids), IDS_AT_ONCE):
            raw_ids = [read_id(item_id) for item_id in ids[start : start + IDS_AT_ONCE]]
            with self._translating():
                cursor = self._gather().find({_ID: {"$in": raw_ids}}, _READ)
                documents = await cursor.to_list()
            for document in documents:
                id_ = write_id(document[_ID])
                item = read_document(id_, document)
                if item is not None:
                    found[id_] = item
        return found

    async def insert_items(self, items: Sequence[SavedItem]) -> set[str]:
        """Save new items in one request, and return the ids of those that were not there.

        Items that a unique index of the application refuses are left out, and logged.

        Raises:
            Misconfigured: there is a database whose name differs in case only.
        """
        waiting = list({item.id: item for item in reversed(items)}.values())
        inserted: set[str] = set()
        with self._translating():
            for _ in range(UPSERT_TRIES):
                if not waiting:
                    break
                try:
                    result = await self._gather().bulk_write(
                        [_upsert(item) for item in waiting], ordered=False
                    )
                    places, collided = set(result.upserted_ids or {}), set[int]()
                except BulkWriteError as error:
                    faults = error.details.get("writeErrors", [])
                    self._check_case(fault["code"] for fault in faults)
                    # Two upserts of one new id can collide, and the loser has to try again.
                    collided = indices_of_duplicates(error)
                    places = {upserted["index"] for upserted in error.details.get("upserted", [])}
                except OperationFailure as error:
                    self._check_case([error.code])
                    raise
                inserted |= {waiting[place].id for place in places}
                waiting = [waiting[place] for place in sorted(collided)]
        if waiting:
            refused = ", ".join(item.id for item in waiting)
            log.error("E11000: refused by a unique index of the application: %s", refused)
        return inserted

    async def delete_item(self, item: SavedItem) -> bool:
        """Delete an item of ours, unless it was changed; return whether it is gone."""
        raw_id = read_id(item.id)
        with self._translating():
            found = await self._gather().find_one({_ID: raw_id})
            if found is None:
                return True
            is_ours = set(found) <= {_ID, *_READ} and item.automation is not None
            if not is_ours or read_document(item.id, found) != item:
                return False
            # Whoever changes it at this moment keeps it.
            where = {_ID: raw_id, "content": item.content}
            return (await self._gather().delete_one(where)).deleted_count == 1

    async def count_created(self, run_id: str) -> dict[str, int]:
        """Count the items of a run, by department."""
        counted: Counter[str] = Counter()
        with self._translating():
            # Grouping by a nested name is not the same on every service.
            async with self._gather().find(
                {"automation.run_id": run_id}, {"automation": 1}
            ) as rows:
                async for row in rows:
                    counted[row["automation"]["department"]] += 1
        return dict(counted)

    async def list_department(self, slug: str) -> list[str]:
        """Return the ids of a department's own items."""
        with self._translating():
            async with self._gather().find({"automation.department": slug}, {_ID: 1}) as rows:
                return [write_id(row[_ID]) async for row in rows]

    def _gather(self) -> AsyncCollection[_Raw]:
        return self._opened().get_collection(COLLECTION, codec_options=_CODEC)

    def _check_case(self, codes: Iterable[int | None]) -> None:
        if _DATABASE_DIFFERS_IN_CASE in codes:
            raise Misconfigured(
                "project_id",
                f"there is a project whose id differs from {self._project_id!r} only in upper and "
                "lower case, which MongoDB does not tell apart",
            )


def database_of(project_id: str) -> str:
    """Name a project's database. Raises `InvalidTask`: `invalid_project_id`."""
    return f"aladdin-gather-{check_project_id(project_id)}"


def write_id(raw: Any) -> str:
    """Write an `_id` of any type so that no two are the same."""
    if isinstance(raw, ObjectId):
        return str(raw)
    return json_util.dumps(raw, json_options=json_util.CANONICAL_JSON_OPTIONS)


def _is_usual(written: str) -> bool:
    """Check whether `write_id` wrote this of an ObjectId."""
    return len(written) == ID_DIGITS and ObjectId.is_valid(written)


def read_id(written: str) -> Any:
    """Read what `write_id` wrote."""
    if len(written) == ID_DIGITS:
        try:
            return ObjectId(written)
        except InvalidId:
            pass
    return json_util.loads(written, json_options=json_util.CANONICAL_JSON_OPTIONS)


def _upsert(item: SavedItem) -> UpdateOne:
    id_ = ObjectId(item.id)
    # `_id` is in both, as not every compatible service takes its type from the filter.
    return UpdateOne({_ID: id_}, {"$setOnInsert": {_ID: id_, **to_document(item)}}, upsert=True)

"""The platform's collections in its own MongoDB, which is only read.

Moments may be dates of BSON, seconds or milliseconds of Unix time, or ISO 8601 in UTC: one document
is read to find out which.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from bson import CodecOptions, DatetimeConversion
from pymongo.asynchronous.collection import AsyncCollection

from aletheia.adapters.documents.mongodb import MongoDocuments
from aletheia.reasoning.ports import Query

MAX_TIME_MS: Final = 4000
"""For one query at the server, milliseconds."""

MILLISECONDS_FROM: Final = 1e11
"""From here on a number is milliseconds: as seconds it would be in the year 5138."""

_Raw: TypeAlias = dict[str, Any]

_CODEC: Final[CodecOptions[_Raw]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)


class MongoPlatform(MongoDocuments):
    """A `PlatformData` over one database; the caller opens and closes it."""

    async def has(self, collection: str) -> bool:
        """Return whether there is anything in a collection."""
        with self._translating():
            return await self._raw(collection).find_one({}, {"_id": 1}) is not None

    async def count_matching(self, query: Query) -> int:
        """Count documents."""
        where: dict[str, Any] = {
            field: {"$in": list(values)} for field, values in query.equals.items()
        }
        with self._translating():
            if query.since is not None:
                example = await self._raw(query.collection).find_one(
                    {query.time: {"$ne": None}}, {query.time: 1}
                )
                where[query.time] = {
                    "$gte": write_like(query.since, (example or {}).get(query.time))
                }
            return await self._raw(query.collection).count_documents(where, maxTimeMS=MAX_TIME_MS)

    async def read(
        self, collection: str, fields: Sequence[str], *, best_by: str = "", limit: int
    ) -> list[dict[str, Any]]:
        """Read some fields of documents, all without any named."""
        projection = {field: 1 for field in fields if field} or None
        with self._translating():
            cursor = self._raw(collection).find({}, projection, max_time_ms=MAX_TIME_MS)
            if best_by:
                cursor = cursor.sort(best_by, -1)
            return await cursor.limit(limit).to_list()

    def _raw(self, collection: str) -> AsyncCollection[_Raw]:
        # Their collections may have names that ours must not have.
        return self._opened()[collection].with_options(codec_options=_CODEC)


class PlatformOnMongo:
    """A `PlatformData` over an open `MongoPlatform`."""

    def __init__(self, database: MongoPlatform) -> None:
        self._database = database

    async def has(self, collection: str) -> bool:
        """Return whether there is anything in a collection."""
        return await self._database.has(collection)

    async def count(self, query: Query) -> int:
        """Count documents."""
        return await self._database.count_matching(query)

    async def read(
        self, collection: str, fields: Sequence[str], *, best_by: str = "", limit: int
    ) -> list[dict[str, Any]]:
        """Read some fields of documents, all without any named."""
        return await self._database.read(collection, fields, best_by=best_by, limit=limit)


def write_like(at: datetime, example: object) -> object:
    """Return a moment in the form of an example: a date, a number, or text."""
    if isinstance(example, bool) or example is None:
        return at
    if isinstance(example, int | float):
        seconds = at.timestamp()
        return seconds * 1000 if example >= MILLISECONDS_FROM else seconds
    if isinstance(example, str):
        text = at.astimezone(UTC).isoformat()
        return text.replace("+00:00", "Z") if example.endswith("Z") else text
    return at

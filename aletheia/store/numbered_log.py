"""Logs that number what is added to them, from 1 and without a gap, for any number of writers.

To add an entry is to insert the next id, which only one writer can do; whoever loses reads where
the log ends by then and tries again. A number is tried only by a writer that has seen the one
before it, so there are no gaps. A writer looks for its entry's key after it has seen where the log
ends and before it inserts, so no key is there twice, and no step leaves anything to mend.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import Unavailable
from aletheia.series import NOTHING, Counts
from aletheia.store.backoff import Backoff
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds

log = logging.getLogger(__name__)

PAGE: Final = 500
"""Entries read at once, unless a caller asks for fewer."""

MAX_PURGED: Final = 10_000
"""Entries of one stream that are deleted at once."""

_DIGITS: Final = 16
_STEP_BACK: Final = Backoff(base_s=0.001, max_s=0.05, jitter=1)


class NumberedLog:
    """The logs of one collection, one for each stream: a project.

    An entry has `_id`, `project`, `seq`, `at` and `key`. The collection `purged` says up to which
    number each stream was purged.
    """

    def __init__(
        self, documents: Documents, collection: str, *, purged: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._documents, self._collection, self._purged = documents, collection, purged
        self._clock = clock
        self._ends: dict[str, int] = {}

    async def prepare(self) -> None:
        """Make appending and purging fast."""
        await self._documents.ensure_index(self._collection, ["project", "key"])
        await self._documents.ensure_index(self._collection, ["at"])

    async def append(
        self,
        stream: str,
        key: str,
        build: Callable[[int, int], Mapping[str, Any]],
        *,
        counts: Counts = NOTHING,
    ) -> Document:
        """Add an entry, unless one with its key is there; return it as it is stored.

        May be repeated after any error, and after a crash, with the same outcome as once. `build`
        makes the entry's further values out of its number and its time, microseconds; `counts` is
        what a new entry adds to counters.
        """
        end = self._ends.get(stream)
        for tries in itertools.count():
            if end is None:
                end = await self.end(stream)
            # An end that is out of date does no harm: the number after it is taken.
            if (known := await self._find(stream, key)) is not None:
                return known
            seq, at = end + 1, self._clock.now()
            document: Document = {
                "_id": number_id(stream, seq),
                "project": stream,
                "seq": seq,
                "at": at,
                "key": key,
                **build(seq, at),
            }
            counted = {document["_id"]: counts}
            if await self._documents.insert(self._collection, [document], counts=counted):
                self._ends[stream] = seq
                return document
            await step_back(tries)
            end = None
        raise AssertionError

    async def end(self, stream: str) -> int:
        """Return the number of the last entry; 0 before the first."""
        newest = await self._documents.find(
            self._collection, numbers_where(stream), sort="_id", descending=True, limit=1
        )
        return int(newest[0]["seq"]) if newest else 0

    async def read(self, stream: str, *, after: int = 0, limit: int = PAGE) -> list[Document]:
        """Read the entries that follow a number, in order and without a gap.

        What was purged is passed over.
        """
        found = await self._documents.find(
            self._collection, numbers_where(stream, after=after), sort="_id", limit=limit
        )
        is_gap = bool(found) and found[0]["seq"] > after + 1
        if is_gap and (purged := await self.purged_through(stream)) > after:
            return await self.read(stream, after=purged, limit=limit)
        # A store that scans while others insert may show an entry and not the one before it.
        return [
            document
            for seq, document in enumerate(found, start=after + 1)
            if document["seq"] == seq
        ]

    async def purged_through(self, stream: str) -> int:
        """Return the number up to which entries were purged; 0 if none were."""
        purged = (await self._documents.get(self._purged, [stream])).get(stream)
        return 0 if purged is None else int(purged["seq"])

    async def follow(
        self, stream: str, *, after: int = 0, interval_s: float = 0.5
    ) -> AsyncGenerator[Document]:
        """Yield the entries that follow a number, and then each one that is added, without end.

        While the store is out of reach it waits, and `interval_s` when everything has been read.
        """
        while True:
            try:
                entries = await self.read(stream, after=after)
            except Unavailable as outage:
                log.warning("%s cannot be followed for now: %s", stream, outage)
                entries = []
            for entry in entries:
                yield entry
                after = entry["seq"]
            if len(entries) < PAGE:
                await asyncio.sleep(interval_s)

    async def purge(self, older_than_s: float) -> int:
        """Delete entries that are older than that, but the last of each stream; return how many.

        Of each stream `MAX_PURGED` go at most, its first ones.
        """
        before = self._clock.now() - microseconds(older_than_s)
        old = await self._documents.count_by(self._collection, "project", {"at": {"$lt": before}})
        # One that is alone may be the last of its stream, which is left for ever.
        streams = [stream for stream, count in old.items() if count > 1]
        return sum([await self._purge_stream(stream, before) for stream in streams])

    async def _purge_stream(self, stream: str, before: int) -> int:
        everything = numbers_where(stream)
        (first, *_), end = (
            await self._documents.find(self._collection, everything, sort="_id", limit=1),
            await self.end(stream),
        )
        young = await self._documents.find(
            self._collection, {**everything, "at": {"$gte": before}}, sort="_id", limit=1
        )
        last = min(young[0]["seq"] - 1 if young else end - 1, int(first["seq"]) - 1 + MAX_PURGED)
        if last < first["seq"]:
            return 0
        # Written first: a reader that meets the gap finds out that it is one.
        await self._documents.insert(self._purged, [{"_id": stream, "seq": last}])
        further = Update(stream, Change(set={"seq": last}), {"seq": {"$lt": last}})
        await self._documents.update(self._purged, [further])
        return await self._documents.delete(self._collection, numbers_where(stream, through=last))

    async def _find(self, stream: str, key: str) -> Document | None:
        where = {"project": stream, "key": key}
        found = await self._documents.find(self._collection, where, limit=1)
        return found[0] if found else None


def number_id(stream: str, number: int) -> str:
    """Return the id of a numbered document; ids of a stream sort as their numbers do."""
    return f"{stream}:{number:0{_DIGITS}}"


def numbers_where(stream: str, *, after: int = 0, through: int | None = None) -> dict[str, Any]:
    """Return the condition for a stream's documents after a number, up to one or to the last."""
    last = f"{stream}:{'9' * _DIGITS}" if through is None else number_id(stream, through)
    return {"_id": {"$gt": number_id(stream, after), "$lte": last}}


async def step_back(tries: int) -> None:
    """Wait a moment after a number went to another writer; those who lose often wait longer.

    After the first of `tries` nobody waits.
    """
    await asyncio.sleep(_STEP_BACK.pause_s(tries + 1) if tries else 0)

"""The log of what providers were granted; a grant's id has the number of its first unit."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.store.clock import SECOND
from aletheia.store.numbered_log import number_id, numbers_where

GRANTS: Final = "aletheia_rate_grants"

MAX_AHEAD: Final = 60 * SECOND
"""How far ahead of the clock the time of a grant is believed to be, microseconds."""

REMEMBERED: Final = 10_000
"""How many grants of a provider stay in memory at least, the newest, at 70 bytes each."""

_PAGE: Final = 1000
"""Grants read at once; whoever is further behind begins anew with the newest one."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A call of `weight` units that is charged in every tier."""

    first: int  # the number of its first unit; 0 where nothing is limited
    weight: int
    at: int  # when it was granted, microseconds

    @classmethod
    def of(cls, document: Document) -> "Grant":
        """Read an entry of the log."""
        return cls(int(document["first"]), int(document["weight"]), int(document["at"]))


class GrantLog:
    """The grants of one provider."""

    def __init__(self, documents: Documents, provider: str) -> None:
        self._documents = documents
        self._provider = provider
        self._firsts: list[int] = []
        self._times: list[int] = []
        self._end = 0

    async def catch_up(self, now: int) -> tuple[int, int]:
        """Read what is new; return the number of the last unit, and the time, microseconds.

        No grant is after that, which is `now` unless a clock was moved back by a little.
        """
        end, last_at = await self._read_new()
        if last_at > now + MAX_AHEAD:
            await self._set_back(now)
            end, last_at = await self._read_new()
        return end, max(now, last_at)

    async def _set_back(self, now: int) -> None:
        """Correct what bears the time of a clock that was ahead: it was granted by now."""
        where = {"provider": self._provider, "at": {"$gt": now}}
        change = Change(set={"at": now})
        while ahead := await self._documents.find(GRANTS, where, limit=_PAGE):
            updates = [Update(grant["_id"], change, {"at": grant["at"]}) for grant in ahead]
            await self._documents.update(GRANTS, updates)
        self._firsts, self._times, self._end = [], [], 0

    async def _read_new(self) -> tuple[int, int]:
        """Read what is new; return the number of the last unit, and when it was granted."""
        if self._firsts:
            newer = await self._find(after=self._firsts[-1], limit=_PAGE)
            if len(newer) < _PAGE and self._extend(newer):
                return self._end, self._times[-1]
        newest = await self._find(descending=True, limit=1)
        if not newest:
            return 0, 0
        if newest[0].first > self._end:
            self._firsts.clear()
            self._times.clear()
            self._end = newest[0].first - 1
            self._extend(newest)
        return self._end, self._times[-1]

    async def time_of(self, unit: int) -> int | None:
        """Return when a unit was granted, microseconds; `None` before the log begins."""
        if unit < 1:
            return None
        if self._firsts and unit >= self._firsts[0]:
            return self._times[bisect_right(self._firsts, unit) - 1]
        found = await self._find(through=unit, descending=True, limit=1)
        return found[0].at if found else None

    async def append(self, grant: Grant) -> bool:
        """Write the next entry; return `False` if another process has."""
        names = {"_id": number_id(self._provider, grant.first), "provider": self._provider}
        is_ours = bool(await self._documents.insert(GRANTS, [{**names, **asdict(grant)}]))
        if is_ours:
            self._extend([grant])
        return is_ours

    async def first_since(self, at: int) -> Grant | None:
        """Return the first entry made at a moment or later."""
        where = {"provider": self._provider, "at": {"$gte": at}}
        found = await self._documents.find(GRANTS, where, sort="at", limit=1)
        return Grant.of(found[0]) if found else None

    async def delete_before(self, at: int) -> int:
        """Delete entries before a moment, but for the newest; return how many."""
        newest = await self._find(descending=True, limit=1)
        if not newest:
            return 0
        where = {
            "provider": self._provider,
            "at": {"$lt": at},
            "_id": {"$lt": number_id(self._provider, newest[0].first)},
        }
        return await self._documents.delete(GRANTS, where)

    def _extend(self, entries: Sequence[Grant]) -> bool:
        """Remember entries; return `False` if one is missing between them and what is known."""
        for entry in entries:
            if entry.first > self._end + 1:
                return False
            if entry.first == self._end + 1:
                # What was granted before it was so no later, whatever the clock said then.
                ahead = len(self._times) - bisect_right(self._times, entry.at)
                self._times[len(self._times) - ahead :] = [entry.at] * ahead
                self._firsts.append(entry.first)
                self._times.append(entry.at)
                self._end += entry.weight
        if len(self._firsts) > 2 * REMEMBERED:
            del self._firsts[:-REMEMBERED]
            del self._times[:-REMEMBERED]
        return True

    async def _find(
        self, *, after: int = 0, through: int | None = None, descending: bool = False, limit: int
    ) -> list[Grant]:
        where = numbers_where(self._provider, after=after, through=through)
        found = await self._documents.find(
            GRANTS, where, sort="_id", descending=descending, limit=limit
        )
        return [Grant.of(document) for document in found]

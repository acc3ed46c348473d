"""The log of what providers were granted; a grant's id has the number of its first unit."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aletheia.documents import Document, Documents
from aletheia.store.numbered_log import number_id, numbers_where

GRANTS: Final = "aletheia_rate_grants"

_PAGE: Final = 1000
"""Grants read at once; whoever is further behind begins anew with the newest one."""


@dataclass(frozen=True, slots=True)
class GrantEntry:
    """A grant of `weight` units from number `first` on, made at a moment, microseconds."""

    first: int
    weight: int
    at: int

    @classmethod
    def of(cls, document: Document) -> "GrantEntry":
        """Read an entry."""
        return cls(int(document["first"]), int(document["weight"]), int(document["at"]))


class GrantLog:
    """The grants of one provider; at least the newest `remembered` stay in memory."""

    def __init__(self, documents: Documents, provider: str, *, remembered: int) -> None:
        self._documents = documents
        self._provider = provider
        self._remembered = remembered
        self._firsts: list[int] = []
        self._times: list[int] = []
        self._end = 0

    async def catch_up(self) -> tuple[int, int]:
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

    async def append(self, first: int, weight: int, at: int) -> bool:
        """Write the next entry; return `False` if another process has."""
        document: Document = {
            "_id": number_id(self._provider, first),
            "provider": self._provider,
            "first": first,
            "weight": weight,
            "at": at,
        }
        is_ours = bool(await self._documents.insert(GRANTS, [document]))
        if is_ours:
            self._extend([GrantEntry(first, weight, at)])
        return is_ours

    async def first_since(self, at: int) -> GrantEntry | None:
        """Return the first entry made at a moment or later."""
        where = {"provider": self._provider, "at": {"$gte": at}}
        found = await self._documents.find(GRANTS, where, sort="at", limit=1)
        return GrantEntry.of(found[0]) if found else None

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

    def _extend(self, entries: Sequence[GrantEntry]) -> bool:
        """Remember entries; return `False` if one is missing between them and what is known."""
        for entry in entries:
            if entry.first > self._end + 1:
                return False
            if entry.first == self._end + 1:
                self._firsts.append(entry.first)
                self._times.append(entry.at)
                self._end += entry.weight
        if len(self._firsts) > 2 * self._remembered:
            del self._firsts[: -self._remembered]
            del self._times[: -self._remembered]
        return True

    async def _find(
        self, *, after: int = 0, through: int | None = None, descending: bool = False, limit: int
    ) -> list[GrantEntry]:
        where = numbers_where(self._provider, after=after, through=through)
        found = await self._documents.find(
            GRANTS, where, sort="_id", descending=descending, limit=limit
        )
        return [GrantEntry.of(document) for document in found]

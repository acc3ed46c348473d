"""Rate limits that all processes share and restarts keep (SPEC §1, Rate limits).

What a provider was granted is a log without gaps: grants are numbered by the units they took, and
a grant's document has the number of its first unit in its id. To be granted the next unit is to
insert the next id, which of any number of processes only one can do; whoever loses reads what the
others wrote and decides again. So one insert charges all tiers, or none.

A limit of `L` leaves room for a unit if the unit `L` before it does not count any more. When that
is, is all that tells the strategies apart:

- `rolling`: a grant counts for as long as the tier is, to the microsecond; a week is 7 days, a
  month 30.
- `fixed`: a grant counts until the next UTC minute, hour, day, Monday or first of a month.

Neither limits nor strategy are in the log, so both may change at any time. The time of a grant is
never before that of the grant before it, so a clock moved back waits until it has caught up.
"""

import asyncio
import itertools
import random
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import Misconfigured, RateLimited
from aletheia.settings import RateLimitSettings

GRANTS = "aletheia_rate_grants"
REFUSALS = "aletheia_rate_refusals"

Strategy: TypeAlias = Literal["rolling", "fixed"]


class Tier(StrEnum):
    """What a limit is per."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_S: Final = 1_000_000
_DAY: Final = 86_400 * _S
_LENGTHS: Final[Mapping[Tier, int]] = {
    Tier.MINUTE: 60 * _S,
    Tier.HOUR: 3600 * _S,
    Tier.DAY: _DAY,
    Tier.WEEK: 7 * _DAY,
    Tier.MONTH: 30 * _DAY,
}
"""Microseconds, as all times in this module are: since 1970 in UTC."""

_FIRST_MONDAY: Final = 4 * _DAY
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST: Final = 31 * _DAY
"""After this no grant counts in any tier of any strategy."""

_PROVIDER: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_DIGITS: Final = 16

_PAGE: Final = 1000
"""Grants read at once; whoever is further behind begins anew with the newest one."""

_PAUSE_S: Final = 0.001
_MAX_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Units that may be granted, at most, per tier; each at least 1."""

    minute: int
    hour: int
    day: int
    week: int
    month: int

    @classmethod
    def from_settings(cls, settings: RateLimitSettings) -> "RateLimits | None":
        """Read the limits; `None` where `RATE_LIMIT_ENABLED` is off."""
        if not settings.rate_limit_enabled:
            return None
        return cls(
            minute=settings.rate_limit_per_minute,
            hour=settings.rate_limit_per_hour,
            day=settings.rate_limit_per_day,
            week=settings.rate_limit_per_week,
            month=settings.rate_limit_per_month,
        )

    def of(self, tier: Tier) -> int:
        """Return the limit of one tier."""
        return getattr(self, tier)

    @property
    def heaviest(self) -> int:
        """The largest weight that can ever be granted."""
        return min(map(self.of, Tier))


@dataclass(frozen=True, slots=True)
class Grant:
    """One call that is allowed, and charged in every tier.

    Attributes:
        provider: whose call.
        first: number of its first unit, from 1; 0 where nothing is limited and so nothing charged.
        weight: how many units it took.
        at: when.
    """

    provider: str
    first: int
    weight: int
    at: datetime


@dataclass(frozen=True, slots=True)
class TierUsage:
    """How one limit of a provider stands.

    Attributes:
        used: units that count now; above `limit` only after the limit was lowered.
        limit: how many may; `None` where nothing is limited.
        frees_at: when the oldest of them stops counting; `None` where none counts.
        refusals: how often this tier refused a call, since ever.
    """

    used: int
    limit: int | None
    frees_at: datetime | None
    refusals: int


class RateLimiter:
    """Grants calls to providers, each with counters of its own.

    Args:
        documents: the store, open; what it grants may be lost with the power, so it need not be
            durable beyond that.
        limits: `None` grants everything and writes nothing.
        strategy: how long a grant counts.
        clock: Unix time, seconds.
        remembered: newest grants of a provider that are kept in memory, at least, at 70 bytes
            each; older ones are looked up.

    Attributes:
        limits: may be replaced at any time; the next call is held to the new ones.
        strategy: likewise.
    """

    def __init__(
        self,
        documents: Documents,
        limits: RateLimits | None,
        *,
        strategy: Strategy = "rolling",
        clock: Callable[[], float] = time.time,
        remembered: int = 10_000,
    ) -> None:
        self._documents = documents
        self._remembered = remembered
        self.limits = limits
        self.strategy: Strategy = strategy
        self._clock = clock
        self._logs: dict[str, _Log] = {}

    @classmethod
    def from_settings(
        cls,
        documents: Documents,
        settings: RateLimitSettings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> "RateLimiter":
        """Build a limiter as the settings say."""
        return cls(
            documents,
            RateLimits.from_settings(settings),
            strategy=settings.rate_limit_strategy,
            clock=clock,
        )

    async def prepare(self) -> None:
        """Make `usage` and `purge` fast."""
        await self._documents.ensure_index(GRANTS, ["provider", "at"])

    async def acquire(self, provider: str, weight: int = 1) -> Grant:
        """Charge a call in all tiers, or in none. Never waits for quota.

        Args:
            provider: whose counters, such as `openai`.
            weight: units of the call: 1, or its texts with `RATE_LIMIT_UNIT=task`.

        Raises:
            RateLimited: not now; it says when.
            Misconfigured: a limit is below `weight`, so never.
        """
        limits, log = self._opened(provider, weight)
        if limits is None:
            return Grant(provider, 0, weight, _moment(self._now()))
        for tries in itertools.count():
            end, last_at = await log.catch_up()
            now = max(self._now(), last_at)
            waits = await self._waits(log, limits, end + weight, now)
            if waits:
                change = Change(increase=dict.fromkeys(map(str, waits), 1))
                await self._documents.upsert(REFUSALS, [Update(provider, change)])
                raise RateLimited(provider, _moment(max(waits.values())), tuple(map(str, waits)))
            if await log.append(end + 1, weight, now):
                return Grant(provider, end + 1, weight, _moment(now))
            # Somebody else was granted these units. Those who lose often step back a little, so
            # that many processes do not spend their time on losing.
            longest = min(_PAUSE_S * 2 ** min(tries, 16), _MAX_PAUSE_S)
            await asyncio.sleep(longest * random.random() if tries else 0)  # noqa: S311
        raise AssertionError

    async def peek(self, provider: str, weight: int = 1) -> datetime | None:
        """Tell when a call of this weight is allowed, without charging it; `None` is now.

        Raises:
            Misconfigured: a limit is below `weight`, so never.
        """
        limits, log = self._opened(provider, weight)
        if limits is None:
            return None
        end, last_at = await log.catch_up()
        waits = await self._waits(log, limits, end + weight, max(self._now(), last_at))
        return _moment(max(waits.values())) if waits else None

    async def usage(self, provider: str) -> dict[Tier, TierUsage]:
        """Tell how the limits of a provider stand, by tier."""
        _check_provider(provider)
        log = self._logs.get(provider) or self._log_of(provider)
        end, last_at = await log.catch_up()
        now = max(self._now(), last_at)
        found = await self._documents.get(REFUSALS, [provider])
        refusals = found.get(provider, {})
        usage: dict[Tier, TierUsage] = {}
        for tier in Tier:
            oldest = await log.first_since(counts_since(self.strategy, tier, now))
            usage[tier] = TierUsage(
                used=0 if oldest is None else end + 1 - oldest.first,
                limit=None if self.limits is None else self.limits.of(tier),
                frees_at=None
                if oldest is None
                else _moment(counts_until(self.strategy, tier, oldest.at)),
                refusals=int(refusals.get(tier, 0)),
            )
        return usage

    async def providers(self) -> list[str]:
        """Name the providers that were granted or refused anything, in order."""
        granted = await self._documents.count_by(GRANTS, "provider", {})
        refused = await self._documents.find(REFUSALS, {})
        return sorted({*granted, *(document["_id"] for document in refused)})

    async def purge(self) -> int:
        """Delete grants that count in no tier any more, and say how many there were."""
        deleted = 0
        for provider in await self._documents.count_by(GRANTS, "provider", {}):
            log = self._log_of(provider)
            _, last_at = await log.catch_up()
            deleted += await log.delete_before(max(self._now(), last_at) - LONGEST)
        return deleted

    def _now(self) -> int:
        return round(self._clock() * _S)

    def _log_of(self, provider: str) -> "_Log":
        return _Log(self._documents, provider, remembered=self._remembered)

    def _opened(self, provider: str, weight: int) -> "tuple[RateLimits | None, _Log]":
        _check_provider(provider)
        if weight < 1:
            raise ValueError(f"a call of weight {weight} is none")
        limits = self.limits
        if limits is not None and weight > limits.heaviest:
            tier = min(Tier, key=limits.of)
            raise Misconfigured(
                f"RATE_LIMIT_PER_{tier.upper()}",
                f"it is {limits.of(tier)}, so a call that counts {weight} is never allowed; raise "
                "it, or make smaller calls",
            )
        if provider not in self._logs:
            self._logs[provider] = self._log_of(provider)
        return limits, self._logs[provider]

    async def _waits(
        self, log: "_Log", limits: RateLimits, last_unit: int, now: int
    ) -> dict[Tier, int]:
        """Find the tiers in which a call up to a unit is not allowed now, and until when."""
        waits: dict[Tier, int] = {}
        for tier in Tier:
            at = await log.time_of(last_unit - limits.of(tier))
            if at is None:
                continue
            until = counts_until(self.strategy, tier, at)
            if until > now:
                waits[tier] = until
        return waits


def counts_until(strategy: Strategy, tier: Tier, at: int) -> int:
    """Say from when on a grant made at a moment does not count any more, microseconds."""
    if strategy == "rolling":
        return at + _LENGTHS[tier]
    return _window_of(tier, at)[1]


def counts_since(strategy: Strategy, tier: Tier, now: int) -> int:
    """Say since when grants count now, inclusive, microseconds."""
    if strategy == "rolling":
        return now - _LENGTHS[tier] + 1
    return _window_of(tier, now)[0]


def _window_of(tier: Tier, at: int) -> tuple[int, int]:
    """Find the calendar's window around a moment: its beginning and the next one's."""
    if tier is Tier.MONTH:
        begin = _moment(at).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = (begin + timedelta(days=31)).replace(day=1)
        return (begin - _EPOCH) // timedelta(microseconds=1), (end - _EPOCH) // timedelta(
            microseconds=1
        )
    length = _LENGTHS[tier]
    origin = _FIRST_MONDAY if tier is Tier.WEEK else 0
    begin = (at - origin) // length * length + origin
    return begin, begin + length


@dataclass(frozen=True, slots=True)
class _Entry:
    """A grant as it stands in the log: the number of its first unit, how many, and when."""

    first: int
    weight: int
    at: int

    @classmethod
    def of(cls, document: Document) -> "_Entry":
        return cls(int(document["first"]), int(document["weight"]), int(document["at"]))


class _Log:
    """The grants of one provider, in the store, with the newest of them in memory.

    An entry that was read once never changes, so only new ones are read.
    """

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
            newer = await self._find(
                {"$gt": self._id(self._firsts[-1]), "$lte": self._top}, limit=_PAGE
            )
            if len(newer) < _PAGE and self._extend(newer):
                return self._end, self._times[-1]
        newest = await self._find(self._range(), descending=True, limit=1)
        if not newest:
            return 0, 0
        if newest[0].first > self._end:
            self._firsts.clear()
            self._times.clear()
            self._end = newest[0].first - 1
            self._extend(newest)
        return self._end, self._times[-1]

    async def time_of(self, unit: int) -> int | None:
        """Say when a unit was granted; `None` before the log begins."""
        if unit < 1:
            return None
        if self._firsts and unit >= self._firsts[0]:
            return self._times[bisect_right(self._firsts, unit) - 1]
        found = await self._find(
            {"$gte": self._id(1), "$lte": self._id(unit)}, descending=True, limit=1
        )
        return found[0].at if found else None

    async def append(self, first: int, weight: int, at: int) -> bool:
        """Write the next entry; `False` if somebody else has."""
        document: Document = {
            "_id": self._id(first),
            "provider": self._provider,
            "first": first,
            "weight": weight,
            "at": at,
        }
        is_ours = bool(await self._documents.insert(GRANTS, [document]))
        if is_ours:
            self._extend([_Entry(first, weight, at)])
        return is_ours

    async def first_since(self, at: int) -> _Entry | None:
        """Find the first entry made at a moment or later."""
        where = {"provider": self._provider, "at": {"$gte": at}}
        found = await self._documents.find(GRANTS, where, sort="at", limit=1)
        return _Entry.of(found[0]) if found else None

    async def delete_before(self, at: int) -> int:
        """Delete entries made before a moment, but never the newest, which has the number."""
        newest = await self._find(self._range(), descending=True, limit=1)
        if not newest:
            return 0
        where = {
            "provider": self._provider,
            "at": {"$lt": at},
            "_id": {"$lt": self._id(newest[0].first)},
        }
        return await self._documents.delete(GRANTS, where)

    def _extend(self, entries: Sequence[_Entry]) -> bool:
        """Remember entries; `False` where one is missing between them and what is known."""
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
        self, ids: Mapping[str, Any], *, descending: bool = False, limit: int
    ) -> list[_Entry]:
        found = await self._documents.find(
            GRANTS, {"_id": dict(ids)}, sort="_id", descending=descending, limit=limit
        )
        return [_Entry.of(document) for document in found]

    def _range(self) -> dict[str, str]:
        return {"$gte": self._id(1), "$lte": self._top}

    @property
    def _top(self) -> str:
        return f"{self._provider}:{'9' * _DIGITS}"

    def _id(self, first: int) -> str:
        return f"{self._provider}:{first:0{_DIGITS}}"


def _check_provider(provider: str) -> None:
    if not _PROVIDER.fullmatch(provider):
        raise ValueError(f"{provider!r} is not a provider's name: {_PROVIDER.pattern}")


def _moment(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)

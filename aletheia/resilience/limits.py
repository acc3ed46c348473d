"""Rate limits that all processes share and restarts keep (SPEC §1; docs/decisions/0005).

To be granted the next unit is to insert its number, which only one process can do, so one insert
charges all tiers, or none. A limit of `L` admits a unit if the unit `L` before it does not count
any more: with `rolling` a grant counts for as long as the tier is (a week is 7 days, a month 30),
with `fixed` until the next UTC minute, hour, day, Monday or first of a month. The time of a grant
is never before that of the grant before it, unless that is too far ahead to be believed.
"""

import itertools
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import Misconfigured, RateLimited
from aletheia.settings import RateLimitSettings
from aletheia.store.clock import SECOND, SYSTEM_CLOCK, Clock, microseconds_of, moment
from aletheia.store.numbered_log import number_id, numbers_where, step_back

GRANTS: Final = "aletheia_rate_grants"
REFUSALS: Final = "aletheia_rate_refusals"

REMEMBERED: Final = 10_000
"""How many grants of a provider stay in memory at least, the newest, at 70 bytes each."""

_PAGE: Final = 1000
"""Grants read at once; whoever is further behind begins anew with the newest one."""

Strategy: TypeAlias = Literal["rolling", "fixed"]


class Tier(StrEnum):
    """What a limit is per."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_DAY: Final = 86_400 * SECOND
_LENGTHS: Final[Mapping[Tier, int]] = {
    Tier.MINUTE: 60 * SECOND,
    Tier.HOUR: 3600 * SECOND,
    Tier.DAY: _DAY,
    Tier.WEEK: 7 * _DAY,
    Tier.MONTH: 30 * _DAY,
}
"""Microseconds, as all times in this module are: since 1970 in UTC."""

_FIRST_MONDAY: Final = 4 * _DAY

MAX_COUNTED: Final = 31 * _DAY
"""After this no grant counts in any tier of any strategy, microseconds."""

_PROVIDER: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


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
        """Return the limits; `None` where `RATE_LIMIT_ENABLED` is off."""
        if not settings.rate_limit_enabled:
            return None
        return cls(*(getattr(settings, f"rate_limit_per_{tier}") for tier in Tier))

    def of(self, tier: Tier) -> int:
        """Return the limit of one tier."""
        return getattr(self, tier)

    @property
    def max_weight(self) -> int:
        """The largest weight of a call that can ever be granted."""
        return min(map(self.of, Tier))


@dataclass(frozen=True, slots=True)
class TierUsage:
    """The state of one limit of a provider; `limit` is `None` where nothing is limited."""

    used: int  # above `limit` only after that was lowered
    limit: int | None
    frees_at: datetime | None  # when the oldest grant stops counting
    refusals: int  # calls that this tier refused, since ever


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

        That is `now`, or the time of the last grant where a clock was moved back.
        """
        end, last_at = await self.read_new()
        return end, max(now, last_at)

    async def read_new(self) -> tuple[int, int]:
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


class RateLimiter:
    """Grants calls to providers; `limits` and `strategy` may be replaced at any time.

    `None` grants everything and writes nothing.
    """

    def __init__(
        self,
        documents: Documents,
        limits: RateLimits | None,
        *,
        strategy: Strategy = "rolling",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._documents, self._clock = documents, clock
        self.limits = limits
        self.strategy: Strategy = strategy
        self._logs: dict[str, GrantLog] = {}

    async def prepare(self) -> None:
        """Make `usage` and `purge` fast."""
        await self._documents.ensure_index(GRANTS, ["provider", "at"])

    async def acquire(self, provider: str, weight: int = 1) -> Grant:
        """Charge a call in all tiers, or in none: `RateLimited` says when. Never waits for quota.

        Its weight is 1, or its texts with `RATE_LIMIT_UNIT=task`; `Misconfigured` if a limit is
        below it.
        """
        limits, log = self._limits_for(weight), self._log_of(provider)
        if limits is None:
            return Grant(0, weight, self._clock.now())
        for tries in itertools.count():
            end, now = await log.catch_up(self._clock.now())
            waits = await self._waits(log, limits, end + weight, now)
            if waits:
                change = Change(increase=dict.fromkeys(map(str, waits), 1))
                await self._documents.upsert(REFUSALS, [Update(provider, change)])
                raise RateLimited(provider, moment(max(waits.values())), tuple(map(str, waits)))
            grant = Grant(end + 1, weight, now)
            if await log.append(grant):
                return grant
            # Another process was granted these units.
            await step_back(tries)
        raise AssertionError

    async def peek(self, provider: str, weight: int = 1) -> datetime | None:
        """Return when a call of this weight is allowed, without charging it; `None` is now."""
        limits, log = self._limits_for(weight), self._log_of(provider)
        if limits is None:
            return None
        end, now = await log.catch_up(self._clock.now())
        waits = await self._waits(log, limits, end + weight, now)
        return moment(max(waits.values())) if waits else None

    async def usage(self, provider: str) -> dict[Tier, TierUsage]:
        """Return the usage of a provider's limits, by tier."""
        log = self._log_of(provider)
        end, last_at = await log.read_new()  # a mere read, by whatever clock, corrects nothing
        now = max(self._clock.now(), last_at)
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
                else moment(counts_until(self.strategy, tier, oldest.at)),
                refusals=int(refusals.get(tier, 0)),
            )
        return usage

    async def providers(self) -> list[str]:
        """Return the names of the providers that were granted or refused anything, in order."""
        granted = await self._documents.count_by(GRANTS, "provider", {})
        refused = await self._documents.find(REFUSALS, {})
        return sorted({*granted, *(document["_id"] for document in refused)})

    async def purge(self) -> int:
        """Delete grants that count in no tier any more; return how many."""
        deleted = 0
        for provider in await self._documents.count_by(GRANTS, "provider", {}):
            log = self._log_of(provider)
            _, now = await log.catch_up(self._clock.now())
            deleted += await log.delete_before(now - MAX_COUNTED)
        return deleted

    def _log_of(self, provider: str) -> GrantLog:
        if not _PROVIDER.fullmatch(provider):
            raise ValueError(f"{provider!r} is not a provider's name: {_PROVIDER.pattern}")
        return self._logs.setdefault(provider, GrantLog(self._documents, provider))

    def _limits_for(self, weight: int) -> RateLimits | None:
        if weight < 1:
            raise ValueError(f"a call of weight {weight} is none")
        limits = self.limits
        if limits is not None and weight > limits.max_weight:
            tier = min(Tier, key=limits.of)
            raise Misconfigured(
                f"RATE_LIMIT_PER_{tier.upper()}",
                f"it is {limits.of(tier)}, so a call that counts {weight} is never allowed; raise "
                "it, or make smaller calls",
            )
        return limits

    async def _waits(
        self, log: GrantLog, limits: RateLimits, last_unit: int, now: int
    ) -> dict[Tier, int]:
        """Return the tiers in which a call up to a unit is not allowed now, and until when."""
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
    """Return from when on a grant made at a moment does not count any more, microseconds."""
    if strategy == "rolling":
        return at + _LENGTHS[tier]
    return _window_of(tier, at)[1]


def counts_since(strategy: Strategy, tier: Tier, now: int) -> int:
    """Return since when grants count now, inclusive, microseconds."""
    if strategy == "rolling":
        return now - _LENGTHS[tier] + 1
    return _window_of(tier, now)[0]


def _window_of(tier: Tier, at: int) -> tuple[int, int]:
    """Return the beginnings of the calendar's window around a moment and of the next one."""
    if tier is Tier.MONTH:
        begin = moment(at).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = (begin + timedelta(days=31)).replace(day=1)
        return microseconds_of(begin), microseconds_of(end)
    length = _LENGTHS[tier]
    origin = _FIRST_MONDAY if tier is Tier.WEEK else 0
    begin = (at - origin) // length * length + origin
    return begin, begin + length

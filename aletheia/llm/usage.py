"""What calls to models used, reserved before they are sent (SPEC §1, Budgets).

After a crash at any point the counters hold at least what was spent: a reservation that nobody
settled counts as spent. Money is whole nano-dollars.
"""

import bisect
import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Insert, Take, Update, Upsert, Write
from aletheia.errors import BudgetExceeded
from aletheia.llm import attribution
from aletheia.llm.prices import NANO, Kind, PriceTable, Tokens, usd_of
from aletheia.llm.usage_days import DAYS_KEPT_S, USAGE_DAYS, add_to_day, purge_days
from aletheia.metrics import COST, TOKENS
from aletheia.series import NOTHING, Counts, merged
from aletheia.settings import BudgetSettings
from aletheia.store.clock import SYSTEM_CLOCK

BUDGETS: Final = "aletheia_budgets"
USAGE: Final = "aletheia_usage"
TOTALS: Final = "aletheia_usage_totals"

_MAX_PURGED: Final = 10_000
_TWO_DAYS_S: Final = 172_800


class UsageState(StrEnum):
    """State of a call."""

    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Call:
    """A call to a model, and what it is made for, as far as the code around it says so."""

    key: str
    provider: str
    model: str
    kind: Kind
    run_id: str | None = None
    computation: str | None = field(default_factory=attribution.current_computation)
    tasks: int = field(default_factory=attribution.count_current_tasks)  # computed together
    is_batch: bool = False
    is_mock: bool = False
    project_id: str | None = field(default_factory=attribution.current_project)
    department: str | None = field(default_factory=attribution.current_department)  # its slug


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved for a call."""

    id: str
    call: Call
    tokens: Tokens  # upper estimate
    nanousd: int  # upper estimate
    day: str  # the UTC day it is charged to, as `2026-11-21`

    @property
    def counters(self) -> list[str]:
        """The counters it is charged to."""
        return _counters(self.call.run_id, self.day)


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """All settled calls of one kind to one model."""

    provider: str
    model: str
    kind: Kind
    is_mock: bool
    calls: int
    tokens: int  # in and out
    usd: Decimal


@dataclass(frozen=True, slots=True)
class BudgetUsage:
    """The usage of one budget, in USD or tokens."""

    name: str  # the setting, such as `BUDGET_USD_PER_DAY`
    limit: Decimal | int | None  # its value; `None` is no bound
    spent: Decimal | int
    until: datetime | None  # when it begins anew; `None` for the budget of a run

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.limit is not None and self.spent >= self.limit


class Budgets:
    """The counters of one store (SPEC §1, Budgets); `clock`: Unix time, seconds.

    Each is charged by one conditional write, so that no number of processes ever overspends.
    """

    def __init__(
        self, documents: Documents, limits: BudgetSettings, clock: Callable[[], float]
    ) -> None:
        self._documents, self.limits, self._clock = documents, limits, clock

    @property
    def are_unlimited(self) -> bool:
        """Whether no budget has a limit."""
        return not self._limits_of("run:") and not self._limits_of("day:")

    async def list_usage(self, run_id: str | None) -> list[BudgetUsage]:
        """Return the budgets of today, and those of a run if one is named."""
        counters = _counters(run_id, day_of(self._clock()))[::-1]
        found = await self._documents.get(BUDGETS, counters)
        usages = (self._usage_of(counter, found.get(counter, {})) for counter in counters)
        return [usage for both in usages for usage in both]

    async def charge(self, counters: Sequence[str], tokens: int, nanousd: int) -> None:
        """Charge counters, or raise `BudgetExceeded` and charge nothing."""
        charged: list[str] = []
        try:
            for counter in counters:
                await self._charge(counter, tokens, nanousd)
                charged.append(counter)
        except BudgetExceeded:
            await self.add(charged, -tokens, -nanousd)
            raise

    async def add(self, counters: Sequence[str], tokens: int, nanousd: int) -> None:
        """Add to counters, whatever their limits are."""
        change = Change(increase={"tokens": tokens, "nanousd": nanousd})
        await self._documents.update(BUDGETS, [Update(counter, change) for counter in counters])

    async def _charge(self, counter: str, tokens: int, nanousd: int) -> None:
        """Charge a counter if that stays within its limits."""
        at, more = self._clock(), {"tokens": tokens, "nanousd": nanousd}
        change = Change(set={"at": at}, increase=more)
        while True:
            limits = self._limits_of(counter)
            where = {name: {"$lte": limit - more[name]} for name, limit in limits.items()}
            (is_charged,) = await self._documents.update(BUDGETS, [Update(counter, change, where)])
            if is_charged:
                return
            fresh: Document = {"_id": counter, "tokens": 0, "nanousd": 0, "at": at}
            if not await self._documents.insert(BUDGETS, [fresh]):
                found = await self._documents.get(BUDGETS, [counter])
                usages = self._usage_of(counter, found.get(counter, {}))
                for usage, asked in zip(usages, (usd_of(nanousd), tokens), strict=True):
                    if usage.limit is not None and usage.spent + asked > usage.limit:
                        raise BudgetExceeded(
                            usage.name, usage.limit, usage.spent, asked, usage.until
                        )

    def _limits_of(self, counter: str) -> dict[str, int]:
        """Return the limits of a counter by the name of its figure."""
        usd, tokens = self.limits.budget_usd_per_day, self.limits.budget_tokens_per_day
        if counter.startswith("run:"):
            usd, tokens = self.limits.budget_usd_per_run, self.limits.budget_tokens_per_run
        # By the shortest decimal that means this number.
        nanousd = None if usd is None else int(Decimal(repr(usd)) * NANO)
        limits = {"nanousd": nanousd, "tokens": tokens}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def _usage_of(self, counter: str, document: Mapping[str, Any]) -> list[BudgetUsage]:
        limits = self._limits_of(counter)
        usd = usd_of(limits["nanousd"]) if "nanousd" in limits else None
        per, _, day = counter.partition(":")
        until = None
        if per == "day":
            until = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
        tokens, spent_tokens = limits.get("tokens"), document.get("tokens", 0)
        spent_usd = usd_of(document.get("nanousd", 0))
        return [
            BudgetUsage(f"BUDGET_USD_PER_{per.upper()}", usd, spent_usd, until),
            BudgetUsage(f"BUDGET_TOKENS_PER_{per.upper()}", tokens, spent_tokens, until),
        ]


class Spending:
    """Reserves, settles and records calls in one store; `clock`: Unix time, seconds."""

    def __init__(
        self,
        documents: Documents,
        prices: PriceTable,
        limits: BudgetSettings,
        *,
        clock: Callable[[], float] = SYSTEM_CLOCK.unix_s,
    ) -> None:
        self._documents, self._prices, self._clock = documents, prices, clock
        self.counters = Budgets(documents, limits, clock)
        self.note = documents.note

    async def prepare(self) -> None:
        """Create the indices."""
        await self._documents.ensure_index(USAGE, ["key"])
        await self._documents.ensure_index(USAGE, ["run_id", "at"])
        await self._documents.ensure_index(USAGE, ["computation"])
        await self._documents.ensure_index(USAGE, ["state", "at"])
        await self._documents.ensure_index(USAGE, ["at"])
        await self._documents.ensure_index(USAGE_DAYS, ["day"])

    async def reserve(self, call: Call, estimate: Tokens) -> Reservation:
        """Reserve what a call may use at most; the call may be sent once this returns.

        `BudgetExceeded` where a budget does not suffice, and nothing is reserved; `Misconfigured`
        where the model has no price, and `UNKNOWN_MODEL_PRICE` is `refuse`.
        """
        now = self._clock()
        nanousd = self.cost(call, estimate)
        reservation = Reservation(uuid.uuid4().hex, call, estimate, nanousd, day_of(now))
        await self.counters.charge(reservation.counters, estimate.total, nanousd)
        row = _row_of(reservation, UsageState.RESERVED, now)
        await self._documents.insert(row.collection, row.documents)
        return reservation

    async def settle(self, reservation: Reservation, used: Tokens) -> None:
        """Replace the estimate by what was used. A second time changes nothing."""
        await self._close(reservation, UsageState.SETTLED, used, self.cost(reservation.call, used))

    async def release(self, reservation: Reservation) -> None:
        """Release a reservation of a call that was not sent, or surely cost nothing."""
        await self._close(reservation, UsageState.RELEASED, Tokens(0), 0)

    async def record(self, call: Call, used: Tokens) -> None:
        """Record a call that costs nothing, of a local model or the mock, outside of budgets."""
        now = self._clock()
        done = Reservation(uuid.uuid4().hex, call, used, 0, day_of(now))
        row = _row_of(done, UsageState.SETTLED, now, count_use(call, used, 0))
        await self._documents.write([row, *_totals_of(done, used, 0)])

    async def budgets(self, run_id: str | None = None) -> list[BudgetUsage]:
        """Return the budgets of today, and those of a run if one is named."""
        return await self.counters.list_usage(run_id)

    async def capacity(self, call: Call, tokens: Sequence[int]) -> int:
        """Return for how many inputs, from the first, every budget suffices; reserves nothing.

        `tokens`: of each input, at most. `BudgetExceeded` if not even for the first one.
        """
        sums = list(itertools.accumulate(tokens))
        self.cost(call, Tokens(0))
        if self.counters.are_unlimited or not sums:
            return len(sums)
        capacity = len(sums)
        for usage in await self.budgets(call.run_id):
            if usage.limit is None:
                continue
            left = usage.limit - usage.spent
            is_money = isinstance(usage.limit, Decimal)

            def asked(total: int, *, is_money: bool = is_money) -> Decimal | int:
                return usd_of(self.cost(call, Tokens(total))) if is_money else total

            fitting = bisect.bisect_right(sums, left, key=asked)
            if not fitting:
                raise BudgetExceeded(
                    usage.name, usage.limit, usage.spent, asked(sums[0]), usage.until
                )
            capacity = min(capacity, fitting)
        return capacity

    async def reservations(self, key: str) -> list[Reservation]:
        """Return what is still reserved under a key, to settle after a crash, oldest first."""
        where = {"key": key, "state": UsageState.RESERVED}
        found = await self._documents.find(USAGE, where, sort="at")
        return [read_reservation(document) for document in found]

    async def totals(self) -> list[UsageTotal]:
        """Return what was used in all, by provider, model and kind."""
        return [
            UsageTotal(
                provider=document["provider"],
                model=document["model"],
                kind=document["kind"],
                is_mock=document["is_mock"],
                calls=document["calls"],
                tokens=document["tokens_in"] + document["tokens_out"],
                usd=usd_of(document["nanousd"]),
            )
            for document in await self._documents.find(TOTALS, {})
        ]

    async def purge(self, older_than_s: float) -> int:
        """Delete records and counters that are so old, two days at least; return how many."""
        if older_than_s < _TWO_DAYS_S:
            raise ValueError(f"{older_than_s} s is less than two days")
        old = {"at": {"$lt": self._clock() - older_than_s}}
        oldest_day = day_of(self._clock() - max(older_than_s, DAYS_KEPT_S))
        await purge_days(self._documents, before=oldest_day)
        gone = await self._documents.delete(USAGE, old, limit=_MAX_PURGED)
        return gone + await self._documents.delete(BUDGETS, old, limit=_MAX_PURGED)

    def cost(self, call: Call, tokens: Tokens) -> int:
        """Return what a call of so many tokens costs, nanodollars; nothing for a mock."""
        if call.is_mock:
            return 0
        return self._prices.cost(
            call.provider, call.model, call.kind, tokens, is_batch=call.is_batch
        )

    async def _close(
        self, reservation: Reservation, state: UsageState, used: Tokens, nanousd: int
    ) -> None:
        found = await self._documents.get(USAGE, [reservation.id])
        if found.get(reservation.id, {}).get("state") != UsageState.RESERVED:
            return
        tokens, money = used.total - reservation.tokens.total, nanousd - reservation.nanousd
        # The counters must never hold less than what was spent, whatever ends in between: what
        # raises them comes before the record says it is done, what lowers them after.
        if tokens > 0 or money > 0:
            await self.counters.add(reservation.counters, max(tokens, 0), max(money, 0))
        values = {"state": state, "settled_at": self._clock(), **_figures_of(used, nanousd)}
        where = {"_id": reservation.id, "state": UsageState.RESERVED}
        counts = count_use(reservation.call, used, nanousd)
        closing = Take(USAGE, where, Change(set=values), counts, is_condition=True)
        totals = _totals_of(reservation, used, nanousd) if state is UsageState.SETTLED else []
        (is_ours, *_) = await self._documents.write([closing, *totals])
        if is_ours and (tokens < 0 or money < 0):
            await self.counters.add(reservation.counters, min(tokens, 0), min(money, 0))


def count_use(call: Call, used: Tokens, nanousd: int) -> Counts:
    """Return what a settled call adds to counters; nothing for one that used nothing."""
    parts = [
        TOKENS.add(call.provider, call.model, kind, by=tokens)
        for kind, tokens in (("input", used.input), ("output", used.output))
        if tokens
    ]
    if nanousd:
        parts.append(COST.add(call.provider, call.model, by=nanousd / NANO))
    return merged(*parts)


def _row_of(
    reservation: Reservation, state: UsageState, at: float, counts: Counts = NOTHING
) -> Insert:
    """Return the write of what is known of a call; `counts` is what it adds to counters."""
    figures = _figures_of(reservation.tokens, reservation.nanousd)
    document: Document = {
        "_id": reservation.id,
        **asdict(reservation.call),
        "state": state,
        **figures,
        "estimate": figures,
        "day": reservation.day,
        "at": at,
        "settled_at": at if state is UsageState.SETTLED else None,
    }
    return Insert(USAGE, [document], {reservation.id: counts})


def _totals_of(settled: Reservation, used: Tokens, nanousd: int) -> list[Write]:
    """Return the writes that add a settled call to the totals, and to those of its day."""
    call = settled.call
    labels = {name: getattr(call, name) for name in ("provider", "model", "kind", "is_mock")}
    figures = {"calls": 1, **_figures_of(used, nanousd)}
    id_ = "/".join([call.provider, call.model, call.kind, *(["mock"] if call.is_mock else [])])
    total = Update(id_, Change(set=labels, increase=figures))
    spent_on = {"project_id": call.project_id, "department": call.department}
    row = add_to_day(settled.day, {**labels, **spent_on}, figures)
    return [Upsert(TOTALS, [total]), Upsert(USAGE_DAYS, [row])]


def _figures_of(tokens: Tokens, nanousd: int) -> dict[str, int]:
    return {"tokens_in": tokens.input, "tokens_out": tokens.output, "nanousd": nanousd}


def read_reservation(document: Document) -> Reservation:
    """Return the reservation that a document holds."""
    names = {part.name for part in fields(Call)}
    # What an earlier version reserved names no project.
    call: dict[str, Any] = {name: document[name] for name in names if name in document}
    return Reservation(
        document["_id"],
        Call(**call),
        Tokens(document["tokens_in"], document["tokens_out"]),
        document["nanousd"],
        document["day"],
    )


def day_of(at: float) -> str:
    """Return the UTC day of a moment in Unix time, such as `2026-11-21`."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _counters(run_id: str | None, day: str) -> list[str]:
    # The day's counter, which more processes share, comes last: while a charge is taken back, only
    # calls of its own run find it.
    return [*([] if run_id is None else [f"run:{run_id}"]), f"day:{day}"]

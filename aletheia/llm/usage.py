"""What calls to models used, and the budgets they are held to (SPEC §1, Budgets).

A call that may cost something is reserved before it is sent, at its upper estimate, in two
counters: that of its run and that of the UTC day. Each is charged by one conditional write, which
goes through only if what is spent and the estimate together stay within the limit; so no number of
processes ever overspends. Then the intent is written down, and only then the call may be sent.
Settling it replaces the estimate by what was used. Whatever ends in between, the counters hold at
least what was spent: a reservation nobody settled counts as spent.

Money is whole nano-dollars.
"""

import bisect
import itertools
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import BudgetExceeded
from aletheia.llm.prices import NANO, Kind, PriceTable, Tokens, usd_of
from aletheia.settings import BudgetSettings

USAGE = "aletheia_usage"
BUDGETS = "aletheia_budgets"
TOTALS = "aletheia_usage_totals"

_PURGED_AT_ONCE: Final = 10_000
_TWO_DAYS_S: Final = 172_800


class UsageState(StrEnum):
    """How far a call has come."""

    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Call:
    """A call to a model.

    Attributes:
        key: what it is for, so that a call that was repeated after a crash can be recognised.
        provider: such as `openai`.
        model: such as `text-embedding-3-small`.
        kind: what for.
        run_id: the run it belongs to: a shift, or a gather run with its retries and resumes.
        task_id: the task it belongs to, where it is only one.
        is_batch: sent at the batch price.
        is_mock: made up, not called.
    """

    key: str
    provider: str
    model: str
    kind: Kind
    run_id: str | None = None
    task_id: str | None = None
    is_batch: bool = False
    is_mock: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is set aside for a call.

    Attributes:
        id: of its record.
        call: the call.
        tokens: upper estimate.
        nanousd: upper estimate.
        day: the UTC day it is charged to, as `2026-11-21`.
    """

    id: str
    call: Call
    tokens: Tokens
    nanousd: int
    day: str


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """What is kept of one call.

    Attributes:
        id: its own.
        call: the call.
        state: how far it has come; the figures are the estimate until it is settled.
        tokens: what it used.
        nanousd: what that cost.
        at: when it was reserved, or recorded.
        settled_at: when it was settled or released.
    """

    id: str
    call: Call
    state: UsageState
    tokens: Tokens
    nanousd: int
    at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """All settled calls of one kind to one model, since ever.

    Attributes:
        calls: how many.
        tokens: what they used.
        nanousd: what they cost.
        is_mock: whether they were made up.
    """

    provider: str
    model: str
    kind: Kind
    is_mock: bool
    calls: int
    tokens: Tokens
    nanousd: int


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """How much may be spent; `None` is no bound."""

    nanousd_per_day: int | None = None
    nanousd_per_run: int | None = None
    tokens_per_day: int | None = None
    tokens_per_run: int | None = None

    @classmethod
    def from_settings(cls, settings: BudgetSettings) -> "BudgetLimits":
        """Read the limits."""
        return cls(
            nanousd_per_day=_nanousd(settings.budget_usd_per_day),
            nanousd_per_run=_nanousd(settings.budget_usd_per_run),
            tokens_per_day=settings.budget_tokens_per_day,
            tokens_per_run=settings.budget_tokens_per_run,
        )


@dataclass(frozen=True, slots=True)
class BudgetUsage:
    """How one budget stands, in USD or tokens.

    Attributes:
        name: the setting, such as `BUDGET_USD_PER_DAY`.
        limit: its value; `None` is no bound.
        spent: what is spent or reserved.
        until: when it begins anew; `None` for the budget of a run.
    """

    name: str
    limit: Decimal | int | None
    spent: Decimal | int
    until: datetime | None

    @property
    def is_spent(self) -> bool:
        """Nothing is left."""
        return self.limit is not None and self.spent >= self.limit


class Spending:
    """Reserves, settles and records calls in one store.

    Args:
        documents: the store, open and durable.
        prices: what calls cost.
        limits: the budgets.
        clock: Unix time, seconds.

    Attributes:
        limits: may be replaced at any time; the next reservation is held to the new ones.
    """

    def __init__(
        self,
        documents: Documents,
        prices: PriceTable,
        limits: BudgetLimits,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._documents = documents
        self._prices = prices
        self.limits = limits
        self._clock = clock

    @classmethod
    def from_settings(
        cls,
        documents: Documents,
        settings: BudgetSettings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> "Spending":
        """Build it as the settings say.

        Raises:
            Misconfigured: the price table cannot be read.
        """
        prices = PriceTable.from_settings(settings)
        return cls(documents, prices, BudgetLimits.from_settings(settings), clock=clock)

    async def prepare(self) -> None:
        """Make the look-ups below fast."""
        await self._documents.ensure_index(USAGE, ["key"])
        await self._documents.ensure_index(USAGE, ["run_id", "at"])
        await self._documents.ensure_index(USAGE, ["state", "at"])
        await self._documents.ensure_index(USAGE, ["at"])

    # Calls

    async def reserve(self, call: Call, most: Tokens) -> Reservation:
        """Set aside what a call may use at most; the call may be sent once this returns.

        Raises:
            BudgetExceeded: a budget has no room for it; nothing is set aside.
            Misconfigured: the model has no price, and `UNKNOWN_MODEL_PRICE` is `refuse`.
        """
        now = self._clock()
        nanousd = self._cost(call, most)
        reservation = Reservation(uuid.uuid4().hex, call, most, nanousd, _day_of(now))
        charged: list[str] = []
        try:
            # The counter that more processes share comes last: while a charge is taken back,
            # it is in the way of nobody but calls of its own run.
            for counter in _counters(reservation):
                await self._charge(counter, most.total, nanousd, now)
                charged.append(counter)
        except BudgetExceeded:
            await self._add(charged, -most.total, -nanousd)
            raise
        await self._write(reservation, UsageState.RESERVED, now)
        return reservation

    async def settle(self, reservation: Reservation, used: Tokens) -> None:
        """Replace the estimate by what was used. A second time changes nothing."""
        await self._close(reservation, UsageState.SETTLED, used, self._cost(reservation.call, used))

    async def release(self, reservation: Reservation) -> None:
        """Give back all that was set aside, for a call that was not sent, or surely cost nothing.

        A call whose outcome is not known, such as one that timed out, is better left reserved.
        """
        await self._close(reservation, UsageState.RELEASED, Tokens(0), 0)

    async def record(self, call: Call, used: Tokens) -> None:
        """Write down a call that costs nothing, of a local model or the mock; budgets do not."""
        now = self._clock()
        done = Reservation(uuid.uuid4().hex, call, used, 0, _day_of(now))
        await self._write(done, UsageState.SETTLED, now)
        await self._count(call, used, 0)

    # Looking

    async def budgets(self, run_id: str | None = None) -> list[BudgetUsage]:
        """Tell how the budgets stand: those of today, and those of a run if one is named."""
        counters = [_day_counter(_day_of(self._clock()))]
        if run_id is not None:
            counters.append(_run_counter(run_id))
        found = await self._documents.get(BUDGETS, counters)
        return [
            usage
            for counter in counters
            for usage in self._stand_of(counter, found.get(counter, {}))
        ]

    async def check(self, run_id: str | None = None) -> None:
        """See that something is left of every budget, before work is begun.

        Raises:
            BudgetExceeded: one is spent.
        """
        for usage in await self.budgets(run_id):
            if usage.is_spent and usage.limit is not None:
                raise BudgetExceeded(usage.name, usage.limit, usage.spent, 0, usage.until)

    async def room(self, call: Call, tokens: Sequence[int]) -> int:
        """Say for how many inputs of a call, from the first, every budget has room now.

        Nothing is set aside; by the time the call is sent others may have spent it.

        Args:
            call: what would be sent.
            tokens: of each input, at most.

        Raises:
            BudgetExceeded: not even for the first.
            Misconfigured: the model has no price, and `UNKNOWN_MODEL_PRICE` is `refuse`.
        """
        sums = list(itertools.accumulate(tokens))
        self._cost(call, Tokens(0))
        if self.limits == BudgetLimits() or not sums:
            return len(sums)
        room = len(sums)
        for usage in await self.budgets(call.run_id):
            if usage.limit is None:
                continue
            left = usage.limit - usage.spent
            is_money = isinstance(usage.limit, Decimal)

            def asked(total: int, *, is_money: bool = is_money) -> Decimal | int:
                return usd_of(self._cost(call, Tokens(total))) if is_money else total

            fitting = bisect.bisect_right(sums, left, key=asked)
            if not fitting:
                raise BudgetExceeded(
                    usage.name, usage.limit, usage.spent, asked(sums[0]), usage.until
                )
            room = min(room, fitting)
        return room

    async def reservations(self, key: str) -> list[Reservation]:
        """Read what is still set aside under a key, to settle after a crash, oldest first."""
        where = {"key": key, "state": UsageState.RESERVED}
        found = await self._documents.find(USAGE, where, sort="at")
        return [
            Reservation(record.id, record.call, record.tokens, record.nanousd, document["day"])
            for document in found
            for record in [_record_of(document)]
        ]

    async def records(self, run_id: str, *, limit: int | None = None) -> list[UsageRecord]:
        """Read the calls of a run, oldest first."""
        found = await self._documents.find(USAGE, {"run_id": run_id}, sort="at", limit=limit)
        return [_record_of(document) for document in found]

    async def unsettled(self, *, limit: int | None = None) -> list[UsageRecord]:
        """Read the calls that are under way, or never told how they ended, oldest first."""
        where = {"state": UsageState.RESERVED}
        found = await self._documents.find(USAGE, where, sort="at", limit=limit)
        return [_record_of(document) for document in found]

    async def totals(self) -> list[UsageTotal]:
        """Read what was used in all, by provider, model and kind."""
        return [
            UsageTotal(
                provider=document["provider"],
                model=document["model"],
                kind=document["kind"],
                is_mock=document["is_mock"],
                calls=document["calls"],
                tokens=Tokens(document["tokens_in"], document["tokens_out"]),
                nanousd=document["nanousd"],
            )
            for document in await self._documents.find(TOTALS, {})
        ]

    async def purge(self, older_than_s: float) -> int:
        """Delete records and counters that nothing was added to for so long; say how many.

        A run that is resumed later than that begins with a fresh budget.

        Raises:
            ValueError: that would take today's counter.
        """
        if older_than_s < _TWO_DAYS_S:
            raise ValueError(f"{older_than_s} s is less than two days")
        old = {"at": {"$lt": self._clock() - older_than_s}}
        gone = await self._documents.delete(USAGE, old, limit=_PURGED_AT_ONCE)
        return gone + await self._documents.delete(BUDGETS, old, limit=_PURGED_AT_ONCE)

    # Inside

    def _cost(self, call: Call, tokens: Tokens) -> int:
        if call.is_mock:
            return 0
        return self._prices.cost(
            call.provider, call.model, call.kind, tokens, is_batch=call.is_batch
        )

    async def _charge(self, counter: str, tokens: int, nanousd: int, now: float) -> None:
        """Add to a counter if its limits have room.

        Raises:
            BudgetExceeded: one has not.
        """
        change = Change(set={"at": now}, increase={"tokens": tokens, "nanousd": nanousd})
        while True:
            nanousd_limit, tokens_limit = self._limits_of(counter)
            where: dict[str, Any] = {}
            if nanousd_limit is not None:
                where["nanousd"] = {"$lte": nanousd_limit - nanousd}
            if tokens_limit is not None:
                where["tokens"] = {"$lte": tokens_limit - tokens}
            (is_charged,) = await self._documents.update(BUDGETS, [Update(counter, change, where)])
            if is_charged:
                return
            if not await self._open(counter, now):
                found = await self._documents.get(BUDGETS, [counter])
                for usage, asked in zip(
                    self._stand_of(counter, found.get(counter, {})),
                    (usd_of(nanousd), tokens),
                    strict=True,
                ):
                    if usage.limit is not None and usage.spent + asked > usage.limit:
                        raise BudgetExceeded(
                            usage.name, usage.limit, usage.spent, asked, usage.until
                        )

    async def _open(self, counter: str, now: float) -> bool:
        """Begin a counter at zero; `False` if it was there."""
        document: Document = {"_id": counter, "tokens": 0, "nanousd": 0, "at": now}
        return bool(await self._documents.insert(BUDGETS, [document]))

    async def _add(self, counters: Sequence[str], tokens: int, nanousd: int) -> None:
        change = Change(increase={"tokens": tokens, "nanousd": nanousd})
        await self._documents.update(BUDGETS, [Update(counter, change) for counter in counters])

    async def _close(
        self, reservation: Reservation, state: UsageState, used: Tokens, nanousd: int
    ) -> None:
        found = await self._documents.get(USAGE, [reservation.id])
        if found.get(reservation.id, {}).get("state") != UsageState.RESERVED:
            return
        counters = _counters(reservation)
        tokens = used.total - reservation.tokens.total
        money = nanousd - reservation.nanousd
        # The counters must never hold less than what was spent, whatever ends in between: what
        # raises them comes before the record says it is done, what lowers them after.
        if tokens > 0 or money > 0:
            await self._add(counters, max(tokens, 0), max(money, 0))
        values = {
            "state": state,
            "tokens_in": used.input,
            "tokens_out": used.output,
            "nanousd": nanousd,
            "settled_at": self._clock(),
        }
        where = {"state": UsageState.RESERVED}
        (is_ours,) = await self._documents.update(
            USAGE, [Update(reservation.id, Change(set=values), where)]
        )
        if not is_ours:
            return
        if tokens < 0 or money < 0:
            await self._add(counters, min(tokens, 0), min(money, 0))
        if state is UsageState.SETTLED:
            await self._count(reservation.call, used, nanousd)

    async def _write(self, reservation: Reservation, state: UsageState, now: float) -> None:
        call = reservation.call
        document: Document = {
            "_id": reservation.id,
            "key": call.key,
            "provider": call.provider,
            "model": call.model,
            "kind": call.kind,
            "run_id": call.run_id,
            "task_id": call.task_id,
            "is_batch": call.is_batch,
            "is_mock": call.is_mock,
            "state": state,
            "tokens_in": reservation.tokens.input,
            "tokens_out": reservation.tokens.output,
            "nanousd": reservation.nanousd,
            "estimate": {
                "tokens_in": reservation.tokens.input,
                "tokens_out": reservation.tokens.output,
                "nanousd": reservation.nanousd,
            },
            "day": reservation.day,
            "at": now,
            "settled_at": now if state is UsageState.SETTLED else None,
        }
        await self._documents.insert(USAGE, [document])

    async def _count(self, call: Call, used: Tokens, nanousd: int) -> None:
        of = {
            "provider": call.provider,
            "model": call.model,
            "kind": call.kind,
            "is_mock": call.is_mock,
        }
        change = Change(
            set=of,
            increase={
                "calls": 1,
                "tokens_in": used.input,
                "tokens_out": used.output,
                "nanousd": nanousd,
            },
        )
        id_ = "/".join([call.provider, call.model, call.kind, *(["mock"] if call.is_mock else [])])
        await self._documents.upsert(TOTALS, [Update(id_, change)])

    def _limits_of(self, counter: str) -> tuple[int | None, int | None]:
        limits = self.limits
        if counter.startswith("run:"):
            return limits.nanousd_per_run, limits.tokens_per_run
        return limits.nanousd_per_day, limits.tokens_per_day

    def _stand_of(self, counter: str, document: Mapping[str, Any]) -> list[BudgetUsage]:
        nanousd_limit, tokens_limit = self._limits_of(counter)
        is_run = counter.startswith("run:")
        per = "RUN" if is_run else "DAY"
        until = None if is_run else _end_of(counter.removeprefix("day:"))
        return [
            BudgetUsage(
                f"BUDGET_USD_PER_{per}",
                None if nanousd_limit is None else usd_of(nanousd_limit),
                usd_of(document.get("nanousd", 0)),
                until,
            ),
            BudgetUsage(f"BUDGET_TOKENS_PER_{per}", tokens_limit, document.get("tokens", 0), until),
        ]


def _counters(reservation: Reservation) -> list[str]:
    run_id = reservation.call.run_id
    return [*([] if run_id is None else [_run_counter(run_id)]), _day_counter(reservation.day)]


def _run_counter(run_id: str) -> str:
    return f"run:{run_id}"


def _day_counter(day: str) -> str:
    return f"day:{day}"


def _day_of(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _end_of(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)


def _nanousd(usd: float | None) -> int | None:
    """Read dollars as they were written: `repr` is the shortest that means this number."""
    return None if usd is None else int(Decimal(repr(usd)) * NANO)


def _record_of(document: Document) -> UsageRecord:
    settled_at = document["settled_at"]
    return UsageRecord(
        id=document["_id"],
        call=Call(
            key=document["key"],
            provider=document["provider"],
            model=document["model"],
            kind=document["kind"],
            run_id=document["run_id"],
            task_id=document["task_id"],
            is_batch=document["is_batch"],
            is_mock=document["is_mock"],
        ),
        state=UsageState(document["state"]),
        tokens=Tokens(document["tokens_in"], document["tokens_out"]),
        nanousd=document["nanousd"],
        at=datetime.fromtimestamp(document["at"], UTC),
        settled_at=None if settled_at is None else datetime.fromtimestamp(settled_at, UTC),
    )

"""What calls to models used, reserved before they are sent (SPEC §1, Budgets).

After a crash at any point the counters hold at least what was spent: a reservation that nobody
settled counts as spent. Money is whole nano-dollars.
"""

import bisect
import itertools
import time
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from aletheia.documents import Change, Documents, Update
from aletheia.errors import BudgetExceeded
from aletheia.llm.budgets import BUDGETS, BudgetLimits, Budgets, BudgetUsage, day_of
from aletheia.llm.prices import PriceTable, Tokens, usd_of
from aletheia.llm.usage_records import (
    USAGE,
    Call,
    Reservation,
    UsageState,
    UsageTotal,
    read_reservation,
    record_document,
)
from aletheia.settings import BudgetSettings

TOTALS: Final = "aletheia_usage_totals"

_MAX_PURGED: Final = 10_000
_TWO_DAYS_S: Final = 172_800


class Spending:
    """Reserves, settles and records calls in one store; `clock`: Unix time, seconds."""

    def __init__(
        self,
        documents: Documents,
        prices: PriceTable,
        limits: BudgetLimits,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._documents, self._prices, self._clock = documents, prices, clock
        self.counters = Budgets(documents, limits, clock)

    @classmethod
    def from_settings(
        cls,
        documents: Documents,
        settings: BudgetSettings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> "Spending":
        """Build it as the settings say. Raises `Misconfigured`: the price table cannot be read."""
        prices = PriceTable.from_settings(settings)
        return cls(documents, prices, BudgetLimits.from_settings(settings), clock=clock)

    async def prepare(self) -> None:
        """Create the indices."""
        await self._documents.ensure_index(USAGE, ["key"])
        await self._documents.ensure_index(USAGE, ["run_id", "at"])
        await self._documents.ensure_index(USAGE, ["state", "at"])
        await self._documents.ensure_index(USAGE, ["at"])

    async def reserve(self, call: Call, estimate: Tokens) -> Reservation:
        """Reserve what a call may use at most; the call may be sent once this returns.

        Raises:
            BudgetExceeded: a budget has no room for it; nothing is reserved.
            Misconfigured: the model has no price, and `UNKNOWN_MODEL_PRICE` is `refuse`.
        """
        now = self._clock()
        nanousd = self.cost(call, estimate)
        reservation = Reservation(uuid.uuid4().hex, call, estimate, nanousd, day_of(now))
        await self.counters.charge(call.run_id, reservation.day, estimate.total, nanousd)
        document = record_document(reservation, UsageState.RESERVED, now)
        await self._documents.insert(USAGE, [document])
        return reservation

    async def settle(self, reservation: Reservation, used: Tokens) -> None:
        """Replace the estimate by what was used. A second time changes nothing."""
        await self._close(reservation, UsageState.SETTLED, used, self.cost(reservation.call, used))

    async def release(self, reservation: Reservation) -> None:
        """Release a reservation of a call that was not sent, or surely cost nothing.

        A call whose outcome is not known, such as one that timed out, is better left reserved.
        """
        await self._close(reservation, UsageState.RELEASED, Tokens(0), 0)

    async def record(self, call: Call, used: Tokens) -> None:
        """Record a call that costs nothing, of a local model or the mock, outside of budgets."""
        now = self._clock()
        done = Reservation(uuid.uuid4().hex, call, used, 0, day_of(now))
        await self._documents.insert(USAGE, [record_document(done, UsageState.SETTLED, now)])
        await self._count(call, used, 0)

    async def budgets(self, run_id: str | None = None) -> list[BudgetUsage]:
        """Return the budgets of today, and those of a run if one is named."""
        return await self.counters.list_usage(run_id)

    async def room(self, call: Call, tokens: Sequence[int]) -> int:
        """Return for how many inputs, from the first, every budget has room; reserves nothing.

        `tokens`: of each input, at most.

        Raises:
            BudgetExceeded: not even for the first.
            Misconfigured: the model has no price, and `UNKNOWN_MODEL_PRICE` is `refuse`.
        """
        sums = list(itertools.accumulate(tokens))
        self.cost(call, Tokens(0))
        if self.counters.limits == BudgetLimits() or not sums:
            return len(sums)
        room = len(sums)
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
            room = min(room, fitting)
        return room

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
        """Delete records and counters that nothing was added to for so long; return how many.

        Raises:
            ValueError: that is less than two days, and would delete today's counter.
        """
        if older_than_s < _TWO_DAYS_S:
            raise ValueError(f"{older_than_s} s is less than two days")
        old = {"at": {"$lt": self._clock() - older_than_s}}
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
        run_id, day = reservation.call.run_id, reservation.day
        tokens = used.total - reservation.tokens.total
        money = nanousd - reservation.nanousd
        # The counters must never hold less than what was spent, whatever ends in between: what
        # raises them comes before the record says it is done, what lowers them after.
        if tokens > 0 or money > 0:
            await self.counters.add(run_id, day, max(tokens, 0), max(money, 0))
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
            await self.counters.add(run_id, day, min(tokens, 0), min(money, 0))
        if state is UsageState.SETTLED:
            await self._count(reservation.call, used, nanousd)

    async def _count(self, call: Call, used: Tokens, nanousd: int) -> None:
        labels = {
            "provider": call.provider,
            "model": call.model,
            "kind": call.kind,
            "is_mock": call.is_mock,
        }
        figures = {
            "calls": 1,
            "tokens_in": used.input,
            "tokens_out": used.output,
            "nanousd": nanousd,
        }
        id_ = "/".join([call.provider, call.model, call.kind, *(["mock"] if call.is_mock else [])])
        await self._documents.upsert(TOTALS, [Update(id_, Change(set=labels, increase=figures))])

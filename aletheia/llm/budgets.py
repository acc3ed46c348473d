"""Budgets: counters of what a run and a UTC day have spent, and their limits (SPEC §1, Budgets).

Each is charged by one conditional write, so that no number of processes ever overspends.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import BudgetExceeded
from aletheia.llm.prices import NANO, usd_of
from aletheia.settings import BudgetSettings

BUDGETS: Final = "aletheia_budgets"


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """How much may be spent; `None` is no bound."""

    nanousd_per_day: int | None = None
    nanousd_per_run: int | None = None
    tokens_per_day: int | None = None
    tokens_per_run: int | None = None

    @classmethod
    def from_settings(cls, settings: BudgetSettings) -> "BudgetLimits":
        """Return the limits that the settings name."""
        return cls(
            nanousd_per_day=_nanousd(settings.budget_usd_per_day),
            nanousd_per_run=_nanousd(settings.budget_usd_per_run),
            tokens_per_day=settings.budget_tokens_per_day,
            tokens_per_run=settings.budget_tokens_per_run,
        )


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
    """The budgets of one store; `clock`: Unix time, seconds."""

    def __init__(
        self, documents: Documents, limits: BudgetLimits, clock: Callable[[], float]
    ) -> None:
        self._documents, self.limits, self._clock = documents, limits, clock

    async def list_usage(self, run_id: str | None) -> list[BudgetUsage]:
        """Return the budgets of today, and those of a run if one is named."""
        counters = [_day_counter(day_of(self._clock()))]
        if run_id is not None:
            counters.append(_run_counter(run_id))
        found = await self._documents.get(BUDGETS, counters)
        return [
            usage
            for counter in counters
            for usage in self._usage_of(counter, found.get(counter, {}))
        ]

    async def charge(self, run_id: str | None, day: str, tokens: int, nanousd: int) -> None:
        """Charge the counters of a run and a day.

        Raises:
            BudgetExceeded: a budget has no room; nothing is charged.
        """
        charged: list[str] = []
        try:
            for counter in _counters(run_id, day):
                await self._charge(counter, tokens, nanousd)
                charged.append(counter)
        except BudgetExceeded:
            await self._add(charged, -tokens, -nanousd)
            raise

    async def add(self, run_id: str | None, day: str, tokens: int, nanousd: int) -> None:
        """Add to the counters of a run and a day, whatever the limits are."""
        await self._add(_counters(run_id, day), tokens, nanousd)

    async def _charge(self, counter: str, tokens: int, nanousd: int) -> None:
        """Charge a counter if its limits have room."""
        at = self._clock()
        change = Change(set={"at": at}, increase={"tokens": tokens, "nanousd": nanousd})
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
            fresh: Document = {"_id": counter, "tokens": 0, "nanousd": 0, "at": at}
            if not await self._documents.insert(BUDGETS, [fresh]):
                found = await self._documents.get(BUDGETS, [counter])
                usages = self._usage_of(counter, found.get(counter, {}))
                for usage, asked in zip(usages, (usd_of(nanousd), tokens), strict=True):
                    if usage.limit is not None and usage.spent + asked > usage.limit:
                        raise BudgetExceeded(
                            usage.name, usage.limit, usage.spent, asked, usage.until
                        )

    async def _add(self, counters: Sequence[str], tokens: int, nanousd: int) -> None:
        change = Change(increase={"tokens": tokens, "nanousd": nanousd})
        await self._documents.update(BUDGETS, [Update(counter, change) for counter in counters])

    def _limits_of(self, counter: str) -> tuple[int | None, int | None]:
        limits = self.limits
        if counter.startswith("run:"):
            return limits.nanousd_per_run, limits.tokens_per_run
        return limits.nanousd_per_day, limits.tokens_per_day

    def _usage_of(self, counter: str, document: Mapping[str, Any]) -> list[BudgetUsage]:
        nanousd_limit, tokens_limit = self._limits_of(counter)
        is_run = counter.startswith("run:")
        per = "RUN" if is_run else "DAY"
        until = None
        if not is_run:
            midnight = datetime.fromisoformat(counter.removeprefix("day:")).replace(tzinfo=UTC)
            until = midnight + timedelta(days=1)
        return [
            BudgetUsage(
                f"BUDGET_USD_PER_{per}",
                None if nanousd_limit is None else usd_of(nanousd_limit),
                usd_of(document.get("nanousd", 0)),
                until,
            ),
            BudgetUsage(f"BUDGET_TOKENS_PER_{per}", tokens_limit, document.get("tokens", 0), until),
        ]


def day_of(at: float) -> str:
    """Return the UTC day of a moment in Unix time, such as `2026-11-21`."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _counters(run_id: str | None, day: str) -> list[str]:
    # The day's counter, which more processes share, comes last: while a charge is taken back, only
    # calls of its own run find it.
    return [*([] if run_id is None else [_run_counter(run_id)]), _day_counter(day)]


def _run_counter(run_id: str) -> str:
    return f"run:{run_id}"


def _day_counter(day: str) -> str:
    return f"day:{day}"


def _nanousd(usd: float | None) -> int | None:
    """Return dollars as nano-dollars, by the shortest decimal that means this number."""
    return None if usd is None else int(Decimal(repr(usd)) * NANO)

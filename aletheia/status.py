"""What stands where: intake, breakers, limits, budgets, usage, cache, Brain, as one model.

It knows no store and no client. The command line and the artifacts of a shift show it.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, PlainSerializer

Moment: TypeAlias = Annotated[
    datetime, PlainSerializer(lambda moment: moment.isoformat(), when_used="json")
]
Money: TypeAlias = Annotated[Decimal, PlainSerializer(str, when_used="json")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class Unacknowledged(_Part):
    """Reports that the upstream has answered with something that is no acknowledgement."""

    count: int  # how many wait to be sent again
    since: Moment  # when the first of them was answered so
    answer: str  # what it looked like

    def __str__(self) -> str:
        since = f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.count:,} reports are not acknowledged, since {since}: {self.answer}"


class ClockAhead(_Part):
    """A clock that was found to be ahead of another one, at a moment by that other one."""

    owner: str  # the poller whose clock it was, as host, process and run; empty if not known
    ahead_s: float
    seen_at: Moment

    def __str__(self) -> str:
        at = f"{self.seen_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"clocks differ: that of {self.owner!r} was {self.ahead_s:.0f} s ahead, at {at}"


class IntakeStatus(_Part):
    """How the ledger stands."""

    is_paused: bool
    states: dict[str, int]  # rows by state
    held: int  # rows under a lease that has not run out
    expired: int  # rows whose lease has run out, for the next tick to take over
    waiting: int  # rows deferred after `processing`
    dead: dict[str, int]  # dead letters by code
    blocked_head: int = 0  # pending entries that must wait and hide what comes after them
    unacknowledged: Unacknowledged | None = None
    clock_ahead: ClockAhead | None = None  # what was found during the last day

    def warnings(self) -> list[str]:
        """Return what somebody should see to."""
        head = f"blocked_head: {self.blocked_head:,} pending tasks must wait, and hide the others"
        found = [head if self.blocked_head else None, self.unacknowledged, self.clock_ahead]
        return [str(warning) for warning in found if warning is not None]


class BreakerStatus(_Part):
    """The breaker of a dependency, see `aletheia.resilience.breaker.BreakerState`."""

    dependency: str
    state: str
    failures: int
    until: Moment | None
    reason: str


class LimitStatus(_Part):
    """One limit of a provider, see `aletheia.resilience.limits.TierUsage`."""

    used: int
    limit: int | None
    frees_at: Moment | None
    refusals: int


class BudgetStatus(_Part):
    """One budget, see `aletheia.llm.budgets.BudgetUsage`."""

    name: str
    limit: int | Money | None
    spent: int | Money
    until: Moment | None

    @property
    def is_spent(self) -> bool:
        """Whether nothing may be spent any more."""
        return self.limit is not None and self.spent >= self.limit


class UsageStatus(_Part):
    """The calls of one kind to one model, since the store was made."""

    provider: str
    model: str
    kind: str
    mock: bool
    calls: int
    tokens: int
    usd: Money


class CacheStatus(_Part):
    """The hits of the embedding cache for one model, since the store was made."""

    name: str
    hits: int
    misses: int
    share: float


class BrainStatus(_Part):
    """What a project lacks in the Brain, see `aletheia.brain.outbox.OutboxState`."""

    project_id: str
    waiting: int
    dead: int
    failures: int
    next_try_at: Moment | None
    reason: str


class SystemStatus(_Part):
    """The status of everything."""

    intake: IntakeStatus  # the ledger
    mode: str  # which provider embeds, and why it does
    breakers: list[BreakerStatus]  # of everything that ever failed
    limits: dict[str, dict[str, LimitStatus]]  # by provider and tier
    budgets: list[BudgetStatus]  # of today, and of a run if one was named
    usage: list[UsageStatus]  # of every model
    cache: list[CacheStatus]  # of every model
    brain: list[BrainStatus]  # of every project that lacks something there

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values: money as strings of dollars, moments in ISO 8601."""
        written = self.model_dump(mode="json")
        return written.pop("intake") | written

    def rows(self) -> list[dict[str, str]]:
        """Return all but the ledger as rows of a table: what, its state, and a note."""
        mode, _, why = self.mode.partition(": ")
        chosen = [_row("embedding", mode, why)] if mode else []
        return [*chosen, *self._breaker_rows(), *self._spending_rows(), *self._brain_rows()]

    def _breaker_rows(self) -> list[dict[str, str]]:
        rows = [
            _row(
                f"breaker of {breaker.dependency}",
                breaker.state,
                breaker.reason + _at("; until", breaker.until),
            )
            for breaker in self.breakers
        ]
        for provider, tiers in self.limits.items():
            rows += [
                _row(
                    f"{provider}, requests per {tier}",
                    f"{usage.used:,} of {_limit(usage.limit)}",
                    f"refused {usage.refusals:,} times" if usage.refusals else "",
                )
                for tier, usage in tiers.items()
            ]
        return rows

    def _spending_rows(self) -> list[dict[str, str]]:
        rows = [
            _row(budget.name, f"{budget.spent:,} of {budget.limit:,}", budget.is_spent * "spent")
            for budget in self.budgets
            if budget.limit is not None
        ]
        rows += [
            _row(
                f"{usage.provider}: {usage.model}{' (mock)' if usage.mock else ''}",
                f"{usage.tokens:,} tokens",
                f"calls: {usage.calls:,}, {usage.usd:.6f} USD",
            )
            for usage in self.usage
        ]
        rows += [
            _row(
                f"cache, {cache.name}",
                f"{cache.share:.0%} hits",
                f"{cache.hits + cache.misses:,} asked",
            )
            for cache in self.cache
        ]
        return rows

    def _brain_rows(self) -> list[dict[str, str]]:
        return [
            _row(
                f"Brain, {project.project_id}",
                f"{project.waiting:,} batches wait, {project.dead:,} items refused",
                project.reason + _at("; next try at", project.next_try_at),
            )
            for project in self.brain
        ]


def _limit(limit: int | None) -> str:
    return "no limit" if limit is None else f"{limit:,}"


def _row(what: str, state: str, note: str) -> dict[str, str]:
    return {"what": what, "state": state, "note": note}


def _at(words: str, moment: datetime | None) -> str:
    return "" if moment is None else f"{words} {moment:%H:%M:%S} UTC"

"""What stands where: intake, breakers, limits, budgets, usage, cache, Brain, as one model."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer

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
    share: Annotated[float, AfterValidator(lambda share: round(share, 4))]


class BrainStatus(_Part):
    """What a project lacks in the Brain."""

    project_id: str
    waiting: int  # batches of items, and evaluations, that are not delivered yet
    dead: int  # items that were refused
    failures: int  # tries in a row that failed
    next_try_at: Moment | None  # when the next one may be; `None` where nothing is waited for
    reason: str  # what the last failure was


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
        lines = [*self._service_lines(), *self._spending_lines(), *self._brain_lines()]
        return [{"what": what, "state": state, "note": note} for what, state, note in lines]

    def _service_lines(self) -> Iterator[tuple[str, str, str]]:
        mode, _, why = self.mode.partition(": ")
        if mode:
            yield "embedding", mode, why
        for breaker in self.breakers:
            note = breaker.reason + _at("; until", breaker.until)
            yield f"breaker of {breaker.dependency}", breaker.state, note
        for provider, tiers in self.limits.items():
            for tier, usage in tiers.items():
                limit = "no limit" if usage.limit is None else f"{usage.limit:,}"
                note = f"refused {usage.refusals:,} times" if usage.refusals else ""
                yield f"{provider}, requests per {tier}", f"{usage.used:,} of {limit}", note

    def _brain_lines(self) -> Iterator[tuple[str, str, str]]:
        for project in self.brain:
            state = f"{project.waiting:,} batches wait, {project.dead:,} items refused"
            note = project.reason + _at("; next try at", project.next_try_at)
            yield f"Brain, {project.project_id}", state, note

    def _spending_lines(self) -> Iterator[tuple[str, str, str]]:
        for budget in self.budgets:
            if budget.limit is not None:
                spent = f"{budget.spent:,} of {budget.limit:,}"
                yield budget.name, spent, "spent" if budget.spent >= budget.limit else ""
        for usage in self.usage:
            name = f"{usage.provider}: {usage.model}{' (mock)' if usage.mock else ''}"
            note = f"calls: {usage.calls:,}, {usage.usd:.6f} USD"
            yield name, f"{usage.tokens:,} tokens", note
        for cache in self.cache:
            note = f"{cache.hits + cache.misses:,} asked"
            yield f"cache, {cache.name}", f"{cache.share:.0%} hits", note


def _at(words: str, moment: datetime | None) -> str:
    return "" if moment is None else f"{words} {moment:%H:%M:%S} UTC"

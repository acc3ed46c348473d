"""The status of the system: intake, breakers, limits, budgets, usage, cache, Brain."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import orjson

from aletheia.adapters.embedding.cache import HitRate
from aletheia.brain.outbox import BrainStatus
from aletheia.intake.models import IntakeStatus
from aletheia.llm.reserved import Reserved
from aletheia.llm.usage import BudgetUsage, UsageTotal
from aletheia.reasoning.facts import describe_status
from aletheia.reasoning.findings import Finding, find
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import View
from aletheia.resilience.breaker import BreakerState
from aletheia.resilience.limits import Tier, TierUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStatus:
    """The status of everything."""

    intake: IntakeStatus  # the ledger
    breakers: Sequence[BreakerState]  # of everything that ever failed
    limits: Mapping[str, Mapping[Tier, TierUsage]]  # by provider
    budgets: Sequence[BudgetUsage]  # of today, and of a run if one was named
    brain: Sequence[BrainStatus]  # of every project that lacks something there
    mode: str  # which provider embeds, and why it does
    usage: Sequence[UsageTotal]  # of every model
    cache: Sequence[HitRate]  # of every model
    reserved: Reserved = field(default_factory=Reserved)  # for calls under way
    bounds: FindingSettings = field(default_factory=FindingSettings)  # of findings

    @property
    def findings(self) -> Sequence[Finding]:
        """What needs attention; evidence has the paths of a snapshot (SPEC §5)."""
        seen = describe_status(self.intake, self.breakers, self.limits, self.budgets, self.brain)
        return find(View(seen), self.bounds)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values: money as strings of dollars, moments in ISO 8601."""
        values = asdict(self)
        del values["bounds"]
        values["cache"] = [{**asdict(rate), "share": round(rate.share, 4)} for rate in self.cache]
        for total in values["usage"]:
            total["mock"] = total.pop("is_mock")
        whole = (
            values.pop("intake")
            | values
            | {"findings": [finding.to_document() for finding in self.findings]}
        )
        return orjson.loads(orjson.dumps(whole, default=str, option=orjson.OPT_NON_STR_KEYS))

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
        if self.reserved.calls:
            note = (
                f"calls: {self.reserved.calls:,}, {self.reserved.usd:.6f} USD at most; in budgets"
            )
            yield "reserved for calls under way", f"{self.reserved.tokens:,} tokens", note
        for usage in self.usage:
            name = f"{usage.provider}: {usage.model}{' (mock)' if usage.is_mock else ''}"
            note = f"calls: {usage.calls:,}, {usage.usd:.6f} USD"
            yield name, f"{usage.tokens:,} tokens", note
        for cache in self.cache:
            note = f"{cache.hits + cache.misses:,} asked"
            yield f"cache, {cache.name}", f"{cache.share:.0%} hits", note


def _at(words: str, moment: datetime | None) -> str:
    return "" if moment is None else f"{words} {moment:%H:%M:%S} UTC"

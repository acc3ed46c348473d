"""Findings: what needs attention, by stated rules over the status of the system (SPEC §5).

A rule is a function from the status to its finding, or `None`. A finding's text stands by itself;
its evidence names the values that it rests on, by their paths in `aletheia status --json`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from aletheia.brain.outbox import BrainStatus
from aletheia.intake.models import IntakeStatus
from aletheia.llm.usage import BudgetUsage
from aletheia.resilience.breaker import BreakerState
from aletheia.resilience.limits import Tier, TierUsage

Severity: TypeAlias = Literal["critical", "high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that needs attention."""

    id: str  # of its rule
    severity: Severity
    text: str
    evidence: Mapping[str, object]  # by path

    def __str__(self) -> str:
        return f"{self.severity}, {self.id}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedStatus:
    """The parts of the system's status that rules read."""

    intake: IntakeStatus  # the ledger
    breakers: Sequence[BreakerState]  # of everything that ever failed
    limits: Mapping[str, Mapping[Tier, TierUsage]]  # by provider
    budgets: Sequence[BudgetUsage]  # of today, and of a run if one was named
    brain: Sequence[BrainStatus]  # of every project that lacks something there


Rule: TypeAlias = Callable[[ObservedStatus], Finding | None]


def find(status: ObservedStatus) -> list[Finding]:
    """Return what the rules find, in their order; nothing where all is well."""
    return [found for rule in RULES if (found := rule(status)) is not None]


def _find_blocked_head(status: ObservedStatus) -> Finding | None:
    if not (count := status.intake.blocked_head):
        return None
    text = f"{count:,} pending tasks must wait, and hide the others"
    return Finding("blocked_head", "critical", text, {"blocked_head": count})


def _find_unacknowledged(status: ObservedStatus) -> Finding | None:
    if (waiting := status.intake.unacknowledged) is None:
        return None
    paths = {f"unacknowledged.{name}": getattr(waiting, name) for name in ("count", "answer")}
    return Finding("unacknowledged", "critical", str(waiting), paths)


def _find_clock_ahead(status: ObservedStatus) -> Finding | None:
    if (clock := status.intake.clock_ahead) is None:
        return None
    paths = {f"clock_ahead.{name}": getattr(clock, name) for name in ("owner", "ahead_s")}
    return Finding("clock_ahead", "high", str(clock), paths)


RULES: Final[tuple[Rule, ...]] = (_find_blocked_head, _find_unacknowledged, _find_clock_ahead)

"""Problems that somebody should solve, by stated rules over a status (SPEC §5, Findings).

A rule is a function from a status to its finding, or `None`. A finding's text needs no other; its
evidence names the values that it rests on, by their paths in `aletheia status --json`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from aletheia.intake.models import IntakeStatus

Severity: TypeAlias = Literal["critical", "high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem that somebody should solve."""

    id: str  # of its rule
    severity: Severity
    text: str
    evidence: Mapping[str, object]  # by path

    def __str__(self) -> str:
        return f"{self.severity}, {self.id}: {self.text}"


Rule: TypeAlias = Callable[[IntakeStatus], Finding | None]


def find(status: IntakeStatus) -> list[Finding]:
    """Return what the rules find, in their order; nothing where all is well."""
    return [found for rule in RULES if (found := rule(status)) is not None]


def _find_blocked_head(status: IntakeStatus) -> Finding | None:
    if not (count := status.blocked_head):
        return None
    text = f"{count:,} pending tasks must wait, and hide the others"
    return Finding("blocked_head", "critical", text, {"blocked_head": count})


def _find_unacknowledged(status: IntakeStatus) -> Finding | None:
    if (waiting := status.unacknowledged) is None:
        return None
    paths = {f"unacknowledged.{name}": getattr(waiting, name) for name in ("count", "answer")}
    return Finding("unacknowledged", "critical", str(waiting), paths)


def _find_clock_ahead(status: IntakeStatus) -> Finding | None:
    if (clock := status.clock_ahead) is None:
        return None
    paths = {f"clock_ahead.{name}": getattr(clock, name) for name in ("owner", "ahead_s")}
    return Finding("clock_ahead", "high", str(clock), paths)


RULES: Final[tuple[Rule, ...]] = (_find_blocked_head, _find_unacknowledged, _find_clock_ahead)

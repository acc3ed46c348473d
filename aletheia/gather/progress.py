"""How far a gather run has come, and whether it goes on (SPEC §4, Stop rules)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from aletheia.events.models import DepartmentSummary
from aletheia.items.departments import Department

MIN_GAIN: Final = 1.0
STALLED_AFTER: Final = 3
"""A department stalls when so many iterations in a row do not beat its best score by so much."""

MAX_ITERATIONS: Final = 1_000_000
"""Of a run, whoever sets them; far more than there is time for."""

SATURATED_BELOW: Final = 0.10
SATURATED_AFTER: Final = 2
"""A department is saturated when so many batches in a row keep less than this share."""

RunStatus: TypeAlias = Literal["completed", "cancelled"]


class StopReason(StrEnum):
    """Why a department, or an attempt at a run, ended; in the order in which they are checked."""

    NO_ITERATIONS_LEFT = "no_iterations_left"
    THRESHOLD_REACHED = "threshold_reached"
    CANCELLED = "cancelled"
    TOKEN_BUDGET = "token_budget"  # noqa: S105 - of tokens that are paid for
    COST_BUDGET = "cost_budget"
    TIME_BUDGET = "time_budget"
    MAX_ITERATIONS_REACHED = "max_iterations_reached"
    NO_IMPROVEMENT = "no_improvement"
    SATURATION = "saturation"
    RATE_LIMITED = "rate_limited"


WARNINGS: Final = frozenset({StopReason.NO_IMPROVEMENT})
"""Reasons that somebody should look at, and that are no failures."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What has become of a run from outside, as it is when a verdict is asked for."""

    is_cancelled: bool = False
    is_token_budget_spent: bool = False
    is_cost_budget_spent: bool = False
    is_time_spent: bool = False

    @property
    def reason(self) -> StopReason | None:
        """Why nothing more may be begun."""
        for is_so, reason in (
            (self.is_cancelled, StopReason.CANCELLED),
            (self.is_token_budget_spent, StopReason.TOKEN_BUDGET),
            (self.is_cost_budget_spent, StopReason.COST_BUDGET),
            (self.is_time_spent, StopReason.TIME_BUDGET),
        ):
            if is_so:
                return reason
        return None


NOTHING_HAPPENED: Final = Circumstances()


@dataclass(frozen=True, slots=True)
class Iteration:
    """What an iteration came to.

    Attributes:
        number: from 1, in its department.
        generated: valid items of its batch.
        kept: those of them that repeat nothing.
        item_ids: those that it saved; fewer than `kept` where somebody else saved one first.
        score: quality of the department afterwards, 0 to 100.
        failure: code of what the generation failed with after its repairs; empty if it did not.
        notes: what the next scoring wants to know of this one, as JSON.
    """

    number: int
    generated: int
    kept: int
    item_ids: tuple[str, ...]
    score: float
    failure: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class DepartmentProgress:
    """How far a department has come.

    Attributes:
        department: as it was when the run began.
        threshold: quality at which it is done, 0 to 100, with what an operator has set since.
        first_score: quality before the first iteration; `None` until it is known.
        first_notes: what the next scoring wants to know of that one, as JSON.
        iterations: those that are over.
        reason: why it is done; `None` while it is not.
    """

    department: Department
    threshold: float
    first_score: float | None = None
    first_notes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    iterations: tuple[Iteration, ...] = ()
    reason: StopReason | None = None

    @property
    def scores(self) -> tuple[float, ...]:
        """Its quality over time: before the first iteration, and after each."""
        first = () if self.first_score is None else (self.first_score,)
        return (*first, *(one.score for one in self.iterations))

    @property
    def notes(self) -> tuple[Mapping[str, Any], ...]:
        """What its scorings left for those that follow, in the order of `scores`."""
        first = () if self.first_score is None else (self.first_notes,)
        return (*first, *(one.notes for one in self.iterations))

    @property
    def score(self) -> float | None:
        """Its quality as last measured."""
        return self.scores[-1] if self.scores else None

    @property
    def is_processed(self) -> bool:
        """Whether anything was done, or there was nothing left to do."""
        return bool(self.iterations) or self.reason is StopReason.THRESHOLD_REACHED


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run has come.

    Attributes:
        max_iterations: of the whole run.
        departments: in the order they are worked through; frozen when the run begins.
    """

    max_iterations: int
    departments: tuple[DepartmentProgress, ...]

    @property
    def iterations(self) -> int:
        """Iterations of all departments so far."""
        return sum(len(one.iterations) for one in self.departments)

    @property
    def position(self) -> int | None:
        """Where the first department is that is not done; `None` after the last."""
        for position, one in enumerate(self.departments):
            if one.reason is None:
                return position
        return None

    def total_iterations(self, position: int, number: int) -> int:
        """Count the iterations of the run up to one of a department, that one included."""
        return number + sum(len(one.iterations) for one in self.departments[:position])

    def with_department(self, position: int, changed: DepartmentProgress) -> "RunProgress":
        """Replace what is known of one department."""
        known = self.departments
        return replace(self, departments=(*known[:position], changed, *known[position + 1 :]))


@dataclass(frozen=True, slots=True)
class Overrides:
    """What an operator has changed of a run; read by every iteration.

    A department that was announced as complete stays so, whatever is changed. More iterations are
    for those to come, those among them for which none were left.

    Attributes:
        max_iterations: of the whole run, 1 to `MAX_ITERATIONS`; `None` leaves it.
        thresholds: quality, 0 to 100, by a department's slug.

    Raises:
        ValueError: one is out of its range.
    """

    max_iterations: int | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        if self.max_iterations is not None and self.max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, not {self.max_iterations}")
        if self.max_iterations is not None and self.max_iterations > MAX_ITERATIONS:
            raise ValueError(
                f"max_iterations must be at most {MAX_ITERATIONS:,}, not {self.max_iterations}"
            )
        for slug, threshold in self.thresholds.items():
            if not 0 <= threshold <= 100:  # noqa: PLR2004 - the scale of quality
                raise ValueError(f"the threshold of {slug!r} must be in 0..100, not {threshold!r}")


def allowance(progress: RunProgress, position: int) -> int:
    """Say how many iterations a department may have in all.

    What its predecessors left less the number of departments to come, and at least 1 while any
    are left: so each department to come has its one, as far as they go.
    """
    used = sum(len(one.iterations) for one in progress.departments[:position])
    left = progress.max_iterations - used
    to_come = len(progress.departments) - position - 1
    return max(1, left - to_come) if left > 0 else 0


def stop_reason(
    progress: RunProgress, position: int, circumstances: Circumstances = NOTHING_HAPPENED
) -> StopReason | None:
    """Say whether a department stops, after it was scored first and after each iteration.

    A department is not scored first if it may have no iteration, or nothing may be begun.

    Args:
        progress: of the run.
        position: of the department.
        circumstances: cancellation and budgets.

    Returns:
        Why it stops; `None` if it goes on.

    Raises:
        ValueError: it has not been scored.
    """
    one, allowed = progress.departments[position], allowance(progress, position)
    if not allowed and not one.iterations:
        return StopReason.NO_ITERATIONS_LEFT
    if one.score is not None and one.score >= one.threshold:
        return StopReason.THRESHOLD_REACHED
    if circumstances.reason is not None:
        return circumstances.reason
    if one.score is None:
        raise ValueError(f"{one.department.slug!r} has not been scored")
    if len(one.iterations) >= allowed:
        return StopReason.MAX_ITERATIONS_REACHED
    if is_stalled(one.scores):
        return StopReason.NO_IMPROVEMENT
    return StopReason.SATURATION if is_saturated(one.iterations) else None


def is_stalled(scores: tuple[float, ...]) -> bool:
    """Tell whether the last iterations did not beat the best score before them."""
    before, last = scores[:-STALLED_AFTER], scores[-STALLED_AFTER:]
    return bool(before) and max(last) < max(before) + MIN_GAIN


def is_saturated(iterations: tuple[Iteration, ...]) -> bool:
    """Tell whether the last batches kept next to nothing; iterations without a batch aside."""
    batches = [one for one in iterations if one.generated][-SATURATED_AFTER:]
    return len(batches) == SATURATED_AFTER and all(
        one.kept < SATURATED_BELOW * one.generated for one in batches
    )


def share_done(progress: RunProgress) -> float:
    """Say how much of a run is done, 0 to 1.

    Each department is an equal part, and of the one under way, each iteration that it may have: it
    may well need fewer.
    """
    if not progress.departments:
        return 1.0
    done = sum(one.reason is not None for one in progress.departments)
    position = progress.position
    if position is None:
        return 1.0
    allowed = allowance(progress, position)
    used = len(progress.departments[position].iterations)
    part = min(used / allowed, 1.0) if allowed else 0.0
    return (done + part) / len(progress.departments)


class GatherReport(BaseModel):
    """What a run came to.

    Attributes:
        status: `completed`, for whatever reason its departments stopped, or `cancelled`.
        iterations: of all departments.
        departments_processed: those that had an iteration, or needed none.
        items_created: saved by this run.
        processing_time_ms: while it was at work, not suspended or waiting, milliseconds.
        summary: one row a department, in their order.
    """

    model_config = ConfigDict(frozen=True)

    status: RunStatus
    iterations: int
    departments_processed: int
    items_created: int
    processing_time_ms: int
    summary: tuple[DepartmentSummary, ...]


def report(
    progress: RunProgress, *, status: RunStatus, created: Mapping[str, int], worked_s: float
) -> GatherReport:
    """Sum a run up.

    Args:
        progress: of the run.
        status: how it ended.
        created: items of the run that are saved, by their department's slug.
        worked_s: how long it was at work, seconds.
    """
    summary = tuple(
        DepartmentSummary(
            department=one.department.slug,
            name=one.department.name,
            quality_score=one.score,
            iterations=len(one.iterations),
            items_created=created.get(one.department.slug, 0),
        )
        for one in progress.departments
    )
    return GatherReport(
        status=status,
        iterations=progress.iterations,
        departments_processed=sum(one.is_processed for one in progress.departments),
        items_created=sum(created.values()),
        processing_time_ms=round(worked_s * 1000),
        summary=summary,
    )

"""How far a gather run has come, and whether it goes on (SPEC §4, Stop rules)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel

from aletheia.events.models import DepartmentSummary
from aletheia.items.departments import Department
from aletheia.llm.usage import BudgetUsage

MIN_GAIN: Final = 1.0
STALLED_AFTER: Final = 3
"""A department stalls when `STALLED_AFTER` iterations in a row do not beat its best score by
`MIN_GAIN` (SPEC §4, Stop rules)."""

MAX_ITERATIONS: Final = 1_000_000
"""Upper bound of a run's `max_iterations`; far more than there is time for."""

SATURATED_BELOW: Final = 0.10
SATURATED_AFTER: Final = 2
"""A department is saturated when `SATURATED_AFTER` batches in a row keep less than this share."""

RunStatus: TypeAlias = Literal["completed", "cancelled"]


class StopReason(StrEnum):
    """Why a department, or an attempt at a run, ended; in the order in which they are checked."""

    NO_ITERATIONS_LEFT = "no_iterations_left"
    THRESHOLD_REACHED = "threshold_reached"
    TOKEN_BUDGET = "token_budget"  # noqa: S105 - of tokens that are paid for
    COST_BUDGET = "cost_budget"
    TIME_BUDGET = "time_budget"
    MAX_ITERATIONS_REACHED = "max_iterations_reached"
    NO_IMPROVEMENT = "no_improvement"
    UNREADABLE_ANSWERS = "unreadable_answers"
    SATURATION = "saturation"
    RATE_LIMITED = "rate_limited"


UNREADABLE_AFTER: Final = 2
"""A department, and then the run, ends when so many iterations, or departments, in a row got no
answer of a model that could be used; each iteration has had its repairs."""

_REFUSALS: Final = frozenset({"refused", "content_refused", "input_too_long"})
"""Codes of iterations that failed because of what was asked."""

WARNINGS: Final = frozenset({StopReason.NO_IMPROVEMENT, StopReason.UNREADABLE_ANSWERS})
"""Reasons that somebody should check, though they are no failures."""


def find_outer_reason(budgets: Sequence[BudgetUsage], *, is_time_spent: bool) -> StopReason | None:
    """Return what stops a run from outside: a budget of it or the day, or its time.

    Whoever cancels it does so at Prefect, which ends it at once.
    """
    spent = {budget.name.split("_")[1] for budget in budgets if budget.is_spent}
    return _first_of(
        ("TOKENS" in spent, StopReason.TOKEN_BUDGET),
        ("USD" in spent, StopReason.COST_BUDGET),
        (is_time_spent, StopReason.TIME_BUDGET),
    )


def _first_of(*rules: tuple[bool, StopReason | None]) -> StopReason | None:
    """Return the reason of the first rule that applies."""
    return next((reason for applies, reason in rules if applies), None)


@dataclass(frozen=True, slots=True)
class Iteration:
    """The result of an iteration."""

    number: int  # from 1, in its department
    generated: int
    kept: int
    item_ids: tuple[str, ...]  # fewer than `kept` where somebody else saved one first
    score: float  # quality of the department afterwards, 0 to 100
    failure: str = ""  # error code of a generation that failed after its repairs
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])  # for the next scoring
    failure_message: str = ""

    @property
    def is_unreadable(self) -> bool:
        """Whether no answer of a model could be used."""
        return bool(self.failure) and self.failure not in _REFUSALS


@dataclass(frozen=True, slots=True)
class DepartmentProgress:
    """How far a department has come."""

    department: Department
    threshold: float  # quality at which it is done, 0 to 100, overridden or its own
    first_score: float | None = None  # quality before the first iteration
    first_notes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    iterations: tuple[Iteration, ...] = ()
    reason: StopReason | None = None  # why it is done

    @property
    def scores(self) -> tuple[float, ...]:
        """Its quality before the first iteration, and after each."""
        first = () if self.first_score is None else (self.first_score,)
        return (*first, *(iteration.score for iteration in self.iterations))

    @property
    def notes(self) -> tuple[Mapping[str, Any], ...]:
        """The notes of its scorings, in the order of `scores`."""
        first = () if self.first_score is None else (self.first_notes,)
        return (*first, *(iteration.notes for iteration in self.iterations))

    @property
    def gate(self) -> Mapping[str, Any]:
        """What judges made of it in its last scoring, see `Estimate.to_document`; empty without."""
        return self.notes[-1].get("gate", {}) if self.notes else {}

    @property
    def score(self) -> float | None:
        """Its quality as last measured."""
        return self.scores[-1] if self.scores else None

    @property
    def has_reached(self) -> bool:
        """Whether its quality is at its threshold."""
        return self.score is not None and self.score >= self.threshold

    @property
    def is_processed(self) -> bool:
        """Whether anything was done, or there was nothing left to do."""
        return bool(self.iterations) or self.reason is StopReason.THRESHOLD_REACHED

    @property
    def is_unreadable(self) -> bool:
        """Whether its last iterations, or all it had, got no answer that could be used."""
        last = self.iterations[-UNREADABLE_AFTER:]
        return bool(last) and all(iteration.is_unreadable for iteration in last)


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run has come.

    `departments`: in the order they are worked through; frozen when the run begins.
    """

    max_iterations: int
    departments: tuple[DepartmentProgress, ...]

    @property
    def iterations(self) -> int:
        """Iterations of all departments so far."""
        return sum(len(department.iterations) for department in self.departments)

    @property
    def position(self) -> int | None:
        """Position of the first department that is not done; `None` after the last."""
        for position, department in enumerate(self.departments):
            if department.reason is None:
                return position
        return None

    def total_iterations(self, position: int, number: int) -> int:
        """Count the iterations of the run up to a department's `number`th, that one included."""
        return number + sum(len(earlier.iterations) for earlier in self.departments[:position])

    def with_department(self, position: int, changed: DepartmentProgress) -> "RunProgress":
        """Return the progress with one department replaced."""
        known = self.departments
        return replace(self, departments=(*known[:position], changed, *known[position + 1 :]))


def allowance(progress: RunProgress, position: int) -> int:
    """Return how many iterations a department may have in all (SPEC §4, Stop rules)."""
    used = sum(len(earlier.iterations) for earlier in progress.departments[:position])
    left = progress.max_iterations - used
    to_come = len(progress.departments) - position - 1
    return max(1, left - to_come) if left > 0 else 0


def stop_reason(
    progress: RunProgress, position: int, outer: StopReason | None = None
) -> StopReason | None:
    """Return why a department stops, after a scoring; `None` if it goes on.

    Raises:
        ValueError: it has not been scored, though it may go on, and there is no `outer` reason.
    """
    department, allowed = progress.departments[position], allowance(progress, position)
    reason = _first_of(
        (not allowed and not department.iterations, StopReason.NO_ITERATIONS_LEFT),
        (department.has_reached, StopReason.THRESHOLD_REACHED),
        (is_given_up(progress, position), StopReason.UNREADABLE_ANSWERS),
        (outer is not None, outer),
    )
    if reason is None and department.score is None:
        raise ValueError(f"{department.department.slug!r} has not been scored")
    is_vain = department.is_unreadable and len(department.iterations) >= UNREADABLE_AFTER
    return reason or _first_of(
        (len(department.iterations) >= allowed, StopReason.MAX_ITERATIONS_REACHED),
        (is_vain, StopReason.UNREADABLE_ANSWERS),
        (is_stalled(department.scores), StopReason.NO_IMPROVEMENT),
        (is_saturated(department.iterations), StopReason.SATURATION),
    )


def is_given_up(progress: RunProgress, position: int) -> bool:
    """Return whether models are not asked for a department: two in a row before were in vain."""
    earlier = [known for known in progress.departments[:position] if known.iterations]
    last = earlier[-UNREADABLE_AFTER:]
    return len(last) == UNREADABLE_AFTER and all(known.is_unreadable for known in last)


def find_unreadable(progress: RunProgress) -> str:
    """Return in a sentence why no answer of models was of use to a run; empty if one was."""
    iterations = [done for known in progress.departments for done in known.iterations]
    bad = [done for done in iterations if done.is_unreadable]
    was_given_up = any(
        known.reason is StopReason.UNREADABLE_ANSWERS and not known.iterations
        for known in progress.departments
    )
    if not bad or not (was_given_up or len(bad) == len(iterations)):
        return ""
    last = bad[-1]
    return (
        f"no answer of a model could be used in {len(bad)} of {len(iterations)} iterations; the "
        f"last one had this fault: {last.failure}: {last.failure_message}"
    )


def is_stalled(scores: tuple[float, ...]) -> bool:
    """Return whether the last iterations did not beat the best score before them."""
    before, last = scores[:-STALLED_AFTER], scores[-STALLED_AFTER:]
    return bool(before) and max(last) < max(before) + MIN_GAIN


def is_saturated(iterations: tuple[Iteration, ...]) -> bool:
    """Return whether the last batches kept next to nothing; empty batches do not count."""
    batches = [iteration for iteration in iterations if iteration.generated][-SATURATED_AFTER:]
    return len(batches) == SATURATED_AFTER and all(
        batch.kept < SATURATED_BELOW * batch.generated for batch in batches
    )


def share_done(progress: RunProgress) -> float:
    """Return how much of a run is done, 0 to 1; departments count alike."""
    position = progress.position
    if position is None:
        return 1.0
    done = sum(department.reason is not None for department in progress.departments)
    allowed = allowance(progress, position)
    used = len(progress.departments[position].iterations)
    part = min(used / allowed, 1.0) if allowed else 0.0
    return (done + part) / len(progress.departments)


class GatherReport(BaseModel, frozen=True):
    """The result of a run."""

    status: RunStatus  # `completed`, whatever its departments stopped for, or `cancelled`
    iterations: int
    departments_processed: int  # those that had an iteration, or needed none
    items_created: int
    processing_time_ms: int  # time at work, without suspensions and waits, milliseconds
    summary: tuple[DepartmentSummary, ...]  # one row per department, in their order


def report(
    progress: RunProgress, *, status: RunStatus, created: Mapping[str, int], worked_s: float
) -> GatherReport:
    """Return the report of a run; `worked_s`: how long it was at work, seconds."""
    summary = tuple(
        DepartmentSummary(
            department=known.department.slug,
            name=known.department.name,
            quality_score=known.score,
            iterations=len(known.iterations),
            items_created=created.get(known.department.slug, 0),
        )
        for known in progress.departments
    )
    return GatherReport(
        status=status,
        iterations=progress.iterations,
        departments_processed=sum(known.is_processed for known in progress.departments),
        items_created=sum(created.values()),
        processing_time_ms=round(worked_s * 1000),
        summary=summary,
    )


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a run is started with."""

    run_id: str
    project_id: str  # `[A-Za-z0-9_-]{1,48}`
    user_id: str
    max_iterations: int = 50  # of the whole run, 0 to `MAX_ITERATIONS`


@dataclass(frozen=True, slots=True)
class Run:
    """An attempt at a run."""

    id: str
    project_id: str
    user_id: str
    token: int
    progress: RunProgress
    attempt: int  # from 1
    began_at: float  # when this attempt began, or the run was read, Unix time
    worked_before_s: float  # how long it had been at work by then, seconds
    report: GatherReport | None = None  # its result, once it is closed
    warnings: tuple[str, ...] = ()

"""What the writes of the ledger add to counters (SPEC §6, Metrics)."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from aletheia.documents import Document
from aletheia.errors import InvalidTask
from aletheia.intake.models import UNFINISHED, Entry, RowState, Task
from aletheia.metrics import (
    DEAD_LETTERS,
    DEAD_LETTERS_ADDED,
    LANE_WAITING,
    LEDGER_ROWS,
    QUEUE_WAIT,
    TASK_DURATION,
    TASK_FAILURES,
    TASKS,
)
from aletheia.series import NOTHING, Counts, merged

IN_LANE: Final = (RowState.QUEUED, RowState.WAITING)
"""States in which a task of a lane waits for its workers."""

LANES_WITH_WORKERS: Final = ("media", "llm")
"""Lanes other than that of the shifts themselves (SPEC §1, Lanes)."""

UNKNOWN_TYPE: Final = "unknown_type"
"""Code of a task whose type nobody computes."""

MAX_QUEUE_WAIT_S: Final = 10 * 365 * 86_400
"""A task that says it is older was not created then, seconds."""

_EVENTS: Final[Mapping[RowState, str]] = {
    RowState.CLAIMED: "claimed",
    RowState.WAITING: "waiting",
    RowState.CONFLICT: "conflict",
    RowState.DEAD: "dead",
    RowState.SUPERSEDED: "superseded",
    RowState.REJECTED: "rejected",
}
"""States whose beginning is counted by the state alone."""


def type_of(entry: Entry, problem_code: str | None = None) -> str:
    """Return the type that a task is counted under.

    `problem_code` is of what is wrong with it: the name of an unknown type is the upstream's, and
    there is no end of those.
    """
    if problem_code == UNKNOWN_TYPE:
        return "unknown"
    return "invalid" if isinstance(entry.task, InvalidTask) else entry.task.type


def type_in(row: Document) -> str:
    """Return the type that the task of a row is counted under."""
    error: Mapping[str, Any] = row.get("error") or {}
    if error.get("code") == UNKNOWN_TYPE:
        return "unknown"
    return row.get("type") or "invalid"


@lru_cache(maxsize=1024)
def moved(
    counted_type: str, before: RowState | None, after: RowState, lane: str | None = None
) -> Counts:
    """Return what a row adds that goes from one state to another; `None` before it is there.

    `lane` is the one whose workers compute it, if it has one.
    """
    if before == after:
        return NOTHING
    parts: list[Counts] = []
    if before is not None and before in UNFINISHED:
        parts.append(LEDGER_ROWS.add(before, by=-1))
    if after in UNFINISHED:
        parts.append(LEDGER_ROWS.add(after))
    if after in _EVENTS:
        parts.append(TASKS.add(counted_type, _EVENTS[after]))
    if lane in LANES_WITH_WORKERS and (before in IN_LANE) != (after in IN_LANE):
        parts.append(LANE_WAITING.add(str(lane), by=1 if after in IN_LANE else -1))
    return merged(*parts)


def claimed(entry: Entry, counted_type: str, state: RowState, now_s: float, lane: str) -> Counts:
    """Return what a new claim adds, a faulty one of which has its report already."""
    created_at = entry.task.created_at if isinstance(entry.task, Task) else None
    waited = NOTHING
    if created_at is not None and now_s - created_at <= MAX_QUEUE_WAIT_S:
        waited = QUEUE_WAIT.observe(lane, amount=now_s - created_at)
    is_faulty = state is not RowState.CLAIMED
    event = TASKS.add(counted_type, "claimed") if is_faulty else NOTHING
    return merged(moved(counted_type, None, state), event, waited)


def reported(counted_type: str, took_s: float, failure_code: str | None) -> Counts:
    """Return what an acknowledged report adds, beside the change of its row's state."""
    outcome = "succeeded" if failure_code is None else "failed"
    parts = [TASKS.add(counted_type, outcome), TASK_DURATION.observe(counted_type, amount=took_s)]
    if failure_code is not None:
        parts += [TASK_FAILURES.add(failure_code), died(failure_code)]
    return merged(*parts)


@lru_cache(maxsize=256)
def died(code: str) -> Counts:
    """Return what a new dead letter adds."""
    return merged(DEAD_LETTERS.add(), DEAD_LETTERS_ADDED.add(code))


def revived(row: Mapping[str, Any]) -> Counts:
    """Return what a row adds that is no dead letter any more, if it was one."""
    return DEAD_LETTERS.add(by=-1) if row.get("dead_code") is not None else NOTHING

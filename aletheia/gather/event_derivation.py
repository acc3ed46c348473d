"""The events that a run's stored progress implies, in their order (SPEC §4, Events)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aletheia.events.log import EventLog
from aletheia.events.models import (
    AutomationCancelled,
    AutomationComplete,
    Deduplicating,
    DepartmentComplete,
    DepartmentStarted,
    Event,
    IterationComplete,
    MaxIterationsReached,
)
from aletheia.gather.progress import DepartmentProgress, GatherReport, Run, StopReason


@dataclass(frozen=True, slots=True)
class ImpliedEvent:
    """An event and what its key is made of."""

    event: Event
    department_id: str = ""  # the application's; empty if it is about the run
    iteration: int = 0  # of a `deduplicating`, from 1


class EventEmitter:
    """Adds the events of one run to the log as its progress implies them, and notifies then."""

    def __init__(
        self,
        events: EventLog,
        default_model: str,
        *,
        mock: str | None = None,
        notify: Callable[[], object] = lambda: None,
    ) -> None:
        self._events, self._default_model, self._mock = events, default_model, mock
        self._notify = notify
        self._emitted = 0
        self._ahead: ImpliedEvent | None = None

    async def emit(self, run: Run) -> None:
        """Add the events implied since the last call, all of them at first."""
        implied = list_events(run, self._default_model, mock=self._mock)[self._emitted :]
        for event in implied:
            if event != self._ahead:
                await self._append(run, event)
            self._emitted += 1
        if implied:
            self._notify()

    async def emit_one(self, run: Run, implied: ImpliedEvent) -> None:
        """Add an event before the run's progress implies it, unless it is there."""
        await self._append(run, implied)
        self._ahead = implied
        self._notify()

    async def _append(self, run: Run, implied: ImpliedEvent) -> None:
        department_id, iteration = implied.department_id, implied.iteration
        await self._events.append(
            implied.event, run_id=run.id, department_id=department_id, iteration=iteration
        )


def list_events(run: Run, default_model: str, *, mock: str | None = None) -> list[ImpliedEvent]:
    """List the events that a run's progress implies, in order; later progress only adds to them.

    A department that was never scored has none.
    """
    listed: list[ImpliedEvent] = []
    for position, progress in enumerate(run.progress.departments):
        if progress.score is not None:
            model = mock or progress.department.default_model or default_model
            listed += _list_department(run, position, progress, model)
    if run.report is not None:
        # A cancelled run that went on may be cancelled again.
        times = run.attempt - 1 if run.report.status == "cancelled" else 0
        listed.append(ImpliedEvent(end_of(run.project_id, run.report), iteration=times))
    return listed


def end_of(project_id: str, report: GatherReport) -> Event:
    """Return the event that says how a run ended."""
    if report.status == "cancelled":
        return AutomationCancelled(project_id=project_id, items_created_so_far=report.items_created)
    return AutomationComplete(
        project_id=project_id,
        total_iterations=report.iterations,
        departments_processed=report.departments_processed,
        items_created=report.items_created,
        summary=report.summary,
    )


def deduplicating(project_id: str, progress: DepartmentProgress, number: int) -> ImpliedEvent:
    """Return the event that says that an iteration's batch is being deduplicated."""
    event = Deduplicating(project_id=project_id, department=progress.department.slug)
    return ImpliedEvent(event, progress.department.id, number)


def _list_department(
    run: Run, position: int, progress: DepartmentProgress, model: str
) -> list[ImpliedEvent]:
    department, threshold = progress.department, progress.threshold
    about: dict[str, Any] = {"project_id": run.project_id, "department": department.slug}
    named: dict[str, Any] = {**about, "department_name": department.name}
    started = DepartmentStarted(**named, threshold=threshold, model=model)
    events = [ImpliedEvent(started, department.id)]
    for iteration in progress.iterations:
        if iteration.generated:
            events.append(deduplicating(run.project_id, progress, iteration.number))
        complete = IterationComplete(
            **named,
            iteration=iteration.number,
            total_iterations=run.progress.total_iterations(position, iteration.number),
            quality_score=iteration.score,
            items_created=len(iteration.item_ids),
            threshold=threshold,
        )
        events.append(ImpliedEvent(complete, department.id))
    score, used = progress.score, len(progress.iterations)
    if progress.reason is None or score is None:
        return events
    if progress.reason is StopReason.MAX_ITERATIONS_REACHED:
        reached = MaxIterationsReached(**about, final_quality_score=score, threshold=threshold)
        events.append(ImpliedEvent(reached, department.id))
    finished = DepartmentComplete(**named, quality_score=score, iterations_used=used)
    return [*events, ImpliedEvent(finished, department.id)]

"""The events that a run's progress implies, in their order (SPEC §4, Events).

What is to be said follows from what is kept, so a run that is gone on with after a kill says again
whatever may not have been said, and the log, which knows each event by its key, adds the rest.
"""

from dataclasses import dataclass

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
from aletheia.gather.progress import DepartmentProgress, GatherReport, StopReason
from aletheia.gather.runs import Run


@dataclass(frozen=True, slots=True)
class Telling:
    """An event and what its key is made of.

    Attributes:
        event: what to say.
        department_id: the application's id of its department; empty if it is about the run.
        iteration: of a `deduplicating`, from 1; 0 for all others.
    """

    event: Event
    department_id: str = ""
    iteration: int = 0


class EventEmitter:
    """Adds the events of one run to the log as its progress comes to imply them.

    Args:
        events: the log.
        default_model: what writes for departments that name no model.
        mock: what writes for all of them instead, where a mock does.
    """

    def __init__(self, events: EventLog, default_model: str, *, mock: str | None = None) -> None:
        self._events, self._default_model, self._mock = events, default_model, mock
        self._told = 0

    async def tell(self, run: Run) -> int:
        """Add what has come up since the last call, or all of it at first; say how many.

        Raises:
            Unavailable: the store is out of reach; the next call goes on where this one ended.
        """
        before, implied = self._told, list_events(run, self._default_model, mock=self._mock)
        for one in implied[before:]:
            await self.tell_one(run, one)
            self._told += 1
        return self._told - before

    async def tell_one(self, run: Run, one: Telling) -> None:
        """Add one event, unless it is there.

        Raises:
            Unavailable: the store is out of reach.
        """
        await self._events.append(
            one.event,
            run_id=run.id,
            department_id=one.department_id,
            iteration=one.iteration,
        )


def list_events(run: Run, default_model: str, *, mock: str | None = None) -> list[Telling]:
    """List what a run's progress implies, in order; what follows later only adds to it.

    A department that was never scored, since no iteration was left for it or nothing could be
    begun any more, has none.
    """
    listed: list[Telling] = []
    for position, one in enumerate(run.progress.departments):
        if one.score is not None:
            model = mock or one.department.default_model or default_model
            listed += _list_department(run, position, one, model)
    if run.report is not None:
        listed.append(Telling(end_of(run.project_id, run.report)))
    return listed


def deduplicating(run: Run, position: int) -> Telling:
    """Say that the batch of the iteration under way is compared with what is saved."""
    one = run.progress.departments[position]
    return _deduplicating(run.project_id, one, len(one.iterations) + 1)


def end_of(project_id: str, report: GatherReport) -> Event:
    """Say how a run ended."""
    if report.status == "cancelled":
        return AutomationCancelled(project_id=project_id, items_created_so_far=report.items_created)
    return AutomationComplete(
        project_id=project_id,
        total_iterations=report.iterations,
        departments_processed=report.departments_processed,
        items_created=report.items_created,
        summary=report.summary,
    )


def _list_department(run: Run, position: int, one: DepartmentProgress, model: str) -> list[Telling]:
    project_id, about = run.project_id, one.department
    events: list[Telling] = [
        Telling(
            DepartmentStarted(
                project_id=project_id,
                department=about.slug,
                department_name=about.name,
                threshold=one.threshold,
                model=model,
            ),
            about.id,
        )
    ]
    for done in one.iterations:
        if done.generated:
            events.append(_deduplicating(project_id, one, done.number))
        complete = IterationComplete(
            project_id=project_id,
            department=about.slug,
            department_name=about.name,
            iteration=done.number,
            total_iterations=run.progress.total_iterations(position, done.number),
            quality_score=done.score,
            items_created=len(done.item_ids),
            threshold=one.threshold,
        )
        events.append(Telling(complete, about.id))
    if one.reason is None or one.score is None:
        return events
    if one.reason is StopReason.MAX_ITERATIONS_REACHED:
        reached = MaxIterationsReached(
            project_id=project_id,
            department=about.slug,
            final_quality_score=one.score,
            threshold=one.threshold,
        )
        events.append(Telling(reached, about.id))
    finished = DepartmentComplete(
        project_id=project_id,
        department=about.slug,
        department_name=about.name,
        quality_score=one.score,
        iterations_used=len(one.iterations),
    )
    return [*events, Telling(finished, about.id)]


def _deduplicating(project_id: str, one: DepartmentProgress, number: int) -> Telling:
    event = Deduplicating(project_id=project_id, department=one.department.slug)
    return Telling(event, one.department.id, number)

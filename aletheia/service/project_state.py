"""The state of a project as it is: its newest gather run and how far its departments are."""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from aletheia.documents import Document, Documents
from aletheia.events.log import EventLog
from aletheia.gather.progress import DepartmentProgress, Run
from aletheia.gather.run_records import RUNS, SUPERSEDED
from aletheia.gather.runs import GatherRuns
from aletheia.store.clock import microseconds, moment

MAX_POINTS: Final = 1000
"""Qualities of a department that are shown, the newest."""


class DepartmentState(BaseModel):
    """How far a department is in a run."""

    department: str = Field(description="Its slug.", examples=["legal"])
    department_name: str = Field(description="Its name.")
    department_number: int | None = Field(description="Its place in the order of departments.")
    threshold: float = Field(description="Quality at which it is done, 0 to 100.")
    quality_score: float | None = Field(description="Its quality as last measured, 0 to 100.")
    qualities: list[float] = Field(
        description="Its quality before the first iteration, and after each."
    )
    iterations: int = Field(description="Iterations so far.")
    items_kept: int = Field(description="Items that its iterations kept.")
    items_generated: int = Field(description="Items that its iterations generated.")
    reason: str | None = Field(description="Why it is done; null while it is not.")


class RunState(BaseModel):
    """A gather run as it is stored."""

    run_id: str = Field(description="Its id, which is that of the flow run.")
    project_id: str = Field(description="Its project.")
    user_id: str = Field(description="Whose items it makes.")
    status: str = Field(
        description="`open`, `completed`, `cancelled`, or `superseded` by another run."
    )
    superseded_by: str | None = Field(description="The run that took its project over.")
    max_iterations: int = Field(description="Iterations of the whole run, at most.")
    iterations: int = Field(description="Iterations so far.")
    items_created: int | None = Field(description="Items that it made; null until it is over.")
    opened_at: datetime = Field(description="When it began, in UTC.")
    closed_at: datetime | None = Field(description="When it ended, in UTC; null if it has not.")
    worked_s: float = Field(description="How long it was at work, seconds.")
    departments: list[DepartmentState] = Field(description="Its departments, in their order.")


class ProjectState(BaseModel):
    """A project as it is."""

    last_seq: int = Field(description="Number of its last event; 0 before the first.")
    run: RunState | None = Field(description="Its newest run; null before the first.")


async def read_state(documents: Documents, project_id: str) -> ProjectState:
    """Return the state of a project; one that is unknown has no events and no run."""
    end = await EventLog(documents).end(project_id)
    newest = await documents.find(
        RUNS, {"project_id": project_id}, sort="opened_at", descending=True, limit=1
    )
    run = await read_run_state(documents, newest[0]) if newest else None
    return ProjectState(last_seq=end, run=run)


async def read_run_state(documents: Documents, found: Document) -> RunState:
    """Return the state of a run, whose document was just read."""
    run = await GatherRuns(documents).load_progress(found)
    return RunState(
        run_id=run.id,
        project_id=run.project_id,
        user_id=run.user_id,
        status=found["state"],
        superseded_by=found["superseded_by"] if found["state"] == SUPERSEDED else None,
        max_iterations=run.progress.max_iterations,
        iterations=run.progress.iterations,
        items_created=None if run.report is None else run.report.items_created,
        opened_at=_moment(found["opened_at"]),
        closed_at=None if found["closed_at"] is None else _moment(found["closed_at"]),
        worked_s=round(run.worked_before_s, 3),
        departments=describe_departments(run),
    )


def describe_departments(run: Run) -> list[DepartmentState]:
    """Return how far the departments of a run are, in their order."""
    return [_describe(department) for department in run.progress.departments]


def _describe(progress: DepartmentProgress) -> DepartmentState:
    department = progress.department
    return DepartmentState(
        department=department.slug,
        department_name=department.name,
        department_number=department.code_dep_number,
        threshold=progress.threshold,
        quality_score=progress.score,
        qualities=list(progress.scores[-MAX_POINTS:]),
        iterations=len(progress.iterations),
        items_kept=sum(iteration.kept for iteration in progress.iterations),
        items_generated=sum(iteration.generated for iteration in progress.iterations),
        reason=None if progress.reason is None else str(progress.reason),
    )


def _moment(at_s: float) -> datetime:
    return moment(microseconds(at_s))

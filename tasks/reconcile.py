"""The steps of a reconciliation, as Prefect shows them (SPEC §4, Brain)."""

from collections.abc import Sequence

from prefect import get_run_logger, task
from pydantic import BaseModel

from aletheia.brain.reconciliation import EXAMPLES, Differences, Kind, Reconciler
from aletheia.errors import AletheiaError
from aletheia.gather.knowledge import RunCatalogue
from aletheia.gather.run_records import RUNS
from aletheia.quality.evaluation_store import EVALUATIONS
from aletheia.store.project_id import check_project_id
from tasks.artifacts import save_table
from tasks.clients.brain import get_brain_access, get_brain_items, get_outbox
from tasks.clients.content import close_content
from tasks.clients.embedding import get_item_model
from tasks.clients.store import get_store
from tasks.policies import STEP, PartsFailed

_CELL: dict[Kind, str] = {
    Kind.MISSING: "missing",
    Kind.EXTRA: "not saved any more",
    Kind.OTHER_DEPARTMENT: "in another department",
    Kind.STALE: "stale",
    Kind.WITHOUT_VECTOR: "without a vector",
}


class ProjectOutcome(BaseModel, frozen=True):
    """The outcome of a project."""

    project_id: str
    is_compared: bool = True
    in_store: int = 0
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    examples: dict[str, tuple[str, ...]] = {}
    upserted: int = 0
    deleted: int = 0
    failed: dict[str, str] = {}
    is_new_model: bool = False
    evaluations: int = 0
    error: str = ""  # why it was not reconciled, or not completely

    @property
    def shows_new_model(self) -> bool:
        """Whether every project's vectors were dropped with an earlier model."""
        return self.is_new_model or bool(self.before.get(Kind.WITHOUT_VECTOR))


class ReconcileReport(BaseModel, frozen=True):
    """The result of a reconciliation."""

    differences_before: int
    differences_after: int
    projects: tuple[ProjectOutcome, ...]


class ReconcileFailed(PartsFailed):
    """Some projects could not be reconciled; the others were."""

    code = "reconcile_failed"


@task(name="list_projects", task_run_name="list-projects", **STEP)
async def list_projects(project_id: str | None) -> list[str]:
    """List the projects to compare: the one that is named, or all that ever had a gather run."""
    if project_id is not None:
        return [check_project_id(project_id)]
    return await _list_all()


@task(name="list_other_projects", task_run_name="list-other-projects", **STEP)
async def list_other_projects(outcomes: Sequence[ProjectOutcome]) -> list[str]:
    """List the projects that lack vectors since the Brain changed to another model."""
    done = {outcome.project_id for outcome in outcomes}
    others = sorted(set(await _list_all()) - done)
    if others:
        get_run_logger().warning(
            "the embedding model has changed: %d other projects are indexed anew, too", len(others)
        )
    return others


async def _list_all() -> list[str]:
    return sorted(await (await get_store()).count_by(RUNS, "project_id", {}))


@task(name="reconcile_project", task_run_name="reconcile-{project_id}", **STEP)
async def reconcile_project(project_id: str) -> ProjectOutcome:
    """Compare a project, repair what differs, and compare it again."""
    store = await get_store()
    is_new_model = False
    try:
        reconciler = Reconciler(await get_brain_access(), await get_outbox(), RunCatalogue(store))
        model = (await get_item_model()).vectors
        is_new_model = await reconciler.adopt_model(model)
        items = await get_brain_items(project_id)
        done = await reconciler.reconcile(project_id, items)
        stored = await store.find(EVALUATIONS, {"project_id": project_id})
        evaluations = await reconciler.save_evaluations(project_id, stored)
        await reconciler.deliver_waiting(project_id, items)
        before = done.before
        return ProjectOutcome(
            project_id=project_id,
            is_compared=before is not None,
            in_store=0 if before is None else done.in_store,
            before=_count(before),
            after=_count(done.after),
            examples={}
            if before is None
            else {kind: tuple(ids[:EXAMPLES]) for kind, ids in before.items() if ids},
            upserted=done.upserted,
            deleted=done.deleted,
            failed={refused.id: refused.code for refused in done.failed},
            is_new_model=is_new_model,
            evaluations=evaluations,
        )
    except AletheiaError as error:
        get_run_logger().error("%s is not reconciled: %s", project_id, error)
        return ProjectOutcome(project_id=project_id, is_new_model=is_new_model, error=str(error))
    finally:
        await close_content(project_id)


@task(name="show_differences", task_run_name="show", **STEP)
async def show_differences(outcomes: Sequence[ProjectOutcome]) -> ReconcileReport:
    """Save a table of what differed and still does. Raises `ReconcileFailed`: a project failed."""
    before = sum(sum(outcome.before.values()) for outcome in outcomes)
    after = sum(sum(outcome.after.values()) for outcome in outcomes)
    description = (
        f"**{before} differences between the Brain and the store were found in "
        f"{len(outcomes)} projects, {after} are left.**"
    )
    if any(outcome.shows_new_model for outcome in outcomes):
        description += " The embedding model has changed: every project is indexed anew."
    rows = [row for outcome in outcomes for row in _rows(outcome)]
    await save_table("reconcile", rows, description)
    failures = tuple(
        f"{outcome.project_id}: {outcome.error}" for outcome in outcomes if outcome.error
    )
    if failures:
        raise ReconcileFailed(failures)
    return ReconcileReport(
        differences_before=before, differences_after=after, projects=tuple(outcomes)
    )


def _count(found: Differences | None) -> dict[str, int]:
    return {str(kind): len(ids) for kind, ids in (found or {}).items() if ids}


def _rows(outcome: ProjectOutcome) -> list[dict[str, str | int]]:
    """Return the rows of a project in the table."""

    def row(*cells: int | str) -> dict[str, str | int]:
        columns = ("project", "what", "before", "after", "examples")
        return dict(zip(columns, (outcome.project_id, *cells), strict=True))

    if outcome.error:
        return [row("failed", "", "", outcome.error)]
    if not outcome.is_compared:
        why = "a Brain service does not list what it has: everything was sent again"
        return [row("not compared", "", "", f"{why} ({outcome.upserted} items)")]
    rows = [
        row(
            _CELL[Kind(kind)],
            outcome.before.get(kind, 0),
            outcome.after.get(kind, 0),
            ", ".join(outcome.examples.get(kind, ())),
        )
        for kind in Kind
        if outcome.before.get(kind) or outcome.after.get(kind)
    ]
    if outcome.is_new_model:
        rows.append(row("another embedding model", 1, 0, "everything was indexed anew"))
    refused = [f"{item_id} ({code})" for item_id, code in list(outcome.failed.items())[:EXAMPLES]]
    if refused:
        rows.append(row("refused by the Brain", "", len(outcome.failed), ", ".join(refused)))
    return rows or [row("nothing differs", 0, 0, f"{outcome.in_store} items")]

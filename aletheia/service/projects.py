"""What front ends read of a project: its runs, departments, items, decisions, evaluations, events.

All of it is read from what is stored for other reasons; nothing here has a copy (SPEC §6, Reads).
"""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias

import orjson
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from aletheia.brain.wire import ProjectId
from aletheia.documents import Document, Documents
from aletheia.events.log import EventLog
from aletheia.gather.run_records import RUNS
from aletheia.items.content import SavedItem, read_document
from aletheia.items.decisions import DECISIONS
from aletheia.quality.evaluation_store import EVALUATIONS
from aletheia.service.paging import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Cursor,
    Limit,
    Order,
    Page,
    Place,
    read_cursor,
    read_page,
)
from aletheia.service.parts import Part
from aletheia.service.ports import OpenContent
from aletheia.service.project_state import (
    DepartmentState,
    ProjectState,
    RunState,
    read_run_state,
    read_state,
)
from aletheia.service.refusals import NOT_FOUND_MEANING, ServiceError, describe_refusals
from aletheia.service.roles import READERS
from aletheia.service.token_routes import TokenRoutes
from aletheia.store.clock import microseconds, moment

MAX_SEQ: Final = 10**15

RunId: TypeAlias = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9_-]{1,100}$", description="Id of the run.")
]
Department: TypeAlias = Annotated[
    str | None, Query(max_length=200, description="Slug of a department; without one: of all.")
]


class RunsPage(Page):
    """Gather runs, newest first."""

    runs: list[RunState] = Field(description="The runs.")


class Departments(BaseModel):
    """The departments of a project's newest run, in their order."""

    run_id: str | None = Field(description="The run; null before the first.")
    departments: list[DepartmentState] = Field(description="The departments.")


class ItemRow(BaseModel):
    """A document of the project's collection, whoever wrote it."""

    id: str = Field(description="Its id.")
    content: str = Field(description="Its text.")
    summary: str = Field(description="Its point in one sentence; empty where it has none.")
    context: str = Field(description="What it is for; empty where it says nothing.")
    user_id: str | None = Field(description="Whose it is.")
    created_at: datetime | None = Field(description="When it was saved, in UTC.")
    department: str | None = Field(description="Slug of the department it was made for.")
    run_id: str | None = Field(description="The run that made it; null if no run of ours did.")
    iteration: int | None = Field(description="The iteration that made it.")
    model: str | None = Field(description="The model that wrote it.")
    mock: bool = Field(description="Whether the mock made it up.")


class ItemsPage(Page):
    """Items, by id."""

    items: list[ItemRow] = Field(description="The items.")


class DecisionRow(BaseModel):
    """What was decided about an item of a batch."""

    id: str = Field(description="Its id, to undo it by.")
    run_id: str = Field(description="The run whose batch it was.")
    department: str = Field(description="Slug of the department.")
    department_name: str = Field(description="Name of the department.")
    iteration: int = Field(description="The iteration, from 1 in its department.")
    at: datetime = Field(description="When it was decided, in UTC.")
    is_kept: bool = Field(description="Whether the item was kept.")
    tier: str = Field(description="What decided.")
    score: float | None = Field(description="Calibrated similarity of the two, 0 to 1.")
    cosine: float | None = Field(description="The raw one, -1 to 1.")
    model: str = Field(description="The embedding model.")
    judge: str = Field(description="The model that judged the pair; empty if none did.")
    reason: str = Field(description="Why, in a sentence.")
    item_id: str = Field(description="The item.")
    content: str | None = Field(description="Text of what was dropped; null if it was kept.")
    match_id: str | None = Field(description="The item that it repeats, or the nearest one.")
    undone_by: str | None = Field(description="Who undid it; null if nobody did.")
    undone_at: datetime | None = Field(description="When it was undone, in UTC.")


class DecisionsPage(Page):
    """Decisions about duplicates, newest first."""

    decisions: list[DecisionRow] = Field(description="The decisions.")


class EvaluationRow(BaseModel):
    """The evaluation of a version of a department."""

    id: str = Field(description="Its id.")
    department: str = Field(description="Slug of the department.")
    department_name: str = Field(description="Name of the department.")
    department_number: int | None = Field(description="Its place in the order of departments.")
    version: str = Field(description="Of its items: a hash of their sorted ids.")
    items: int = Field(description="How many items it was.")
    score: float = Field(description="Its quality, 0 to 100.")
    threshold: float = Field(description="Quality at which it is done, 0 to 100.")
    attempt: int = Field(description="From 1; each forced evaluation is one more.")
    auto: bool = Field(description="Whether a gather run asked.")
    user_id: str = Field(description="Who asked.")
    evaluated_at: datetime = Field(description="When, in UTC.")
    mock: bool = Field(description="Whether the mock judged.")
    details: dict[str, Any] = Field(
        description="The four parts with their evidence, findings, suggestions and faults."
    )


class EvaluationsPage(Page):
    """Evaluations, newest first."""

    evaluations: list[EvaluationRow] = Field(description="The evaluations.")


class EventsPage(BaseModel):
    """Events of a project, in the order of their numbers."""

    events: list[dict[str, Any]] = Field(
        description="The events as every receiver gets them, each with `seq` and `timestamp`."
    )
    next_after: int = Field(description="What to send as `after` for the next page.")
    purged_through: int = Field(
        description="Number up to which events are not kept any more; 0 if all are."
    )
    is_last: bool = Field(description="Whether nothing follows for now.")


_PREFIX: Final = "/api/v1/projects/{project_id}"
_NOT_FOUND: Final = describe_refusals(NOT_FOUND_MEANING)
_ROW_NAMES: Final = frozenset({*EvaluationRow.model_fields, "_id", "project_id", "details"})


def make_projects_router(
    routes: TokenRoutes, store: Part[Documents], open_content: OpenContent
) -> APIRouter:
    """Build the routes that projects are read by."""
    router = routes.make_router("projects", READERS)
    _add_run_routes(router, store)
    _add_item_routes(router, store, open_content)
    _add_log_routes(router, store)
    return router


def _add_run_routes(router: APIRouter, store: Part[Documents]) -> None:
    """Add what is known of runs."""

    @router.get(_PREFIX, responses=_NOT_FOUND)
    async def read_project(project_id: ProjectId) -> ProjectState:
        """Return a project as it is: its newest run, how far that is, its last event."""
        return await _read_known(await store.get(), project_id)

    @router.get(f"{_PREFIX}/runs")
    async def list_runs(
        project_id: ProjectId, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> RunsPage:
        """Return the gather runs of a project, newest first."""
        documents = await store.get()
        where, order = {"project_id": project_id}, Order("opened_at")
        found, following = await read_page(
            documents, RUNS, where, order, limit=limit, cursor=cursor
        )
        runs = [await read_run_state(documents, document) for document in found]
        return RunsPage(runs=runs, next_cursor=following)

    @router.get(f"{_PREFIX}/runs/{{run_id}}", responses=_NOT_FOUND)
    async def read_run(project_id: ProjectId, run_id: RunId) -> RunState:
        """Return a gather run of a project."""
        documents = await store.get()
        found = (await documents.get(RUNS, [run_id])).get(run_id)
        if found is None or found["project_id"] != project_id:
            raise _not_found("the project has no such run")
        return await read_run_state(documents, found)

    @router.get(f"{_PREFIX}/departments", responses=_NOT_FOUND)
    async def list_departments(project_id: ProjectId) -> Departments:
        """Return the departments of a project's newest run, and how far each is."""
        run = (await _read_known(await store.get(), project_id)).run
        if run is None:
            return Departments(run_id=None, departments=[])
        return Departments(run_id=run.run_id, departments=run.departments)


def _add_item_routes(router: APIRouter, store: Part[Documents], open_content: OpenContent) -> None:
    """Add what was made, and what was dropped."""

    @router.get(f"{_PREFIX}/items", responses=_NOT_FOUND)
    async def list_items(
        project_id: ProjectId,
        department: Department = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> ItemsPage:
        """Return the items of a project, or of a department, by id; foreign ones among them."""
        after = "" if cursor is None else read_cursor(cursor).id
        # Opening the items of a project that nobody has made would make it.
        await _read_known(await store.get(), project_id)
        async with open_content(project_id) as content:
            ids = await content.list_page(after, limit + 1, department=department)
            items = await content.read_items(ids[:limit])
        is_last = len(ids) <= limit
        return ItemsPage(
            items=[_to_item_row(items[item_id]) for item_id in ids[:limit] if item_id in items],
            next_cursor=None if is_last else Place("", ids[limit - 1]).write(),
        )

    @router.get(f"{_PREFIX}/decisions")
    async def list_decisions(
        project_id: ProjectId,
        is_kept: Annotated[
            bool, Query(description="Those about kept items, in place of dropped ones.")
        ] = False,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> DecisionsPage:
        """Return what was dropped as a duplicate of what, or what was kept, newest first."""
        where: dict[str, Any] = {"project_id": project_id, "is_kept": is_kept}
        found, following = await read_page(
            await store.get(),
            DECISIONS,
            where,
            Order("order"),
            limit=limit,
            cursor=cursor,
            with_payload=True,
        )
        return DecisionsPage(decisions=list(map(_to_decision, found)), next_cursor=following)


def _add_log_routes(router: APIRouter, store: Part[Documents]) -> None:
    """Add evaluations and events."""

    @router.get(f"{_PREFIX}/evaluations")
    async def list_evaluations(
        project_id: ProjectId,
        department: Department = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> EvaluationsPage:
        """Return the evaluations of a project, or of a department, newest first."""
        where = {"project_id": project_id}
        where |= {} if department is None else {"department": department}
        found, following = await read_page(
            await store.get(), EVALUATIONS, where, Order("evaluated_at"), limit=limit, cursor=cursor
        )
        rows = list(map(_to_evaluation, found))
        return EvaluationsPage(evaluations=rows, next_cursor=following)

    @router.get(f"{_PREFIX}/events")
    async def list_events(
        project_id: ProjectId,
        after: Annotated[
            int, Query(ge=0, le=MAX_SEQ, description="Number of the last event that is known.")
        ] = 0,
        limit: Annotated[
            int, Query(ge=1, le=MAX_LIMIT, description="Events of the page, at most.")
        ] = MAX_LIMIT,
    ) -> EventsPage:
        """Return the events of a project that are kept, after a number."""
        events = EventLog(await store.get())
        found = await events.read(project_id, after=after, limit=limit)
        return EventsPage(
            events=[orjson.loads(event.body) for event in found],
            next_after=found[-1].seq if found else after,
            purged_through=await events.purged_through(project_id),
            is_last=len(found) < limit,
        )


async def _read_known(documents: Documents, project_id: str) -> ProjectState:
    """Return the state of a project that had a run or an event, or raise 404."""
    state = await read_state(documents, project_id)
    if state.run is None and not state.last_seq:
        raise _not_found("no run of this project is known")
    return state


def _to_item_row(item: SavedItem) -> ItemRow:
    made = item.automation
    return ItemRow(
        id=item.id,
        content=item.content,
        summary=item.summary,
        context=item.context,
        user_id=item.user_id,
        created_at=item.created_at,
        department=item.department,
        run_id=None if made is None else made.run_id,
        iteration=None if made is None else made.iteration,
        model=None if made is None else str(made.model),
        mock=made is not None and bool(made.mock),
    )


def _to_decision(found: Document) -> DecisionRow:
    content = None
    if found.get("payload") is not None:
        item = read_document(found["item_id"], orjson.loads(found["payload"]))
        content = None if item is None else item.content
    values: Mapping[str, Any] = {
        **{name: found.get(name) for name in DecisionRow.model_fields},
        "id": found["short"],
        "at": _moment(found["at"]),
        "undone_at": None if found["undone_at"] is None else _moment(found["undone_at"]),
        "content": content,
    }
    return DecisionRow(**values)


def _to_evaluation(found: Document) -> EvaluationRow:
    details = {name: value for name, value in found.items() if name not in _ROW_NAMES}
    values = {name: found.get(name) for name in EvaluationRow.model_fields}
    return EvaluationRow.model_validate(values | {"id": found["_id"], "details": details})


def _moment(at_s: float) -> datetime:
    return moment(microseconds(at_s))


def _not_found(message: str) -> ServiceError:
    return ServiceError(HTTPStatus.NOT_FOUND, "not_found", message)

"""Tasks: pushed to us by a key, and read by their id (SPEC §1, Tasks pushed to us; §6, Reads)."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Body, Path, Request, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

from aletheia.documents import Documents
from aletheia.errors import InvalidTask
from aletheia.intake.ledger import Ledger
from aletheia.intake.pushed import PushedState, PushedTasks, describe_report, read_pushed
from aletheia.intake.trace import Trace, hide_params, read_traces
from aletheia.service.guarding import KeyOrElse, LateKey, Slots, guarded_by
from aletheia.service.parts import Part
from aletheia.service.ports import CheckCallback
from aletheia.service.refusals import (
    BODY_MEANINGS,
    MEANINGS,
    NOT_FOUND_MEANING,
    ServiceError,
    describe_refusals,
)
from aletheia.service.roles import READERS
from aletheia.service.token_routes import TokenRoutes
from aletheia.settings import IntakeSettings

MAX_TASK_ID_CHARS: Final = 500
BODY_BYTES: Final = 16 * 2**20

_OWNER: Final = "the service"
_KEY_SCHEME: Final = HTTPBearer(
    auto_error=False, scheme_name="tasks key", description="The key of tasks, `TASKS_API_KEY`."
)
_MEANINGS: Final = {
    HTTPStatus.UNAUTHORIZED: MEANINGS[HTTPStatus.UNAUTHORIZED],
    HTTPStatus.CONFLICT: "`id_reused`: an id was pushed before, with other content.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "`no_tasks`, `too_many_tasks`, `invalid_task`, `invalid_id`, "
    "`duplicate_id`, `task_too_large`, `invalid_input`, `invalid_callback_url`, "
    "`invalid_webhook_url` or `invalid_request`; nothing of the request was taken.",
    HTTPStatus.INTERNAL_SERVER_ERROR: MEANINGS[HTTPStatus.INTERNAL_SERVER_ERROR],
    HTTPStatus.BAD_GATEWAY: MEANINGS[HTTPStatus.BAD_GATEWAY],
    HTTPStatus.SERVICE_UNAVAILABLE: "`no_key_configured`, `too_busy`, or `unavailable`. Try again "
    "after `Retry-After`.",
}

TaskId: TypeAlias = Annotated[
    str,
    Path(
        pattern=rf"^[^\x00-\x1f\x7f]{{1,{MAX_TASK_ID_CHARS}}}$",
        description="Id of the task, as the upstream lists it.",
    ),
]


class TraceMoment(BaseModel):
    """A moment in the life of a task."""

    at: datetime = Field(description="When, in UTC.")
    what: str = Field(description="What happened.")


class TaskCall(BaseModel):
    """A call to a model that was made for a task, perhaps for others together with it."""

    at: datetime = Field(description="When it was sent, in UTC.")
    provider: str = Field(description="Who was called.")
    model: str = Field(description="The model.")
    kind: str = Field(description="`embedding` or `chat`.")
    state: str = Field(
        description="`settled`; `reserved` while it is under way, or if it was lost; `released` if "
        "it surely cost nothing."
    )
    tokens_in: int = Field(description="Tokens that the model read; their estimate until settled.")
    tokens_out: int = Field(description="Tokens that it wrote, likewise.")
    usd: str = Field(description="Estimated cost, USD, as a decimal number.")
    tasks: int = Field(description="How many tasks were computed together, this one among them.")


class TaskTrace(BaseModel):
    """What the ledger knows of one content that a task's id had."""

    task_id: str = Field(description="Id of the task.")
    state: str = Field(description="State of its row in the ledger.")
    events: list[TraceMoment] = Field(description="What happened, oldest first.")
    calls: list[TaskCall] = Field(description="Calls to models, oldest first.")
    facts: dict[str, Any] = Field(
        description="What else is known: attempts, owner, report, usage, error; never the content."
    )


class PushedTaskStatus(BaseModel):
    """The status of a pushed task."""

    id: str = Field(description="Id of the task.")
    state: PushedState = Field(description="`succeeded` and `failed` are final until a replay.")
    attempts: int = Field(description="Computations that failed so far.")
    result: Any = Field(description="Its result; null where there is none, or none any more.")
    usage: Any = Field(description="What it used, such as tokens; null where nothing is known.")
    error: Any = Field(description="Code, message and retryable of a failure; null without one.")


class TaskTraces(BaseModel):
    """Everything that is known of one task; of a pushed one its status and its result, too."""

    traces: list[TaskTrace] = Field(description="One for each content it had, oldest first.")
    pushed: PushedTaskStatus | None = Field(
        default=None, description="Of the task of this id that was pushed; null if none was."
    )


class AcceptedTask(BaseModel):
    """A task that was taken."""

    id: str = Field(description="Its id, by which it is read.")
    is_new: bool = Field(description="False where it was pushed before.")


class AcceptedTasks(BaseModel):
    """The tasks of a request, in its order."""

    tasks: list[AcceptedTask] = Field(description="The tasks.")


def make_push_router(
    key: LateKey,
    slots: Slots,
    store: Part[Documents],
    check_callback: Part[CheckCallback],
    intake: IntakeSettings,
) -> APIRouter:
    """Build the route that tasks are pushed by."""
    router = APIRouter(
        tags=["tasks"],
        route_class=guarded_by(key, slots=slots, max_body_bytes=BODY_BYTES),
        dependencies=[Security(_KEY_SCHEME)],
        responses=describe_refusals({**BODY_MEANINGS, **_MEANINGS}),
        strict_content_type=False,
    )

    @router.post("/api/v1/tasks", status_code=HTTPStatus.ACCEPTED)
    async def push_tasks(
        body: Annotated[
            dict[str, Any] | list[dict[str, Any]],
            Body(
                description="A task in any dialect, a list of tasks, or an object with a list as "
                "`tasks`; each may have a `callback_url`, to which its report is posted, signed as "
                "the webhooks of gather runs are."
            ),
        ],
    ) -> AcceptedTasks:
        """Take tasks; an id that was pushed before is the same task, and is not done twice."""
        entries = read_pushed(body, max_entry_bytes=intake.max_entry_bytes)
        if addresses := [entry.callback_url for entry in entries if entry.callback_url]:
            check = await check_callback.get()
            for address in addresses:
                check(address)
        documents = await store.get()
        tasks = PushedTasks(documents, Ledger(documents, intake, owner=_OWNER).rows)
        try:
            pushed = await tasks.push(entries)
        except InvalidTask as reused:
            raise ServiceError(HTTPStatus.CONFLICT, reused.code, reused.message) from None
        return AcceptedTasks(
            tasks=[AcceptedTask(id=task.id, is_new=task.is_new) for task in pushed]
        )

    return router


def make_task_router(
    routes: TokenRoutes, key: LateKey, store: Part[Documents], intake: IntakeSettings
) -> APIRouter:
    """Build the route that a task is read by: readers see all, the key of tasks pushed ones."""
    guard = KeyOrElse(key, routes.make_guard(READERS))
    router = routes.make_router("operations", READERS, guard=guard)
    router.dependencies.append(Security(_KEY_SCHEME))

    @router.get("/api/v1/tasks/{task_id:path}", responses=describe_refusals(NOT_FOUND_MEANING))
    async def read_task(request: Request, task_id: TaskId) -> TaskTraces:
        """Return what is known of a task: claims, attempts, calls to models, report, failure."""
        documents = await store.get()
        rows = Ledger(documents, intake, owner=_OWNER).rows
        pushed = await PushedTasks(documents, rows).find(task_id)
        found = await read_traces(documents, task_id)
        if request.state.is_by_key:
            found = [trace for trace in found if trace.origin == "pushed"]
        if not found:
            message = "the ledger knows no such task"
            raise ServiceError(HTTPStatus.NOT_FOUND, "not_found", message)
        status = pushed and PushedTaskStatus(
            id=pushed.id,
            state=pushed.state,
            attempts=pushed.attempts,
            **describe_report(pushed.report or {}),
        )
        return TaskTraces(traces=list(map(_to_trace, found)), pushed=status)

    return router


def _to_trace(trace: Trace) -> TaskTrace:
    return TaskTrace(
        task_id=trace.task_id,
        state=trace.state,
        events=[TraceMoment(at=event.at, what=event.what) for event in trace.events],
        calls=[TaskCall(**call.model_dump()) for call in trace.calls],
        facts=hide_params(trace.model_dump(mode="json")["facts"]),
    )

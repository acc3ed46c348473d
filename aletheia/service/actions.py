"""What operators do: replay dead letters, pause and resume intake, undo duplicates (SPEC §6)."""

import hashlib
import uuid
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias

import orjson
from fastapi import APIRouter, Header, Path, Request
from pydantic import BaseModel, Field

from aletheia.brain.wire import ProjectId
from aletheia.documents import Documents
from aletheia.intake.ledger import Ledger
from aletheia.items.decisions import DECISIONS, ID_DIGITS, name_document
from aletheia.service.audit import record_action
from aletheia.service.authentication import caller_of
from aletheia.service.parts import Part
from aletheia.service.ports import Orchestrator
from aletheia.service.refusals import NOT_FOUND_MEANING, ServiceError, describe_refusals
from aletheia.service.roles import OPERATORS, READERS, Caller
from aletheia.service.token_routes import TokenRoutes, describe_body
from aletheia.settings import IntakeSettings
from aletheia.store.audit import AUDIT

REPLAY: Final = "replay_dead_letters/replay_dead_letters"
UNDO: Final = "undo_duplicate/undo_duplicate"

MAX_IDS: Final = 100
"""Tasks named in one request: with the longest ids it still fits into a body."""

MAX_REPLAYED: Final = 10_000

_OWNER: Final = "the service"

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]{1,200}$",
        description="A second request with the same one returns the run of the first.",
    ),
]
KEY_REUSED_MEANING: Final = {
    HTTPStatus.CONFLICT: "`idempotency_key_reused`: something else was asked for under this key."
}
TaskIdText: TypeAlias = Annotated[str, Field(min_length=1, max_length=500)]


class ReplayOrder(BaseModel):
    """Which dead letters are sent through once more; by default all of them."""

    ids: list[TaskIdText] | None = Field(
        default=None, max_length=MAX_IDS, description="Ids of tasks; null: of any."
    )
    code: str | None = Field(
        default=None, max_length=100, description="Only those with this code; null: with any."
    )
    limit: int = Field(default=1000, ge=1, le=MAX_REPLAYED, description="Dead letters, at most.")


class StartedRun(BaseModel):
    """A run that was started, or by an earlier request with the same key."""

    run_id: str = Field(description="Id of the flow run.")


class IntakeState(BaseModel):
    """The state of intake as a whole."""

    is_paused: bool = Field(description="Whether shifts claim nothing.")
    paused_lanes: list[str] = Field(
        default_factory=list[str], description="Lanes whose tasks stay where they are."
    )
    paused_types: list[str] = Field(
        default_factory=list[str], description="Task types whose tasks stay where they are."
    )
    tasks: dict[str, int] = Field(description="Tasks in the ledger, by their state.")
    dead_letters: dict[str, int] = Field(description="Dead letters, by their code.")
    leased: int = Field(description="Tasks that somebody works on.")
    expired: int = Field(description="Tasks whose lease has run out.")


class RunStarter:
    """Starts the runs that operators ask for, each recorded before it is started."""

    def __init__(self, store: Part[Documents], orchestrator: Part[Orchestrator]) -> None:
        self._store, self._orchestrator = store, orchestrator

    async def start(
        self, caller: Caller, deployment: str, parameters: dict[str, Any], key: str | None
    ) -> StartedRun:
        """Start a run for a caller; a second start with the caller's key is the same run.

        Raises 409 `idempotency_key_reused`: something else was asked for under this key.
        """
        documents, name = await self._store.get(), name_action(caller, deployment, key)
        if not await record_action(documents, caller, deployment, parameters, id_=name):
            found = (await documents.get(AUDIT, [name])).get(name)
            if found is not None and found["details"] != parameters:
                message = "something else was asked for under this key"
                raise ServiceError(HTTPStatus.CONFLICT, "idempotency_key_reused", message)
        started = await (await self._orchestrator.get()).start(
            deployment, parameters, idempotency_key=f"action:{name}"
        )
        return StartedRun(run_id=started)


def name_action(caller: Caller, deployment: str, key: str | None) -> str:
    """Return the name of what a caller asks for: of two callers or deployments it never is one."""
    parts = orjson.dumps([caller.subject, deployment, key or uuid.uuid4().hex])
    return hashlib.sha256(parts).hexdigest()


def make_actions_router(
    routes: TokenRoutes,
    store: Part[Documents],
    starter: RunStarter,
    intake: IntakeSettings,
) -> APIRouter:
    """Build the routes that operators act by."""
    router = routes.make_router("actions", OPERATORS)
    prefix = "/api/v1/projects/{project_id}"

    async def open_ledger() -> Ledger:
        return Ledger(await store.get(), intake, owner=_OWNER)

    @router.post(
        "/api/v1/dead-letters/replay",
        status_code=HTTPStatus.ACCEPTED,
        responses=describe_body(KEY_REUSED_MEANING),
    )
    async def replay_dead_letters(
        request: Request, order: ReplayOrder, idempotency_key: IdempotencyKey = None
    ) -> StartedRun:
        """Start a run that sends dead letters through once more."""
        return await starter.start(caller_of(request), REPLAY, order.model_dump(), idempotency_key)

    @router.post("/api/v1/intake/pause")
    async def pause_intake(request: Request) -> IntakeState:
        """Claim nothing more; what is claimed is finished, and every shift obeys at its tick."""
        ledger = await open_ledger()
        await record_action(await store.get(), caller_of(request), "intake pause", {})
        await ledger.set_paused(is_paused=True)
        return await _read_intake(ledger)

    @router.post("/api/v1/intake/resume")
    async def resume_intake(request: Request) -> IntakeState:
        """Allow shifts to claim tasks again."""
        ledger = await open_ledger()
        await record_action(await store.get(), caller_of(request), "intake resume", {})
        await ledger.set_paused(is_paused=False)
        return await _read_intake(ledger)

    @router.post(
        f"{prefix}/decisions/{{decision_id}}/undo",
        status_code=HTTPStatus.ACCEPTED,
        responses=describe_refusals(
            {
                **NOT_FOUND_MEANING,
                HTTPStatus.CONFLICT: "`item_was_kept`: its item was not dropped, but saved.",
            }
        ),
    )
    async def undo_duplicate(
        request: Request,
        project_id: ProjectId,
        decision_id: Annotated[
            str,
            Path(pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$", description="Id of the decision."),
        ],
    ) -> StartedRun:
        """Start a run that saves an item that was dropped; the two are distinct from then on."""
        name = name_document(project_id, decision_id)
        found = (await (await store.get()).get(DECISIONS, [name])).get(name)
        if found is None:
            raise ServiceError(HTTPStatus.NOT_FOUND, "not_found", "there is no such decision")
        if found["is_kept"]:
            message = "its item was not dropped, but saved"
            raise ServiceError(HTTPStatus.CONFLICT, "item_was_kept", message)
        caller = caller_of(request)
        wanted = {
            "project_id": project_id,
            "decision_id": decision_id,
            "user_id": caller.subject,
        }
        return await starter.start(caller, UNDO, wanted, None)

    return router


def make_intake_router(
    routes: TokenRoutes, store: Part[Documents], intake: IntakeSettings
) -> APIRouter:
    """Build the route that the state of intake is read by."""
    router = routes.make_router("operations", READERS)

    @router.get("/api/v1/intake")
    async def read_intake() -> IntakeState:
        """Return the state of intake as a whole."""
        return await _read_intake(Ledger(await store.get(), intake, owner=_OWNER))

    return router


async def _read_intake(ledger: Ledger) -> IntakeState:
    status = await ledger.overview()
    return IntakeState(
        is_paused=status.is_paused,
        paused_lanes=list(status.paused_lanes),
        paused_types=list(status.paused_types),
        tasks=dict(status.states),
        dead_letters=dict(status.dead),
        leased=status.held,
        expired=status.expired,
    )

"""Webhooks in: other systems start runs by requests that they sign (SPEC §6, Webhooks in)."""

import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Header, Path, Request, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from aletheia.brain.wire import ProjectId
from aletheia.documents import Documents
from aletheia.errors import AletheiaError
from aletheia.events.signatures import (
    EVENT_ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    WINDOW_S,
    has_form,
    is_signed,
    is_timely,
)
from aletheia.service.actions import IdempotencyKey
from aletheia.service.audit import record_action
from aletheia.service.authentication import caller_of
from aletheia.service.deliveries import Deliveries, Delivery
from aletheia.service.guarding import Slots, guarded_by
from aletheia.service.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from aletheia.service.parts import Part
from aletheia.service.ports import Orchestrator
from aletheia.service.refusal_counts import RefusalCounts
from aletheia.service.refusals import (
    NOT_FOUND_MEANING,
    TOKEN_MEANINGS,
    ServiceError,
    describe_refusals,
)
from aletheia.service.roles import OPERATORS, READERS
from aletheia.service.token_routes import MAX_BODY_BYTES, TokenRoutes, describe_body
from aletheia.store.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)

HOOK_SECRET: Final = "WEBHOOK_IN_SECRET"  # noqa: S105 - the name of a setting
"""The setting that errors point to."""

MAX_ITERATIONS: Final = 1_000_000
MAX_SHIFT_S: Final = 86_400

BODY_TIMEOUT_S: Final = 5.0
"""How long a body may take to arrive: whose it is, is not known before."""

DEPLOYMENTS: Final[Mapping[str, str]] = {
    "poll": "poll_tasks/poll_tasks",
    "gather": "automated_gather_creation/automated_gather_creation",
    "evaluate": "evaluate_department/evaluate_department",
    "reason": "system_reasoning/system_reasoning",
}
"""What each hook starts."""

_SCHEME: Final = APIKeyHeader(
    name=SIGNATURE_HEADER,
    auto_error=False,
    scheme_name="signature",
    description=f"`sha256=` and the hexadecimal HMAC-SHA-256, by WEBHOOK_IN_SECRET, of the value "
    f"of `{TIMESTAMP_HEADER}`, a dot, and the body. That header is Unix time in seconds, at most "
    f"{WINDOW_S} s from the service's.",
)

_MEANINGS: Final = {
    HTTPStatus.UNAUTHORIZED: "`missing_signature`, `stale_signature` or `wrong_signature`.",
    HTTPStatus.CONFLICT: "`idempotency_key_reused`: something else was sent under this key. "
    "`replayed_signature`: the same was sent under another key, or to another hook.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "`invalid_request`, `invalid_project_id`, or "
    "`invalid_parameters`: the deployment does not take these.",
    HTTPStatus.INTERNAL_SERVER_ERROR: TOKEN_MEANINGS[HTTPStatus.INTERNAL_SERVER_ERROR],
    HTTPStatus.BAD_GATEWAY: TOKEN_MEANINGS[HTTPStatus.BAD_GATEWAY],
    HTTPStatus.SERVICE_UNAVAILABLE: "`no_hook_secret_configured`, `too_busy`, or `unavailable`: "
    "what the service depends on is away. Try again after `Retry-After`.",
}

_KEY: Final = re.compile(r"[!-~]{1,200}", re.ASCII)

User: TypeAlias = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]
SenderKey: TypeAlias = Annotated[
    str | None,
    Header(
        pattern=r"^[!-~]{1,200}$",
        description="The sender's id of what is sent: any number of copies starts one run.",
    ),
]


class PollOrder(BaseModel):
    """A shift of the poller."""

    shift_seconds: float | None = Field(
        default=None, ge=0, le=MAX_SHIFT_S, description="Its length; 0 drains once, null: as set."
    )


class GatherOrder(BaseModel):
    """A gather run."""

    project_id: ProjectId
    user_id: User = Field(description="Whose items they will be.")
    max_iterations: int = Field(
        default=50, ge=0, le=MAX_ITERATIONS, description="Of the whole run, at most."
    )
    enable_auto_evaluation: bool = Field(
        default=True, description="Whether departments that reach their threshold are evaluated."
    )
    webhook_url: str | None = Field(
        default=None,
        max_length=2000,
        description="Where its events are sent: an address, or `block:` and the name of a block "
        "that holds it; null: nowhere.",
    )


class EvaluateOrder(BaseModel):
    """The evaluation of a department as it is."""

    project_id: ProjectId
    user_id: User = Field(description="Who asks.")
    department_number: int | None = Field(
        default=None, ge=-(2**31), lt=2**31, description="Its `codeDepNumber`."
    )
    department: str | None = Field(
        default=None, min_length=1, max_length=200, description="Its slug, in place of the number."
    )
    force: bool = Field(default=False, description="Whether what was evaluated is done again.")


class ReasonOrder(BaseModel):
    """A run of system reasoning."""

    shift_seconds: float = Field(
        default=0,
        ge=0,
        le=MAX_SHIFT_S,
        description="Its length; 0 reasons once, since shifts of the schedule wait for it.",
    )


class Accepted(BaseModel):
    """What was sent is kept, and its run is started."""

    delivery_id: str = Field(description="By which it is listed and replayed.")
    run_id: str = Field(description="Id of the flow run.")
    is_copy: bool = Field(description="Whether the same was sent before.")


class DeliveryRow(BaseModel):
    """A webhook that was sent to us."""

    id: str = Field(description="By which it is replayed.")
    hook: str = Field(description="Which hook it was sent to.")
    key: str = Field(description="The sender's id.")
    deployment: str = Field(description="What it starts.")
    received_at: datetime = Field(description="When it came first, in UTC.")
    copies: int = Field(description="How often it came again.")
    run_id: str | None = Field(description="The run that it started; null if none.")
    state: str = Field(description="`received`, `started` or `failed`.")
    code: str = Field(description="Why it could not be started; empty if nothing failed.")
    message: str = Field(description="The same in a sentence.")
    replays: int = Field(description="How often it was started anew.")
    replayed_run_id: str | None = Field(description="The last of those runs; null if none.")


class DeliveriesPage(Page):
    """Deliveries, newest first."""

    deliveries: list[DeliveryRow] = Field(description="The deliveries.")


@dataclass(frozen=True, slots=True)
class HookParts:
    """What the hooks work with."""

    store: Part[Documents]
    orchestrator: Part[Orchestrator]
    secret: Part[str]  # key of the signatures; an empty one refuses everybody
    refusals: RefusalCounts
    slots: Slots


class HookGuard:
    """Lets in who signs the body."""

    def __init__(self, parts: HookParts, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._parts, self._clock = parts, clock

    async def admit(self, request: Request) -> None:
        """Raise `ServiceError` unless what is sent is signed, just now."""
        async with self._parts.refusals.counting(request):
            secret = await self._read_secret()
            timestamp = _header(request, TIMESTAMP_HEADER)
            signature = _header(request, SIGNATURE_HEADER)
            if not is_timely(timestamp, self._clock.unix_s()):
                message = f"{TIMESTAMP_HEADER} is more than {WINDOW_S} s from our clock"
                raise _unauthorized("stale_signature", message)
            # What cannot be a signature is refused before the body, of a stranger, is waited for.
            if not has_form(signature) or not is_signed(
                secret, timestamp, await request.body(), signature
            ):
                raise _unauthorized("wrong_signature", "the signature is not that of the body")

    async def ping(self) -> None:
        """Raise `Misconfigured` if there is no secret."""
        await self._parts.secret.get()

    async def _read_secret(self) -> str:
        try:
            return await self._parts.secret.get()
        except AletheiaError as error:
            log.warning("nobody can send webhooks: %s", error)
            message = f"the service cannot check signatures; {HOOK_SECRET} is their key"
            headers = {"Retry-After": "30"}
            status = HTTPStatus.SERVICE_UNAVAILABLE
            raise ServiceError(status, "no_hook_secret_configured", message, headers) from None


def make_hooks_router(parts: HookParts, guard: HookGuard) -> APIRouter:
    """Build the routes that other systems start runs by."""
    deliveries = share_deliveries(parts)
    router = APIRouter(
        prefix="/hooks",
        tags=["hooks"],
        route_class=guarded_by(
            guard,
            slots=parts.slots,
            max_body_bytes=MAX_BODY_BYTES,
            body_timeout_s=BODY_TIMEOUT_S,
        ),
        dependencies=[Security(_SCHEME)],
        responses=describe_body(_MEANINGS),
        strict_content_type=False,
    )

    async def accept(
        request: Request, hook: str, order: BaseModel, idempotency_key: str | None
    ) -> Accepted:
        # In lower case, whatever it came in: each signature is good for one delivery.
        signature = _header(request, SIGNATURE_HEADER).lower()
        event_id = request.headers.get(EVENT_ID_HEADER, "")
        key = idempotency_key or (event_id if _KEY.fullmatch(event_id) else signature)
        delivery, is_first = await (await deliveries.get()).accept(
            hook, DEPLOYMENTS[hook], order.model_dump(), key=key, signature=signature
        )
        return Accepted(delivery_id=delivery.id, run_id=delivery.run_id or "", is_copy=not is_first)

    @router.post("/poll", status_code=HTTPStatus.ACCEPTED)
    async def start_poll(
        request: Request, order: PollOrder, idempotency_key: SenderKey = None
    ) -> Accepted:
        """Start a shift of the poller."""
        return await accept(request, "poll", order, idempotency_key)

    @router.post("/gather", status_code=HTTPStatus.ACCEPTED)
    async def start_gather(
        request: Request, order: GatherOrder, idempotency_key: SenderKey = None
    ) -> Accepted:
        """Start a gather run of a project."""
        return await accept(request, "gather", order, idempotency_key)

    @router.post("/evaluate", status_code=HTTPStatus.ACCEPTED)
    async def start_evaluation(
        request: Request, order: EvaluateOrder, idempotency_key: SenderKey = None
    ) -> Accepted:
        """Start the evaluation of a department."""
        return await accept(request, "evaluate", order, idempotency_key)

    @router.post("/reason", status_code=HTTPStatus.ACCEPTED)
    async def start_reasoning(
        request: Request, order: ReasonOrder, idempotency_key: SenderKey = None
    ) -> Accepted:
        """Start a run of system reasoning."""
        return await accept(request, "reason", order, idempotency_key)

    return router


def make_deliveries_routers(routes: TokenRoutes, parts: HookParts) -> list[APIRouter]:
    """Build the routes that deliveries are listed and replayed by."""
    deliveries = share_deliveries(parts)
    reading = routes.make_router("hooks", READERS)
    acting = routes.make_router("hooks", OPERATORS)

    @reading.get("/api/v1/hooks/deliveries")
    async def list_deliveries(
        limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> DeliveriesPage:
        """Return what was sent to the hooks, newest first; bodies are not shown."""
        found, following = await (await deliveries.get()).newest(limit=limit, cursor=cursor)
        return DeliveriesPage(deliveries=list(map(_to_row, found)), next_cursor=following)

    @acting.post(
        "/api/v1/hooks/deliveries/{delivery_id}/replay",
        status_code=HTTPStatus.ACCEPTED,
        responses=describe_refusals(NOT_FOUND_MEANING),
    )
    async def replay_delivery(
        request: Request,
        delivery_id: Annotated[
            str, Path(pattern=r"^[a-z]{1,20}-[0-9a-f]{24}$", description="Id of the delivery.")
        ],
        idempotency_key: IdempotencyKey = None,
    ) -> DeliveryRow:
        """Start what was sent anew, by a run of its own; what never started, by its first one."""
        caller, details = caller_of(request), {"delivery": delivery_id}
        await record_action(await parts.store.get(), caller, "hook replay", details)
        # Keys of two callers never meet: no key has a line break.
        key = f"{idempotency_key or uuid.uuid4().hex}\n{caller.subject}"
        return _to_row(await (await deliveries.get()).replay(delivery_id, key=key))

    return [reading, acting]


def share_deliveries(parts: HookParts) -> Part[Deliveries]:
    """Return the deliveries, opened when they are first needed."""

    async def open_deliveries() -> Deliveries:
        found = Deliveries(await parts.store.get(), parts.orchestrator)
        await found.prepare()
        return found

    return Part(open_deliveries)


def _to_row(delivery: Delivery) -> DeliveryRow:
    values: dict[str, Any] = asdict(delivery)
    return DeliveryRow(**values)


def _header(connection: HTTPConnection, name: str) -> str:
    """Return a header that has to be there once."""
    given = connection.headers.getlist(name)
    if len(given) != 1 or not given[0].strip():
        message = f"send {TIMESTAMP_HEADER} and {SIGNATURE_HEADER}, once each"
        raise _unauthorized("missing_signature", message)
    return given[0].strip()


def _unauthorized(code: str, message: str) -> ServiceError:
    return ServiceError(HTTPStatus.UNAUTHORIZED, code, message)

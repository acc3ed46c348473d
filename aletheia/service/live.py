"""Events of gather runs as they happen: a WebSocket, and server-sent events (SPEC §6, Live)."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Collection
from http import HTTPStatus
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Header, Query, Request, Security
from pydantic import BaseModel, Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from aletheia.brain.wire import ProjectId
from aletheia.documents import Documents
from aletheia.errors import AletheiaError
from aletheia.service.authentication import Authenticator, caller_of
from aletheia.service.connections import FAREWELL
from aletheia.service.feeds import Feeds, Frame
from aletheia.service.guarding import guarded_by
from aletheia.service.parts import Part
from aletheia.service.refusals import (
    AWAY,
    TOKEN_MEANINGS,
    ServiceError,
    answer_refusal,
    describe_refusals,
)
from aletheia.service.roles import READERS, Caller
from aletheia.service.sockets import LiveGuard, Sockets, SocketSession
from aletheia.service.tickets import MAX_TICKET_CHARS, VALID_FOR_S, Tickets
from aletheia.service.token_routes import TOKEN_SCHEME, TokenRoutes
from aletheia.store.clock import SYSTEM_CLOCK
from aletheia.store.project_id import check_project_id

log = logging.getLogger(__name__)

MAX_SEQ: Final = 10**15
"""Largest number of an event that is taken."""

MAX_DIGITS: Final = len(str(MAX_SEQ))

PING_EVERY_S: Final = 15
"""From one comment to the next in a stream of events, so that nobody between closes it."""

NO_SOCKET: Final = 4400
"""Close code where the server cannot answer with a status."""

_SLOW: Final = b'data: {"type":"too_slow"}\n\n'
_EXPIRED: Final = '{"type":"expired"}'

_TICKET_MEANING: Final = {
    HTTPStatus.TOO_MANY_REQUESTS: "`too_many_tickets`: many of the caller's are good and not used."
}
_LIVE_MEANINGS: Final = {
    **TOKEN_MEANINGS,
    HTTPStatus.UNAUTHORIZED: f"{TOKEN_MEANINGS[HTTPStatus.UNAUTHORIZED]} Or `invalid_ticket`.",
    HTTPStatus.FORBIDDEN: f"{TOKEN_MEANINGS[HTTPStatus.FORBIDDEN]} Or `origin_not_allowed`.",
    HTTPStatus.SERVICE_UNAVAILABLE: f"{TOKEN_MEANINGS[HTTPStatus.SERVICE_UNAVAILABLE]} Or "
    "`too_many_sockets`.",
}


class IssuedTicket(BaseModel):
    """A ticket for one socket or stream."""

    ticket: str = Field(description="To be sent as `?ticket=`, once.")
    expires_in_s: int = Field(description="How long it is good, seconds.")


class LiveResponse(EventSourceResponse):
    """A stream of events that counts as a socket, and whose source is closed with it."""

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[ServerSentEvent], sockets: Sockets, caller: Caller
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - typed in part
            events, ping=PING_EVERY_S
        )
        self._events, self._sockets, self._caller = events, sockets, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the client is gone, or the token has expired."""
        with self._sockets.holding(self._caller):
            try:
                await super().__call__(scope, receive, send)
            finally:
                await self._events.aclose()


def make_ticket_router(routes: TokenRoutes, store: Part[Documents]) -> APIRouter:
    """Build the route that makes tickets."""
    router = routes.make_router("live", READERS)

    @router.post(
        "/api/v1/ws-ticket",
        status_code=HTTPStatus.CREATED,
        responses=describe_refusals(_TICKET_MEANING),
    )
    async def issue_ticket(request: Request) -> IssuedTicket:
        """Return a ticket that opens one socket or stream, as it stands for the caller's token."""
        ticket = await Tickets(await store.get()).issue(caller_of(request))
        return IssuedTicket(ticket=ticket, expires_in_s=round(VALID_FOR_S))

    return router


def make_live_router(
    authenticator: Authenticator,
    store: Part[Documents],
    *,
    origins: Collection[str] = (),
    max_sockets: int,
) -> APIRouter:
    """Build the routes that events of projects are followed by."""
    guard, sockets = LiveGuard(authenticator, store, origins), Sockets(max_sockets)

    async def open_feeds() -> Feeds:
        return Feeds(await store.get())

    feeds = Part(open_feeds)
    router = APIRouter(tags=["live"], route_class=guarded_by(guard, roles=READERS))

    @router.get(
        "/events/automated-gather/{project_id}",
        status_code=HTTPStatus.OK,
        response_class=LiveResponse,
        dependencies=[Security(TOKEN_SCHEME)],
        responses=describe_refusals(_LIVE_MEANINGS),
    )
    async def follow_events(
        request: Request,
        project_id: ProjectId,
        from_seq: Annotated[
            int, Query(ge=1, le=MAX_SEQ, description="Number of the first event that is sent.")
        ] = 1,
        last_event_id: Annotated[
            int | None,
            Header(ge=0, le=MAX_SEQ, description="Number of the last event that was received."),
        ] = None,
        ticket: Annotated[
            str | None, Query(max_length=MAX_TICKET_CHARS, description="In place of a token.")
        ] = None,
    ) -> LiveResponse:
        """Send the events of a project that are kept, from a number on, then each as it happens.

        The id of each is its number. A frame of type `gap` says which events are not kept any
        more, with the project's state as it is; `expired` that the token has expired, and
        `too_slow` that the client did not read. The stream ends after the last two.
        """
        del ticket  # the guard's business
        caller = caller_of(request)
        sockets.check(caller)
        followed = await feeds.get()
        followed.check_capacity(project_id, caller.subject)
        setattr(request.state, FAREWELL, _SLOW)
        after = from_seq - 1 if last_event_id is None else last_event_id
        return LiveResponse(_stream(followed, project_id, after, caller), sockets, caller)

    @router.websocket("/ws/automated-gather/{project_id}")
    async def follow_socket(websocket: WebSocket, project_id: str) -> None:
        async with contextlib.AsyncExitStack() as held:
            try:
                await guard.admit(websocket)
                caller, after = caller_of(websocket), _read_start(websocket, project_id)
                followed, tickets = await feeds.get(), Tickets(await store.get())
                sockets.check(caller)
                held.enter_context(sockets.holding(caller))
                frames = await held.enter_async_context(
                    followed.following(project_id, after=after, subject=caller.subject)
                )
            except (ServiceError, AletheiaError) as refusal:
                await _deny(websocket, refusal)
                return
            await websocket.accept()
            await SocketSession(websocket, caller, tickets).run(frames)

    return router


async def _stream(
    feeds: Feeds, project_id: str, after: int, caller: Caller
) -> AsyncGenerator[ServerSentEvent]:
    try:
        async with feeds.following(project_id, after=after, subject=caller.subject) as frames:
            while (frame := await _next_before(frames, caller.expires_at)) is not None:
                yield ServerSentEvent(data=frame.body.decode(), id=str(frame.seq), sep="\n")
    except ServiceError as refusal:
        # The last place was taken while the stream began; who comes back is told so by a status.
        log.info("a stream of %s ends: %s", project_id, refusal.detail)
        return
    yield ServerSentEvent(data=_EXPIRED, sep="\n")


async def _next_before(frames: AsyncGenerator[Frame], expires_at: float) -> Frame | None:
    """Return the next frame; `None` if there is none by then, Unix time, seconds."""
    left_s = expires_at - SYSTEM_CLOCK.unix_s()
    if left_s <= 0:
        return None
    try:
        async with asyncio.timeout(left_s):
            return await anext(frames)
    except TimeoutError:
        return None


def _read_start(websocket: WebSocket, project_id: str) -> int:
    """Return the number after which a socket begins, once project and number are checked."""
    check_project_id(project_id)
    given = websocket.query_params.get("from_seq", "1")
    is_number = len(given) <= MAX_DIGITS and given.isascii() and given.isdecimal()
    if not is_number or not 1 <= int(given) <= MAX_SEQ:
        message = f"from_seq is the number of an event, from 1 to {MAX_SEQ:,}"
        raise ServiceError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", message)
    return int(given) - 1


async def _deny(websocket: WebSocket, refusal: ServiceError | AletheiaError) -> None:
    """Answer the request for a socket with a refusal, as any other request."""
    if isinstance(refusal, AletheiaError):
        log.warning("nothing of %s can be followed: %s", websocket.url.path, refusal)
        is_ours = refusal.code == "invalid_project_id"
        status = HTTPStatus.UNPROCESSABLE_ENTITY if is_ours else HTTPStatus.SERVICE_UNAVAILABLE
        message = str(refusal) if is_ours else AWAY
        refusal = ServiceError(status, refusal.code, message)
    if "websocket.http.response" in cast("dict[str, Any]", websocket.scope.get("extensions", {})):
        await websocket.send_denial_response(answer_refusal(refusal))
    else:
        await websocket.close(NO_SOCKET, refusal.code)

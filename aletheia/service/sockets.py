"""Who may hold a socket, and what goes over one until it is closed (SPEC §6, Live)."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import urlsplit

import orjson
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from aletheia.documents import Documents
from aletheia.errors import AletheiaError
from aletheia.service.authentication import Authenticator, check_roles
from aletheia.service.connections import MAX_MESSAGE_BYTES
from aletheia.service.feeds import Frame
from aletheia.service.parts import Part
from aletheia.service.refusals import ServiceError
from aletheia.service.roles import READERS, Caller
from aletheia.service.tickets import Tickets
from aletheia.store.clock import SYSTEM_CLOCK, microseconds, moment

log = logging.getLogger(__name__)

NO_LONGER_AUTHORIZED: Final = 4401
"""Close code of a socket whose token has expired, or was to be replaced by one that is no good."""

UNEXPECTED: Final = 1008
FAULT: Final = 1011
"""Close codes of https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1."""

MAX_UNEXPECTED: Final = 100
"""Messages of a client that mean nothing, until it is closed."""

RENEW_EVERY_S: Final = 1.0
"""From one ticket that a socket takes to the next, seconds: each is asked of the store."""

_CHECK_EVERY_S: Final = 60.0


class LiveGuard:
    """Lets in who has a token, or a ticket in `?ticket=`, from a page that may call the service."""

    def __init__(
        self, authenticator: Authenticator, store: Part[Documents], origins: Collection[str]
    ) -> None:
        self._authenticator, self._store = authenticator, store
        self._origins = frozenset(origins)

    async def admit(self, connection: HTTPConnection) -> None:
        """Raise `ServiceError` unless the caller may; note it in the connection's state.

        Beside what `Authenticator.identify` raises: 403 `origin_not_allowed`, `forbidden`;
        401 `invalid_ticket`.
        """
        async with self._authenticator.refusals.counting(connection):
            check_origin(connection, self._origins)
            ticket = connection.query_params.get("ticket")
            if ticket is None:
                caller = await self._authenticator.identify(connection.headers)
            else:
                caller = await self._take(ticket)
            check_roles(caller, READERS)
        connection.state.caller = caller

    async def _take(self, ticket: str) -> Caller:
        caller = await Tickets(await self._store.get()).take(ticket)
        if caller is None:
            message = "the ticket is not good, or not any more; each is good once"
            raise ServiceError(HTTPStatus.UNAUTHORIZED, "invalid_ticket", message)
        return caller


def check_origin(connection: HTTPConnection, allowed: Collection[str]) -> None:
    """Raise 403 unless a page that calls is of the service's own host, or of an allowed origin.

    Programs send no origin, and are no page that somebody could be lured to.
    """
    origin = connection.headers.get("origin")
    if origin is None or origin in allowed:
        return
    try:
        is_own = urlsplit(origin).netloc == connection.headers.get("host", "")
    except ValueError:
        is_own = False
    if not is_own or not origin.startswith(("http://", "https://")):
        message = "pages of this origin may not call; SERVICE_ALLOWED_ORIGINS names those that may"
        raise ServiceError(HTTPStatus.FORBIDDEN, "origin_not_allowed", message)


class Sockets:
    """How many sockets and streams are open, in all and of each caller."""

    def __init__(self, max_sockets: int) -> None:
        self._max, self._open = max_sockets, Counter[str]()

    def check(self, caller: Caller) -> None:
        """Raise 503 `too_many_sockets` unless a caller may open another one."""
        is_full = self._open.total() >= self._max
        if is_full or self._open[caller.subject] >= self._max // 2:
            message = "there are too many sockets; close some, and try again"
            headers = {"Retry-After": "10"}
            raise ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "too_many_sockets", message, headers)

    @contextmanager
    def holding(self, caller: Caller) -> Generator[None]:
        """Count a socket for the time of the block."""
        self._open[caller.subject] += 1
        try:
            yield
        finally:
            self._open[caller.subject] -= 1
            if not self._open[caller.subject]:
                del self._open[caller.subject]


class SocketSession:
    """One WebSocket: frames out, new tickets in, until one side ends it or the token expires."""

    def __init__(self, websocket: WebSocket, caller: Caller, tickets: Tickets) -> None:
        self._websocket, self._caller, self._tickets = websocket, caller, tickets

    async def run(self, frames: AsyncGenerator[Frame]) -> None:
        """Send frames until the socket is closed."""
        tasks = [
            asyncio.create_task(self._send(frames)),
            asyncio.create_task(self._receive()),
            asyncio.create_task(self._expire()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = [task for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._close([_code_of(task) for task in ended])

    async def _close(self, codes: Collection[int | None]) -> None:
        if None in codes:
            return  # the client is gone
        try:
            await self._websocket.close(next(iter(codes)) or FAULT)
        except (RuntimeError, WebSocketDisconnect):
            log.debug("a socket was closed on both sides at once")

    async def _send(self, frames: AsyncGenerator[Frame]) -> int | None:
        try:
            async for frame in frames:
                await self._websocket.send_text(frame.body.decode())
        except WebSocketDisconnect:
            return None
        return FAULT

    async def _receive(self) -> int | None:
        """Take new tickets; return when the client is gone, or misbehaves."""
        unexpected = 0
        while unexpected < MAX_UNEXPECTED:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return None
            ticket = read_ticket(message.get("text"))
            if ticket is None:
                unexpected += 1
            elif await self._renew(ticket):
                await asyncio.sleep(RENEW_EVERY_S)
            else:
                return NO_LONGER_AUTHORIZED
        return UNEXPECTED

    async def _renew(self, ticket: str) -> bool:
        """Take a ticket in place of the token; return whether the socket may go on."""
        try:
            caller = await self._tickets.take(ticket)
        except AletheiaError as outage:
            log.warning("a ticket cannot be checked for now: %s", outage)
            await self._say({"type": "renewal_failed"})
            return True  # for as long as what it has is good
        if caller is None or caller.subject != self._caller.subject or not caller.has_any(READERS):
            return False
        self._caller = caller
        until = moment(microseconds(caller.expires_at)).isoformat().replace("+00:00", "Z")
        await self._say({"type": "renewed", "expires_at": until})
        return True

    async def _expire(self) -> int | None:
        """Return when the token has expired and nobody has sent a ticket of a newer one."""
        while (left_s := self._left_s()) > 0:  # noqa: ASYNC110 - a clock that may be set
            await asyncio.sleep(min(left_s, _CHECK_EVERY_S))
        await self._say({"type": "expired"})
        return NO_LONGER_AUTHORIZED

    def _left_s(self) -> float:
        return self._caller.expires_at - SYSTEM_CLOCK.unix_s()

    async def _say(self, words: dict[str, Any]) -> None:
        try:
            await self._websocket.send_text(orjson.dumps(words).decode())
        except WebSocketDisconnect:
            log.debug("a client is gone that was to be told %s", words["type"])


def read_ticket(text: object) -> str | None:
    """Return the ticket in a message `{"ticket": …}`; `None` where it is something else."""
    if not isinstance(text, str) or len(text) > MAX_MESSAGE_BYTES:
        return None
    try:
        message: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    ticket = cast("dict[str, object]", message).get("ticket")
    return ticket if isinstance(ticket, str) else None


def _code_of(task: "asyncio.Task[int | None]") -> int | None:
    """Return the close code that a task ended with."""
    if task.cancelled():
        return None
    if (error := task.exception()) is not None:
        log.error("a socket ends with a fault", exc_info=error)
        return FAULT
    return task.result()

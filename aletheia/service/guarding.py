"""What happens to a request before it is read: who sends it, and how long it may be."""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final, Protocol

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Message

from aletheia.errors import AletheiaError, Misconfigured
from aletheia.service.connections import ADMITTED
from aletheia.service.parts import Part
from aletheia.service.refusal_counts import RefusalCounts
from aletheia.service.refusals import ServiceError

log = logging.getLogger(__name__)

MIN_KEY_BYTES: Final = 32
"""Shortest key that callers are let in with: `openssl rand -hex 32` makes one of 64."""

MAX_BODY_BYTES: Final = 16 * 2**20
"""Longest body that is read: a thousand items with 1,000 numbers each, and more."""

BODY_TIMEOUT_S: Final = 30.0
"""How long a body may take to arrive."""

DISCARD_TIMEOUT_S: Final = 5.0
"""How long the rest of a body is read of a caller that was refused."""

MAX_REQUESTS: Final = 64
"""Requests of callers who were let in that are worked on at once; each may hold such a body."""

MAX_WAITING: Final = 1024
"""Further ones that wait for their turn."""

MAX_WAIT_S: Final = 10.0
"""How long one waits for its turn."""


class Guard(Protocol):
    """Decides who may call a router."""

    async def admit(self, request: Request, /) -> None:
        """Raise `ServiceError` unless the caller may; nothing but headers needs to be read."""
        ...


class Slots:
    """How many requests are worked on at once.

    Only callers who were let in take a slot, and only while they are answered: neither strangers
    nor sockets do, so that `/health` answers whatever they do.
    """

    def __init__(self, slots: int = MAX_REQUESTS, waiting: int = MAX_WAITING) -> None:
        self._slots, self._max_waiting = asyncio.Semaphore(slots), waiting
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncGenerator[None]:
        """Take a slot for the block, or raise 503 `too_busy`."""
        if self._waiting >= self._max_waiting:
            raise _too_busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._slots.acquire()
        except TimeoutError:
            raise _too_busy() from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()


class BearerKey:
    """A key that callers send as `Authorization: Bearer KEY`; an empty one refuses everybody.

    `setting` is where the key comes from, as refusals name it.
    """

    def __init__(self, key: str, setting: str) -> None:
        self._key, self._setting = key.encode(), setting

    def __repr__(self) -> str:
        return f"BearerKey(***, {self._setting!r})"

    async def ping(self) -> None:
        """Raise `Misconfigured` if there is no key, or one that can be guessed."""
        if not self._key:
            raise Misconfigured(self._setting, "is not set, so that nobody may call what needs it")
        if len(self._key) < MIN_KEY_BYTES:
            raise Misconfigured(self._setting, f"has fewer than {MIN_KEY_BYTES} characters")

    async def admit(self, request: Request) -> None:
        """Admit who sends the key; see `check`."""
        self.check(request.headers)

    def check(self, headers: Mapping[str, str]) -> None:
        """Check the key, in a time that does not depend on how much of it is right.

        Raises:
            ServiceError: 503 `no_key_configured`, also where it can be guessed, 401
                `missing_key`, 401 `wrong_key`: a caller with another key is unknown rather than
                forbidden (RFC 6750, §3.1).
        """
        if len(self._key) < MIN_KEY_BYTES:
            wanted = f"set {self._setting} to {MIN_KEY_BYTES} characters or more"
            message = f"the service has no key, so nobody may call it; {wanted}"
            raise ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "no_key_configured", message)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            message = "send the key as `Authorization: Bearer KEY`"
            challenge = {"WWW-Authenticate": "Bearer"}
            raise ServiceError(HTTPStatus.UNAUTHORIZED, "missing_key", message, challenge)
        if not hmac.compare_digest(given.strip().encode(), self._key):
            message = "the key is not the one of this service"
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise ServiceError(HTTPStatus.UNAUTHORIZED, "wrong_key", message, challenge)


class LateKey:
    """A `BearerKey` that is read when somebody calls; while it cannot be read, nobody is let in.

    Where `is_open_without` and there is none, everybody is.
    """

    def __init__(
        self,
        key: Part[str],
        setting: str,
        refusals: RefusalCounts,
        *,
        is_open_without: bool = False,
    ) -> None:
        self._key, self._setting, self._refusals = key, setting, refusals
        self._is_open_without = is_open_without

    async def ping(self) -> None:
        """Raise `Misconfigured` if there is no key, or what reading it ended with."""
        await BearerKey(await self._key.get(), self._setting).ping()

    async def is_sent(self, request: Request) -> bool:
        """Return whether a request has the key; nothing is counted."""
        try:
            BearerKey(await self._key.get(), self._setting).check(request.headers)
        except (AletheiaError, ServiceError):
            return False
        return True

    async def admit(self, request: Request) -> None:
        """Admit who sends the key; see `BearerKey.check`."""
        try:
            key = await self._key.get()
        except AletheiaError as outage:
            log.warning("%s cannot be read: %s", self._setting, outage)
            key = ""
        else:
            if self._is_open_without and not key:
                return
        async with self._refusals.counting(request):
            BearerKey(key, self._setting).check(request.headers)


class KeyOrElse:
    """Lets in who sends a key, marked as `by_key`, and anybody else whom another guard lets in."""

    def __init__(self, key: LateKey, others: Guard) -> None:
        self._key, self._others = key, others

    async def admit(self, request: Request) -> None:
        """Admit who sends the key, or whom the other guard admits."""
        request.state.is_by_key = await self._key.is_sent(request)
        if not request.state.is_by_key:
            await self._others.admit(request)


class GuardedRoute(APIRoute):
    """A route that asks who calls before it reads anything, and reads within bounds."""

    guard: ClassVar[Guard]
    slots: ClassVar[Slots | None] = None
    roles: ClassVar[frozenset[str]] = frozenset()  # who may, for the document; the guard decides
    max_body_bytes: ClassVar[int | None] = None  # `MAX_BODY_BYTES`
    body_timeout_s: ClassVar[float | None] = None  # `BODY_TIMEOUT_S`

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if self.roles:
            extra: dict[str, Any] = options.get("openapi_extra") or {}
            options["openapi_extra"] = {"x-roles": sorted(self.roles), **extra}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Build what handles a request."""
        handle = super().get_route_handler()

        async def guard(request: Request) -> Response:
            bounded = _BoundedRequest(
                request,
                self.max_body_bytes or MAX_BODY_BYTES,
                min(self.body_timeout_s or BODY_TIMEOUT_S, BODY_TIMEOUT_S),
            )
            try:
                await self.guard.admit(bounded)
                setattr(request.state, ADMITTED, True)
                _check_form(request)
                async with self._slot():
                    return await handle(bounded)
            except ServiceError:
                # A caller that is still sending would lose the answer with the connection.
                await bounded.discard()
                raise

        return guard

    def _slot(self) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext() if self.slots is None else self.slots.taken()


def guarded_by(
    guard: Guard,
    *,
    slots: Slots | None = None,
    roles: frozenset[str] = frozenset(),
    max_body_bytes: int | None = None,
    body_timeout_s: float | None = None,
) -> type[GuardedRoute]:
    """Build the `route_class` of a router."""
    values = {
        "guard": guard,
        "slots": slots,
        "roles": frozenset(map(str, roles)),
        "max_body_bytes": max_body_bytes,
        "body_timeout_s": body_timeout_s,
    }
    return type("Guarded", (GuardedRoute,), values)


class _BoundedRequest(Request):
    """A request whose body is read within bounds, as strict JSON."""

    def __init__(self, request: Request, max_bytes: int, timeout_s: float) -> None:
        async def receive_and_note_end() -> Message:
            message = await request.receive()
            self._is_complete = message["type"] != "http.request" or not message.get("more_body")
            return message

        super().__init__(request.scope, receive_and_note_end)
        self._max_bytes, self._timeout_s = max_bytes, timeout_s
        self._is_complete = False
        self._read: bytes | None = None

    async def body(self) -> bytes:
        """Read the body, or raise 413 `body_too_large` or 408 `body_too_slow`."""
        if self._read is not None:
            return self._read
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._max_bytes:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                async for chunk in self.stream():
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise self._too_large()
                    chunks.append(chunk)
        except (TimeoutError, ClientDisconnect):
            message = f"no complete body within {self._timeout_s:g} s"
            raise ServiceError(HTTPStatus.REQUEST_TIMEOUT, "body_too_slow", message) from None
        self._read = b"".join(chunks)
        return self._read

    async def json(self) -> Any:
        """Read the body as JSON, or raise 400 `invalid_json`."""
        try:
            return orjson.loads(await self.body())
        except orjson.JSONDecodeError as error:
            message = f"the body is not JSON: {error}"
            raise ServiceError(HTTPStatus.BAD_REQUEST, "invalid_json", message) from None

    async def discard(self) -> None:
        """Read the rest of the body, within the same bounds, and forget it."""
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._timeout_s, DISCARD_TIMEOUT_S)):
                while not self._is_complete and size <= MAX_BODY_BYTES:
                    size += len((await self.receive()).get("body", b""))

    def _too_large(self) -> ServiceError:
        message = f"a body has at most {self._max_bytes:,} bytes"
        return ServiceError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message)


def _too_busy() -> ServiceError:
    message = "the service has its hands full; try again"
    return ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "too_busy", message, {"Retry-After": "1"})


def _check_form(request: Request) -> None:
    """Raise 415 `unsupported_media_type` unless a body, if any, is JSON and not compressed."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    length = request.headers.get("content-length", "0")
    has_body = length.strip() != "0" or "transfer-encoding" in request.headers
    if has_body and not (is_json and encoding == "identity"):
        message = "send the body as application/json, not compressed"
        raise ServiceError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)

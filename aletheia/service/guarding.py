"""What happens to a request before it is read: who sends it, and how long it may be."""

import asyncio
import contextlib
import hmac
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from aletheia.errors import Misconfigured
from aletheia.service.refusals import ServiceError

MAX_BODY_BYTES: Final = 16 * 2**20
"""Longest body that is read: a thousand items with 1,000 numbers each, and more."""

BODY_TIMEOUT_S: Final = 30.0
"""How long a body may take to arrive."""


class BearerKey:
    """A key that callers send as `Authorization: Bearer KEY`; an empty one refuses everybody.

    `setting` is where the key comes from, as refusals name it.
    """

    def __init__(self, key: str, setting: str) -> None:
        self._key, self._setting = key.encode(), setting

    def __repr__(self) -> str:
        return f"BearerKey(***, {self._setting!r})"

    async def ping(self) -> None:
        """Raise `Misconfigured` if there is no key."""
        if not self._key:
            raise Misconfigured(self._setting, "is not set, so that nobody may call what needs it")

    def check(self, headers: Mapping[str, str]) -> None:
        """Check the key, in a time that does not depend on how much of it is right.

        Raises:
            ServiceError: 503 `no_key_configured`, 401 `missing_key`, 401 `wrong_key`: a caller
                with another key is unknown rather than forbidden (RFC 6750, §3.1).
        """
        if not self._key:
            message = f"the service has no key, so nobody may call it; set {self._setting}"
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


class GuardedRoute(APIRoute):
    """A route that asks who calls before it reads anything, and reads within bounds."""

    key: ClassVar[BearerKey]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Build what handles a request."""
        handle = super().get_route_handler()

        async def guard(request: Request) -> Response:
            bounded = _BoundedRequest(request)
            try:
                self.key.check(request.headers)
                _check_form(request)
                return await handle(bounded)
            except ServiceError:
                # A caller that is still sending would lose the answer with the connection.
                await bounded.discard()
                raise

        return guard


def guarded_by(key: BearerKey) -> type[GuardedRoute]:
    """Build the `route_class` of a router."""
    return type("Guarded", (GuardedRoute,), {"key": key})


class _BoundedRequest(Request):
    """A request whose body is read within bounds, as strict JSON."""

    def __init__(self, request: Request) -> None:
        async def receive_and_note_end() -> Message:
            message = await request.receive()
            self._is_complete = message["type"] != "http.request" or not message.get("more_body")
            return message

        super().__init__(request.scope, receive_and_note_end)
        self._is_complete = False
        self._read: bytes | None = None

    async def body(self) -> bytes:
        """Read the body, or raise 413 `body_too_large` or 408 `body_too_slow`."""
        if self._read is not None:
            return self._read
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in self.stream():
                    size += len(chunk)
                    if size > MAX_BODY_BYTES:
                        raise self._too_large()
                    chunks.append(chunk)
        except TimeoutError:
            message = f"no complete body within {BODY_TIMEOUT_S:g} s"
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
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while not self._is_complete and size <= MAX_BODY_BYTES:
                    size += len((await self.receive()).get("body", b""))

    def _too_large(self) -> ServiceError:
        message = f"a body has at most {MAX_BODY_BYTES:,} bytes"
        return ServiceError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message)


def _check_form(request: Request) -> None:
    """Raise 415 `unsupported_media_type` unless a body, if any, is JSON and not compressed."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if request.method in ("POST", "PUT", "PATCH") and not (is_json and encoding == "identity"):
        message = "send the body as application/json, not compressed"
        raise ServiceError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)

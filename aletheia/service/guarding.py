"""What happens to a request before it is read: who sends it, and how long it may be."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, ClassVar, Final

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive, Scope

from aletheia.service.auth import Authenticator
from aletheia.service.refusals import ServiceError

MAX_BODY_BYTES: Final = 16 * 2**20
"""Longest body that is read: a thousand items with 1,000 numbers each, and more."""

BODY_TIMEOUT_S: Final = 30.0
"""How long a body may take to arrive."""


class GuardedRoute(APIRoute):
    """A route that asks who calls before it reads anything, and reads within bounds."""

    authenticator: ClassVar[Authenticator]
    max_body_bytes: ClassVar[int]
    body_timeout_s: ClassVar[float]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Build what handles a request."""
        handle = super().get_route_handler()

        async def guard(request: Request) -> Response:
            bounded = _BoundedRequest(
                request.scope, request.receive, self.max_body_bytes, self.body_timeout_s
            )
            try:
                self.authenticator.check(request.headers)
                _check_form(request)
                return await handle(bounded)
            except ServiceError:
                # A caller that is still sending would lose the answer with the connection.
                await bounded.discard()
                raise

        return guard


def guarded_by(
    authenticator: Authenticator,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    body_timeout_s: float = BODY_TIMEOUT_S,
) -> type[GuardedRoute]:
    """Build the `route_class` of a router, whose bodies are at most so long, and so slow."""
    values = {
        "authenticator": authenticator,
        "max_body_bytes": max_body_bytes,
        "body_timeout_s": body_timeout_s,
    }
    return type("Guarded", (GuardedRoute,), values)


class _BoundedRequest(Request):
    """A request whose body is read within bounds, as strict JSON."""

    def __init__(self, scope: Scope, receive: Receive, max_bytes: int, timeout_s: float) -> None:
        async def receive_and_note_end() -> Message:
            message = await receive()
            self._is_complete = message["type"] != "http.request" or not message.get("more_body")
            return message

        super().__init__(scope, receive_and_note_end)
        self._max_bytes, self._timeout_s = max_bytes, timeout_s
        self._is_complete = False
        self._read: bytes | None = None

    async def body(self) -> bytes:
        """Read the body.

        Raises:
            ServiceError: 413 `body_too_large`, 408 `body_too_slow`.
        """
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
        except TimeoutError:
            message = f"no complete body within {self._timeout_s:g} s"
            raise ServiceError(HTTPStatus.REQUEST_TIMEOUT, "body_too_slow", message) from None
        self._read = b"".join(chunks)
        return self._read

    async def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            ServiceError: 400 `invalid_json`.
        """
        try:
            return orjson.loads(await self.body())
        except orjson.JSONDecodeError as error:
            message = f"the body is not JSON: {error}"
            raise ServiceError(HTTPStatus.BAD_REQUEST, "invalid_json", message) from None

    async def discard(self) -> None:
        """Read the rest of the body, within the same bounds, and forget it."""
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                while not self._is_complete and size <= self._max_bytes:
                    size += len((await self.receive()).get("body", b""))

    def _too_large(self) -> ServiceError:
        message = f"a body has at most {self._max_bytes:,} bytes"
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

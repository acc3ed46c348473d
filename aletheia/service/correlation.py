"""An id for each request, by which the lines that are logged about it are found (SPEC §6, Logs)."""

import re
import uuid
from typing import Final

from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aletheia.logs import about_request

HEADER: Final = "X-Request-ID"
"""A caller, or a proxy, may send its own; the answer has it either way."""

_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
"""Ids of others that are taken: they end up in our logs and answers."""


class CorrelationMiddleware:
    """Marks what is logged during a request, and its answer, with the id of the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hold a socket, under an id."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = read_id(Headers(scope=scope))

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        _mark_span(request_id, has_query=bool(scope.get("query_string")))
        with about_request(request_id):
            await self._app(scope, receive, send_marked)


def read_id(headers: Headers) -> str:
    """Return the id that a request came with, or a new one where there is none that is taken."""
    given = headers.getlist(HEADER)
    if len(given) == 1 and _ID.fullmatch(given[0]):
        return given[0]
    return uuid.uuid4().hex


def _mark_span(request_id: str, *, has_query: bool) -> None:
    """Add the id to the span of a request, and take the query off it: a ticket may stand there."""
    current = trace.get_current_span()
    current.set_attribute("http.request.header.x-request-id", [request_id])
    if has_query:
        current.set_attribute("url.query", "REDACTED")

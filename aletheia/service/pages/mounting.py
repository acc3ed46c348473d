"""The pages below `/ui`, behind their sign-in: nothing of them is served to strangers."""

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Final, cast

from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aletheia.documents import Documents
from aletheia.errors import Unavailable
from aletheia.service.authentication import Authenticator
from aletheia.service.feeds import Feeds
from aletheia.service.pages.calls import Calls
from aletheia.service.pages.sessions import Session, Sessions
from aletheia.service.pages.sign_in import SIGN_IN, SIGN_OUT, SignIn, root_of
from aletheia.service.parts import Part
from aletheia.service.refusals import ServiceError
from aletheia.service.sockets import NO_LONGER_AUTHORIZED, check_origin

PATH: Final = "/ui"

VISIT: Final = "aletheia.visit"
"""Name in a request's scope: its `Visit`."""

TOOLKIT: Final = "nicegui"

NOT_INSTALLED: Final = (
    "The pages are not installed. Whoever runs the service gets them by "
    "<code>pip install 'aletheia[ui]'</code> and a restart; everything else works without them."
)

_HEADERS: Final = {
    # The library compiles its templates in the browser, and needs its own scripts inline.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' "
    "'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    # With `no-referrer` browsers send forms from nowhere: `Origin: null`.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PREFIX_HEADER: Final = b"x-forwarded-prefix"


@dataclass(frozen=True)
class Visit:
    """Somebody who has a page open."""

    session: Session
    app: ASGIApp = field(repr=False)  # the whole service
    feeds: Part[Feeds] = field(repr=False)
    root: str  # path that the pages are below

    @cached_property
    def calls(self) -> Calls:
        """Calls of the service's routes, with their token."""
        return Calls(self.app, self.session.token)

    @classmethod
    def of(cls, connection: HTTPConnection) -> "Visit":
        """Return the visit that a request is part of; the gate has let it in."""
        return cast("Visit", connection.scope[VISIT])


def mount_pages(app: FastAPI, authenticator: Authenticator, store: Part[Documents]) -> None:
    """Serve the pages below `/ui`, or say there that they are not installed."""
    if importlib.util.find_spec(TOOLKIT) is None:
        app.mount(PATH, _with_headers(_say_not_installed))
        return
    pages = Pages(app, authenticator, store)
    app.include_router(APIRouter(lifespan=pages.lifespan))
    app.mount(PATH, _with_headers(pages.application))


class Pages:
    """The pages of one service: sign-in, and behind it what the toolkit draws."""

    def __init__(self, app: FastAPI, authenticator: Authenticator, store: Part[Documents]) -> None:
        self._app, self._sessions = app, Sessions()
        self._sign_in = SignIn(authenticator, self._sessions)

        async def open_feeds() -> Feeds:
            return Feeds(await store.get())

        self._feeds = Part(open_feeds)
        self._running = contextlib.AsyncExitStack()
        self._toolkit: ASGIApp | None = None
        self._starting = asyncio.Lock()
        self.application: ASGIApp = Starlette(
            routes=[
                Route("/", self._show_first),
                Route(SIGN_IN, self._sign_in.show),
                Route(SIGN_IN, self._sign_in.sign_in, methods=["POST"]),
                Route(SIGN_OUT, self._sign_in.sign_out, methods=["POST"]),
                Mount("/", self._pass),
            ]
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncGenerator[None]:
        """End with the service whatever was started for a page."""
        async with self._running:
            yield

    async def _show_first(self, request: Request) -> Response:
        return RedirectResponse(f"{root_of(request)}/gather", HTTPStatus.SEE_OTHER)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes from somebody who is signed in; everybody else has to sign in."""
        connection = HTTPConnection(scope)
        root = root_of(connection)
        try:
            if scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD"):
                check_origin(connection, ())
            session = self._sign_in.find(connection)
        except ServiceError:
            session = None
        if session is None:
            await _refuse(scope, root)(scope, receive, send)
            return
        try:
            toolkit = await self._start_toolkit()
        except Unavailable as outage:
            await _say_unavailable(outage)(scope, receive, send)
            return
        scope[VISIT] = Visit(session, self._app, self._feeds, root)
        _clean_headers(scope)
        if scope["type"] == "websocket":
            await self._hold(session, toolkit, scope, receive, send)
        else:
            await toolkit(scope, receive, send)

    async def _start_toolkit(self) -> ASGIApp:
        """Return what draws the pages; it is imported, and started, when it is first needed."""
        async with self._starting:
            if self._toolkit is None:
                # Some seconds of a processor, which others who are served should not wait for.
                name = "aletheia.service.pages.toolkit"
                module = await asyncio.to_thread(importlib.import_module, name)
                self._toolkit = await self._running.enter_async_context(module.running())
            return cast("ASGIApp", self._toolkit)

    async def _hold(
        self, session: Session, toolkit: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a socket until it is closed, or its session has ended."""
        serving = asyncio.ensure_future(toolkit(scope, receive, send))
        ending = asyncio.create_task(session.ended.wait())
        left_s = self._sessions.left_s(session)
        try:
            await asyncio.wait(
                {serving, ending}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not serving.done():
                with contextlib.suppress(RuntimeError, OSError):
                    await send({"type": "websocket.close", "code": NO_LONGER_AUTHORIZED})
        finally:
            ending.cancel()
            if not serving.done():
                serving.cancel()
            await asyncio.gather(serving, ending, return_exceptions=True)


def _refuse(scope: Scope, root: str) -> ASGIApp:
    """Return what answers a stranger."""
    if scope["type"] == "websocket":
        return _close_socket
    if scope["method"] == "GET" and b"text/html" in dict(scope["headers"]).get(b"accept", b""):
        return RedirectResponse(f"{root}{SIGN_IN}", HTTPStatus.SEE_OTHER)
    refusal = {"error": {"code": "missing_token", "message": f"sign in at {root}{SIGN_IN}"}}
    return JSONResponse(refusal, HTTPStatus.UNAUTHORIZED)


def _say_unavailable(outage: Unavailable) -> ASGIApp:
    refusal = {"error": {"code": outage.code, "message": str(outage)}}
    return JSONResponse(refusal, HTTPStatus.SERVICE_UNAVAILABLE)


async def _close_socket(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close", "code": NO_LONGER_AUTHORIZED})


async def _say_not_installed(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await _close_socket(scope, receive, send)
        return
    page = f"<!doctype html><title>Aletheia</title><p>{NOT_INSTALLED}</p>"
    await HTMLResponse(page, HTTPStatus.SERVICE_UNAVAILABLE)(scope, receive, send)


def _clean_headers(scope: Scope) -> None:
    """Drop a prefix that a caller names: the toolkit writes it into its pages as it is."""
    scope["headers"] = [header for header in scope["headers"] if header[0] != _PREFIX_HEADER]


def _with_headers(inner: ASGIApp) -> ASGIApp:
    """Return an application whose answers may be shown in no frame, and load nothing from afar."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await inner(scope, receive, send_more)

    return call

"""The library that draws the pages, set up once for a process.

NiceGUI has one application, one list of pages and one event loop for a whole process. So the pages
are registered once, when this module is imported, and know whose they are by the visit in each
request. Any number of services of one event loop share it; it is started with the first of them and
stopped with the last. Services of two event loops at once cannot have pages in one process.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from typing import Final

from fastapi import FastAPI
from nicegui import ui
from starlette.types import ASGIApp

from aletheia.errors import Unavailable
from aletheia.service.pages import gather, operations, project, system

RECONNECT_S: Final = 10.0
"""For so long a page whose socket was lost may come back as it was, seconds."""

_SECRET_BYTES: Final = 32


class _Running:
    """How many services have the library running, and in which event loop."""

    def __init__(self) -> None:
        self.users = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.stack = contextlib.AsyncExitStack()


_RUNNING: Final = _Running()


def _set_up() -> FastAPI:
    """Register the pages; the secret signs nothing that a session of ours rests on."""
    host = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for module in (gather, project, system, operations):
        module.register()
    ui.run_with(  # pyright: ignore[reportUnknownMemberType] - typed in part
        host,
        title="Aletheia",
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_S,
        storage_secret=secrets.token_urlsafe(_SECRET_BYTES),
        session_middleware_kwargs={"session_cookie": "aletheia_tab", "path": "/ui"},
    )
    return host


_HOST: Final = _set_up()


@contextlib.asynccontextmanager
async def running() -> AsyncGenerator[ASGIApp]:
    """Run the library for the block, and return its application.

    Raises:
        Unavailable: it runs in another event loop of this process.
    """
    loop = asyncio.get_running_loop()
    if _RUNNING.users and _RUNNING.loop is not loop:
        raise Unavailable("pages", "another event loop of this process serves them")
    if not _RUNNING.users:
        _RUNNING.loop = loop
        await _RUNNING.stack.enter_async_context(_HOST.router.lifespan_context(_HOST))
    _RUNNING.users += 1
    try:
        yield _HOST
    finally:
        _RUNNING.users -= 1
        if not _RUNNING.users:
            await _RUNNING.stack.aclose()

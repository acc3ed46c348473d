"""HTTP servers on the loopback interface, one process each, with their data in memory.

One that is started as a module prints a JSON line with its `url`, and ends on SIGTERM or SIGINT.
"""

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
import uvloop
from aiohttp import hdrs, web
from yarl import URL

HOST = "127.0.0.1"


class LoopbackServer:
    """An HTTP server on 127.0.0.1; a subclass answers in `handle`, below the path `prefix`.

    `url` is its address with the prefix, once it listens.
    """

    def __init__(self, *, prefix: str = "") -> None:
        self.prefix = prefix
        self.url = ""
        self._runner: web.ServerRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Listen and return the base URL; port 0 takes a free one."""
        server = web.Server(self.handle, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()
        self.url = f"http://{HOST}:{self._runner.addresses[0][1]}{self.prefix}"
        return self.url

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        raise NotImplementedError


def answer(body: object, status: int = HTTPStatus.OK) -> web.Response:
    """Return a response with a JSON body, which may be written already."""
    written = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {hdrs.CONTENT_TYPE: "application/json"}
    return web.Response(status=status, body=written, headers=headers)


def main(
    build: Callable[[argparse.Namespace], LoopbackServer],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Start a server as a process of its own; `options` are those it has beside `--port`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    for name, about in (options or {}).items():
        parser.add_argument(name, **about)
    chosen = parser.parse_args()
    uvloop.run(_serve(build(chosen), chosen.port))


async def _serve(server: LoopbackServer, port: int) -> None:
    """Serve until SIGTERM or SIGINT; print one JSON line once it listens."""
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    url = await server.start(port)
    print(json.dumps({"url": url, "port": URL(url).port, "pid": os.getpid()}), flush=True)
    try:
        await ended.wait()
    finally:
        await server.stop()

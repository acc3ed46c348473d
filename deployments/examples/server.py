"""HTTP servers on the loopback interface, one process each, with their data in memory."""

import asyncio
import json
import os
import signal

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


def answer(body: bytes, status: int = 200) -> web.Response:
    """Return a response with a JSON body."""
    return web.Response(status=status, body=body, headers={hdrs.CONTENT_TYPE: "application/json"})


async def serve(server: LoopbackServer, port: int) -> None:
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

"""Serves an ASGI application on a free port, in the event loop of a test."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator

import uvicorn
from fastapi import FastAPI

from aletheia.service.connections import configure


class _QuietServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to whoever runs the tests."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end without looking every tenth of a second."""
        await self.ended.wait()


@contextlib.asynccontextmanager
async def serving(app: FastAPI, *, is_bounded: bool = False, port: int = 0) -> AsyncGenerator[str]:
    """Serve an application, within the bounds of the service if asked for; give its root."""
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    port = listener.getsockname()[1]
    config = uvicorn.Config(app, log_config=None, access_log=False)
    if is_bounded:
        config = configure(app, "127.0.0.1", port)
    config.timeout_graceful_shutdown = 1
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            assert not task.done(), task
            await asyncio.sleep(0.002)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.ended.set()
        await task
        listener.close()

"""A server of files that keeps to HTTP, or breaks it in every way a test asks for."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class FileServer:
    """Answers each path with what was set for it.

    Attributes:
        answers: by path, the pieces of an answer as they go over the wire; a number between them
            is a pause in seconds.
        requests: heads of all requests.
        connections: how many were made.
    """

    port: int = 0
    scheme: str = "http"
    answers: dict[str, list[bytes | float]] = field(default_factory=dict[str, list[bytes | float]])
    requests: list[str] = field(default_factory=list[str])
    connections: int = 0

    def url(self, path: str = "/file", host: str = "127.0.0.1") -> str:
        """The address of a path, by any name the server is to be reached by."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def set(
        self,
        body: bytes,
        path: str = "/file",
        *,
        status: str = "200 OK",
        headers: tuple[str, ...] = (),
        length: int | None = None,
    ) -> str:
        """Answer a path with a body, its length as it is or as said; return the address."""
        size = len(body) if length is None else length
        lines = (f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers)
        self.answers[path] = ["\r\n".join((*lines, "", "")).encode(), body]
        return self.url(path)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.requests.append(head)
            path = head.split(" ", 2)[1]
            missing: list[bytes | float] = [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]
            for piece in self.answers.get(path, missing):
                if isinstance(piece, bytes):
                    writer.write(piece)
                    await writer.drain()
                elif await self._is_left(reader, piece):
                    break
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()

    async def _is_left(self, reader: asyncio.StreamReader, pause_s: float) -> bool:
        """Wait, unless the other side goes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                return not await reader.read(1)
        return False


@asynccontextmanager
async def serve_files(
    *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncGenerator[FileServer]:
    """Serve files on a free port."""
    files = FileServer(scheme="https" if tls else "http")
    server = await asyncio.start_server(files.serve, host, 0, ssl=tls)
    files.port = server.sockets[0].getsockname()[1]
    async with server:
        yield files
        server.close()

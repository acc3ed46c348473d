"""Strangers and clients that do not read: whatever they do, others are answered."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from aletheia.service import connections
from aletheia.service.connections import FAREWELL, TOO_SLOW
from tests.fakes.service import FakeService, calling, make_token
from tests.fakes.serving import serving

CHUNK = b"x" * 16_384


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 0.5)
    monkeypatch.setattr(connections, "STALLED_AFTER_S", 0.4)
    monkeypatch.setattr(connections, "CLOSE_WITHIN_S", 0.4)


class NotedResponse(StreamingResponse):
    """A stream that notes its end."""

    def __init__(self, chunks: AsyncIterator[bytes], ended: list[object]) -> None:
        super().__init__(chunks)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream."""
        await super().__call__(scope, receive, send)
        self._ended.append("stream")


def make_app() -> FastAPI:
    app = FastAPI()
    app.state.ended = []

    @app.get("/health")
    async def read_health() -> str:
        return "ok"

    @app.post("/slow")
    async def answer_at_once() -> str:
        return "ok"

    @app.get("/stream")
    async def stream(request: Request) -> StreamingResponse:
        setattr(request.state, FAREWELL, b"told")

        async def chunks() -> AsyncIterator[bytes]:
            while True:
                yield CHUNK
                await asyncio.sleep(0)

        return NotedResponse(chunks(), app.state.ended)

    @app.websocket("/socket")
    async def flood(websocket: WebSocket) -> None:
        await websocket.accept()
        receiving = asyncio.create_task(websocket.receive())

        async def send() -> None:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                while not receiving.done():
                    await websocket.send_bytes(CHUNK)
                    await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        await receiving
        app.state.ended.append(receiving.result()["code"])
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    app.add_api_websocket_route("/echo", echo)
    return app


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


@contextlib.asynccontextmanager
async def served() -> AsyncGenerator[tuple[FastAPI, str, int]]:
    app = make_app()
    async with serving(app, is_bounded=True) as url:
        yield app, url, int(urlsplit(url).port or 0)


async def is_healthy(url: str) -> bool:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session,
        session.get(f"{url}/health") as response,
    ):
        return response.status == 200


async def connect(
    port: int, sent: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    return reader, writer


async def wait_for_end(reader: asyncio.StreamReader, within_s: float = 3) -> float:
    """Return after how many seconds a connection was closed from the other side."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(within_s):
            while await reader.read(65_536):
                pass
    return time.monotonic() - began


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", b"GET /health HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\nHost: a\r\nX: "],
    ids=["nothing", "a byte", "a line", "half a header"],
)
async def test_headers_that_do_not_come_end_the_connection(sent: bytes):
    async with served() as (_, url, port):
        reader, writer = await connect(port, sent)
        assert await is_healthy(url)
        assert await wait_for_end(reader) < 2
        writer.close()


async def test_headers_that_come_letter_by_letter_do_not_last_longer():
    async with served() as (_, _, port):
        reader, writer = await connect(port, b"GET /health HTTP/1.1\r\n")

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"X-A: b\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await wait_for_end(reader) < 2
        dripping.cancel()
        writer.close()


async def test_a_body_that_nobody_reads_does_not_last_longer():
    async with served() as (_, _, port):
        head = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        reader, writer = await connect(port, head)

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await wait_for_end(reader, 8) < 8
        dripping.cancel()
        writer.close()


async def test_a_connection_is_kept_for_further_requests():
    async with served() as (_, _, port):
        request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
        reader, writer = await connect(port)
        for _ in range(3):
            writer.write(request)
            assert b"200 OK" in await reader.readuntil(b'"ok"')
            await asyncio.sleep(0.3)
        writer.close()


async def test_slow_strangers_of_one_address_do_not_keep_others_out():
    async with served() as (_, url, port):
        strangers = [await connect(port, b"GET / HTTP/1.1\r\n") for _ in range(300)]
        began = time.monotonic()
        assert await is_healthy(url)
        assert time.monotonic() - began < 2
        ended = await asyncio.gather(*(wait_for_end(reader) for reader, _ in strangers))
        assert max(ended) < 3
        for _, writer in strangers:
            writer.close()


async def test_of_one_address_the_oldest_stranger_goes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 30)
    monkeypatch.setattr(connections, "SETTLED_AFTER_S", 0.05)
    async with served() as (_, url, port):
        strangers = [await connect(port) for _ in range(connections.MAX_WAITING_PER_ADDRESS)]
        await asyncio.sleep(0.1)
        assert await is_healthy(url)
        assert await wait_for_end(strangers[0][0], 1) < 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await strangers[-1][0].read(1)
        for _, writer in strangers:
            writer.close()


async def test_of_one_address_too_many_strangers_go_however_young(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(connections, "SETTLED_AFTER_S", 30)
    monkeypatch.setattr(connections, "MAX_AT_ONCE_PER_ADDRESS", 80)
    async with served() as (_, _, port):
        strangers = [await connect(port) for _ in range(81)]
        assert await wait_for_end(strangers[0][0], 1) < 0.4
        for _, writer in strangers:
            writer.close()


async def test_many_who_come_from_one_address_in_one_moment_are_all_answered():
    count = 4 * connections.MAX_WAITING_PER_ADDRESS
    connector = aiohttp.TCPConnector(limit=0)
    async with served() as (_, url, _), aiohttp.ClientSession(connector=connector) as session:

        async def read_status() -> int:
            async with session.get(f"{url}/health") as response:
                return response.status

        statuses = await asyncio.gather(*(read_status() for _ in range(count)))
    assert statuses == [200] * count


async def test_sockets_live_longer_than_strangers_may_and_are_not_counted_with_them():
    count = connections.MAX_WAITING_PER_ADDRESS + 16
    async with served() as (_, url, _), contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        sockets = [
            await stack.enter_async_context(session.ws_connect(f"{url}/echo")) for _ in range(count)
        ]
        await asyncio.sleep(2 * connections.HEADERS_WITHIN_S)
        for websocket in sockets:
            await websocket.send_str("still here")
            assert await websocket.receive_str(timeout=3) == "still here"


@pytest.mark.parametrize(
    "sent",
    [b"GET /health?" + b"q" * 20_000, b"nonsense\r\n\r\n"],
    ids=["too long a line", "not HTTP"],
)
async def test_what_is_not_http_is_refused_in_the_form_of_all_refusals(sent: bytes):
    async with served() as (_, _, port), asyncio.timeout(5):
        reader, writer = await connect(port, sent)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head.lower()
    assert b'"code":"invalid_http"' in body


async def unread_socket(port: int, path: str) -> socket.socket:
    """Ask for something, and read nothing of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    head = f"GET {path} HTTP/1.1\r\nHost: a\r\n"
    if path == "/socket":
        head += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    await loop.sock_sendall(client, f"{head}\r\n".encode())
    return client


async def until(condition: Any, within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("path", "ended"), [("/stream", "stream"), ("/socket", TOO_SLOW)], ids=["HTTP", "WebSocket"]
)
async def test_who_reads_nothing_is_closed(path: str, ended: object):
    async with served() as (app, url, port):
        client = await unread_socket(port, path)
        await until(lambda: app.state.ended == [ended])
        assert await is_healthy(url)
        client.close()


async def last_received(client: socket.socket) -> bytes:
    """Read everything, and return the end of it."""
    last = b""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        while chunk := await loop.sock_recv(client, 65_536):
            last = (last + chunk)[-100:]
    client.close()
    return last


@pytest.mark.parametrize(
    ("path", "ended", "farewell"),
    [
        ("/stream", "stream", b"4\r\ntold\r\n0\r\n\r\n"),
        ("/socket", TOO_SLOW, TOO_SLOW.to_bytes(2)),
    ],
    ids=["HTTP", "WebSocket"],
)
async def test_who_reads_nothing_is_told_behind_what_it_was_sent(
    monkeypatch: pytest.MonkeyPatch, path: str, ended: object, farewell: bytes
):
    monkeypatch.setattr(connections, "CLOSE_WITHIN_S", 20)
    async with served() as (app, _, port):
        client = await unread_socket(port, path)
        await until(lambda: app.state.ended == [ended], within_s=20)
        last = await last_received(client)
    if path == "/socket":  # a frame of the kind "close", with its length, and the reason behind it
        last = last[last.rindex(b"\x88") + 2 :][: len(farewell)]
    assert last.endswith(farewell)


async def test_a_thousand_idle_sockets_take_no_requests(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 10)
    headers = {"Authorization": f"Bearer {make_token()}"}
    async with calling(service, is_bounded=True) as client, contextlib.AsyncExitStack() as stack:
        for start in range(0, 1_000, 50):
            opened = await asyncio.gather(
                *(
                    client.session.ws_connect("/ws/automated-gather/p", headers=headers)
                    for _ in range(start, start + 50)
                )
            )
            for websocket in opened:
                stack.push_async_callback(websocket.close)
        began = time.monotonic()
        assert (await client.get("/health"))[0] == 200
        assert (await client.get("/api/v1/dead-letters"))[0] == 200
        assert time.monotonic() - began < 3


def hook_head(length: int) -> bytes:
    """Return the head of a webhook as somebody without the secret makes it."""
    return (
        b"POST /hooks/poll HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"X-Aletheia-Timestamp: %d\r\nX-Aletheia-Signature: sha256=%s\r\n"
        b"Content-Length: %d\r\n\r\n{" % (int(time.time()), b"0" * 64, length)
    )


async def test_a_stranger_whose_body_does_not_come_counts_as_one(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 30)
    monkeypatch.setattr(connections, "SETTLED_AFTER_S", 0.05)
    async with calling(service, is_bounded=True) as client:
        port = client.session._base_url.port  # pyright: ignore[reportPrivateUsage, reportOptionalMemberAccess] - aiohttp has no other name
        begun = [
            await connect(int(port or 0), hook_head(60_000))
            for _ in range(connections.MAX_WAITING_PER_ADDRESS + 20)
        ]
        await asyncio.sleep(0.2)
        begun.append(await connect(int(port or 0), hook_head(60_000)))
        ended = await asyncio.gather(*(wait_for_end(reader, 1) for reader, _ in begun[:20]))
        assert max(ended) < 1
        assert (await client.get("/health"))[0] == 200
        for _, writer in begun:
            writer.close()


async def test_the_body_of_a_stranger_takes_no_longer_than_its_headers(service: FakeService):
    async with calling(service, is_bounded=True) as client:
        port = client.session._base_url.port  # pyright: ignore[reportPrivateUsage, reportOptionalMemberAccess] - aiohttp has no other name
        reader, writer = await connect(int(port or 0), hook_head(60_000))
        assert await wait_for_end(reader) < 2
        writer.close()


async def test_the_body_of_a_caller_who_was_let_in_may_take_its_time(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 2)

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(25):
            yield b" "
            await asyncio.sleep(0.1)
        yield b"{}"

    headers = {
        "Authorization": f"Bearer {make_token('operator')}",
        "Content-Type": "application/json",
    }
    async with (
        calling(service, is_bounded=True) as client,
        client.session.post(
            "/api/v1/dead-letters/replay", data=drip(), headers=headers
        ) as response,
    ):
        assert response.status == 202

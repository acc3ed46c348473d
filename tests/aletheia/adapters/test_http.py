"""The client against a server that says anything, byte for byte."""

import asyncio
import gzip
import resource
import zlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any, Final

import aiohttp
import pytest
from yarl import URL

from aletheia.adapters.http import HttpClient, Retries, is_token, read_base_url
from aletheia.adapters.http_answers import Answer, load_object
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    Conflict,
    ConnectionLost,
    Misconfigured,
    NotFound,
    QuotaExhausted,
    Refused,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unreachable,
)

SERVER: Final = "example"
MAX_BYTES: Final = 100_000


class RawServer:
    """Answers each request with the next of its answers, then closes the connection.

    Attributes:
        url: where it listens.
        answers: bytes; `None` resets the connection, a number waits for so many seconds.
        requests: the head and body of each request.
    """

    def __init__(self) -> None:
        self.url = URL()
        self.answers: list[list[bytes | float | None]] = []
        self.requests: list[bytes] = []
        self.keeps_connections = False

    def say(self, *pieces: bytes | float | None) -> None:
        self.answers.append(list(pieces))

    def answer(self, body: bytes = b"{}", status: str = "200 OK", **headers: str) -> None:
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        head += [] if self.keeps_connections else ["Connection: close"]
        head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.say("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._serve_one(reader, writer)
                if not self.keeps_connections:
                    return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.splitlines()[1:-1])
        self.requests.append(head + await reader.readexactly(int(lines.get(b"content-length", 0))))
        for piece in self.answers.pop(0) if self.answers else [None]:
            if piece is None:
                writer.transport.abort()
            elif isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
            else:
                await asyncio.sleep(piece)


@pytest.fixture
async def server() -> AsyncGenerator[RawServer]:
    raw = RawServer()
    listener = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.url = URL(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/path")
    async with listener:
        yield raw


@pytest.fixture
async def client() -> AsyncGenerator[HttpClient]:
    async with AsyncExitStack() as closing:
        http = HttpClient(SERVER, timeout_s=2)
        await http.open()
        closing.push_async_callback(http.close)
        yield http


async def get(client: HttpClient, server: RawServer, **options: Any) -> Answer:
    options = {"max_bytes": MAX_BYTES, **options}
    return await client.exchange("GET", server.url, **options)


async def test_a_request_is_sent_as_it_is(server: RawServer, client: HttpClient) -> None:
    server.answer(b'{"a": 1}')
    answer = await client.exchange(
        "PATCH", server.url, body=b"{ }", headers={"X-Mine": "1"}, max_bytes=MAX_BYTES
    )
    assert (answer.status, answer.body, answer.is_success) == (200, b'{"a": 1}', True)
    assert answer.read(load_object) == {"a": 1}
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"{ }"
    assert {
        b"PATCH /path HTTP/1.1",
        b"Accept: application/json",
        b"Content-Type: application/json",
        b"User-Agent: aletheia",
        b"X-Mine: 1",
    } <= set(head.split(b"\r\n"))


async def test_a_refused_connection_is_unreachable() -> None:
    listener = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    client = HttpClient(SERVER, timeout_s=2)
    await client.open()
    with pytest.raises(Unreachable, match="Cannot connect") as caught:
        await client.exchange("GET", URL(f"http://127.0.0.1:{port}"))
    await client.close()
    assert (caught.value.dependency, caught.value.status) == (SERVER, None)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".invalid"])
async def test_a_host_that_has_no_address_is_unreachable(client: HttpClient, host: str) -> None:
    with pytest.raises(Unreachable):
        await client.exchange("GET", URL(f"http://{host}"))


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_reset_before_the_status_is_unavailable_and_not_tried_again(
    server: RawServer, client: HttpClient, method: str
) -> None:
    server.keeps_connections = True
    server.answer()
    await client.exchange(method, server.url)
    server.say(None)
    server.answer()
    with pytest.raises(ConnectionLost, match="connection lost") as caught:
        await client.exchange(method, server.url)
    assert caught.value.status is None
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 0.01, None], id="reset"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"], id="cut"),
        pytest.param([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"], id="chunk"),
    ],
)
async def test_a_reset_after_the_status_is_unavailable(
    server: RawServer, client: HttpClient, pieces: list[Any]
) -> None:
    server.say(*pieces)
    with pytest.raises(ConnectionLost, match="connection lost") as caught:
        await get(client, server)
    assert caught.value.status == 200


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        pytest.param([1.0], None, id="nothing"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", 1.0], 200, id="a beginning"
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\n\r\n", *[0.02, b" "] * 50], 200, id="a byte now and then"
        ),
    ],
)
async def test_an_answer_that_does_not_end_in_time_is_unavailable(
    server: RawServer, client: HttpClient, pieces: list[Any], status: int | None
) -> None:
    server.say(*pieces)
    with pytest.raises(TimedOut, match=r"within 0\.2 s") as caught:
        await get(client, server, timeout_s=0.2)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_never_followed_and_never_a_success(
    server: RawServer, client: HttpClient, status: int
) -> None:
    server.answer(b"", f"{status} Moved", Location=f"{server.url}?token=secret")
    answer = await get(client, server)
    error = answer.to_error()
    assert (answer.is_success, type(error)) == (False, BadAnswer)
    assert str(error) == f"example gave a bad answer: {status}, which is not followed"
    assert len(server.requests) == 1


async def test_a_body_as_long_as_the_bound_is_read(server: RawServer, client: HttpClient) -> None:
    server.answer(b" " * MAX_BYTES)
    assert len((await get(client, server)).body) == MAX_BYTES


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b" " * 200_000], id="length"
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\n", *[b" " * 60_000] * 1000], id="without an end"),
    ],
)
async def test_a_body_longer_than_the_bound_is_a_bad_answer(
    server: RawServer, client: HttpClient, pieces: list[Any]
) -> None:
    server.say(*pieces)
    with pytest.raises(BadAnswer, match="longer than 100,000 bytes") as caught:
        await get(client, server)
    assert caught.value.status == 200


def pack(encoding: str, body: bytes) -> bytes:
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "raw": -15}[encoding])
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw"])
async def test_bytes_are_counted_after_decompression(
    server: RawServer, client: HttpClient, encoding: str
) -> None:
    named = "deflate" if encoding == "raw" else encoding
    for size in (MAX_BYTES, MAX_BYTES + 1):
        server.answer(pack(encoding, b" " * size), Content_Encoding=named)
    assert len((await get(client, server)).body) == MAX_BYTES
    with pytest.raises(BadAnswer, match="longer than"):
        await get(client, server)


async def test_a_bomb_takes_no_memory(server: RawServer, client: HttpClient) -> None:
    piece = gzip.compress(b" " * 100_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    server.answer(piece * 10, Content_Encoding="gzip")
    server.answer(piece * 10, "500 Oops", Content_Encoding="gzip")
    with pytest.raises(BadAnswer, match="longer than"):
        await get(client, server)
    assert len((await get(client, server)).body) <= 2**16
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


async def test_a_body_that_is_not_compressed_as_it_says_is_a_bad_answer(
    server: RawServer, client: HttpClient
) -> None:
    server.answer(b"this is no gzip", Content_Encoding="gzip")
    with pytest.raises(BadAnswer, match="cannot be decompressed"):
        await get(client, server)


async def test_garbage_behind_an_answer_is_never_taken_for_the_next_one(
    server: RawServer, client: HttpClient
) -> None:
    server.keeps_connections = True
    server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}<html>garbage\r\n\r\n")
    server.answer(b'{"a": 1}')
    with pytest.raises(BadAnswer, match="not HTTP"):
        await get(client, server)
    assert (await get(client, server)).body == b'{"a": 1}'


async def test_garbage_behind_compressed_data_does_not_pass_for_json(
    server: RawServer, client: HttpClient
) -> None:
    server.answer(gzip.compress(b"{}") + b"garbage", Content_Encoding="gzip")
    try:
        body = (await get(client, server)).body
    except BadAnswer:
        return
    assert body == b"{}"


@pytest.mark.parametrize(
    "said",
    [
        b"220 mail.example.com ESMTP\r\n\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"\x00\xff" * 100,
    ],
)
async def test_what_is_not_http_is_a_bad_answer(
    server: RawServer, client: HttpClient, said: bytes
) -> None:
    server.say(said)
    with pytest.raises(BadAnswer, match="not HTTP") as caught:
        await get(client, server, secrets=("x" * 10,))
    assert "xxxxxxxxxx" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"<html><title>Log in", "a web page in place of JSON"),
        (b"\xff\xfe not utf-8", "not JSON: \ufffd\ufffd not utf-8"),
        (b"[" * 100_000, "not JSON: [[["),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "not JSON"),
        (b"{} {}", "not JSON: {} {}"),
        (b"[1]", "not a JSON object: [1]"),
        (b'["my key"]', 'not a JSON object: ["my ***"]'),
        (b"", "not JSON"),
    ],
)
async def test_a_success_without_the_json_that_was_expected_is_a_bad_answer(
    server: RawServer, client: HttpClient, said: bytes, shown: str
) -> None:
    server.answer(said)
    answer = await get(client, server, secrets=("key",))
    with pytest.raises(BadAnswer) as caught:
        answer.read(load_object)
    assert caught.value.reason.startswith(shown)
    assert (len(caught.value.reason) < 250, caught.value.status) == (True, 200)


async def test_a_body_of_too_many_values_is_not_read(server: RawServer, client: HttpClient) -> None:
    server.answer(pack("gzip", b"[" + b"{}," * 1_000_001 + b"{}]"), Content_Encoding="gzip")
    answer = await get(client, server, max_bytes=2**24)
    with pytest.raises(BadAnswer, match="more than 2,000,000 values"):
        answer.read(load_object)


@pytest.mark.parametrize(
    ("status", "said", "kind", "shown"),
    [
        (400, b"my key", Refused, "my ***"),
        (401, b"", Unauthorized, ""),
        (403, b"", Unauthorized, ""),
        (404, b"<html>", NotFound, "a web page"),
        (408, b"", Unavailable, "408"),
        (409, b"", Conflict, ""),
        (413, b"", Refused, ""),
        (425, b"", Unavailable, "425"),
        (429, b"a\n\tb", Unavailable, "429: a b"),
        (499, b"", Unavailable, "499"),
        (502, b"\n<!DOCTYPE HTML><html>", Unavailable, "502: a web page"),
        (599, b"", Unavailable, "599"),
    ],
)
def test_a_status_means_the_same_everywhere(
    status: int, said: bytes, kind: type[AletheiaError], shown: str
) -> None:
    error = Answer(SERVER, status, {}, said, 0, ("key",)).to_error()
    assert (type(error), error.status, error.reason) == (kind, status, shown)


def test_a_client_may_have_exceptions() -> None:
    answer = Answer(SERVER, 402, {}, b"pay", 0)
    error = answer.to_error(exceptions={402: QuotaExhausted})
    assert (type(error), error.reason) == (QuotaExhausted, "402: pay")
    assert answer.to_error("said").reason == "said"


async def test_how_long_to_wait_is_read(server: RawServer, client: HttpClient) -> None:
    server.answer(b"busy", "503 Busy", Retry_After="7")
    error = (await get(client, server)).to_error()
    assert isinstance(error, Unavailable)
    assert (error.reason, error.retry_after_s, error.status) == ("503: busy", 7, 503)


async def test_of_an_answer_whose_status_decides_a_fault_in_the_body_is_passed_over(
    server: RawServer, client: HttpClient
) -> None:
    server.say(b"HTTP/1.1 500 Oops\r\nContent-Length: 99\r\n\r\nhalf", None)
    assert (await get(client, server)).status == 500
    server.say(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf")
    assert (await get(client, server, max_bytes=None)).status == 200


async def test_a_stream_is_read_piece_by_piece(server: RawServer, client: HttpClient) -> None:
    server.say(b"HTTP/1.1 200 OK\r\n\r\n", b"one\n", 0.01, b"two\n")
    async with client.stream("POST", server.url, body=b"{}") as stream:
        assert isinstance(stream, aiohttp.StreamReader)
        assert [await stream.readline() for _ in range(3)] == [b"one\n", b"two\n", b""]


async def test_a_stream_that_breaks_off_is_unavailable(
    server: RawServer, client: HttpClient
) -> None:
    server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\none\n", None)
    with pytest.raises(ConnectionLost, match="connection lost"):
        async with client.stream("POST", server.url) as stream:
            assert isinstance(stream, aiohttp.StreamReader)
            await stream.read(99)
            await stream.read(99)


async def test_a_stream_that_is_refused_is_an_answer(server: RawServer, client: HttpClient) -> None:
    server.answer(b"no", "404 Not there")
    async with client.stream("POST", server.url) as stream:
        assert isinstance(stream, Answer)
        assert (stream.status, stream.body) == (404, b"no")


async def test_a_time_out_of_who_reads_a_stream_is_left_to_them(
    server: RawServer, client: HttpClient
) -> None:
    server.say(b"HTTP/1.1 200 OK\r\n\r\n", 1.0)
    with pytest.raises(TimeoutError):
        async with client.stream("POST", server.url) as stream, asyncio.timeout(0.05):
            assert isinstance(stream, aiohttp.StreamReader)
            await stream.read(9)


async def test_tries_are_made_as_long_as_they_may_help() -> None:
    failures: list[AletheiaError] = [Unavailable(SERVER, "503"), Unreachable(SERVER, "gone")]
    calls = 0

    async def send() -> int:
        nonlocal calls
        calls += 1
        if failures:
            raise failures.pop(0)
        return calls

    assert await Retries(2, 0).send(send) == 3
    failures += [Unavailable(SERVER, str(n)) for n in range(9)]
    with pytest.raises(Unavailable, match=": 1"):
        await Retries(1, 0).send(send)
    for final in (BadAnswer(SERVER, "?"), Refused(SERVER, 400), Unavailable(SERVER, "", 999)):
        failures[:], calls = [final], 0
        with pytest.raises(type(final)):
            await Retries(3, 0).send(send)
        assert calls == 1


async def test_a_client_that_is_not_open_sends_nothing() -> None:
    client = HttpClient(SERVER, timeout_s=1)
    with pytest.raises(RuntimeError, match="not open"):
        await client.exchange("GET", URL("http://127.0.0.1:1"))
    await client.close()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "must begin with"),
        ("localhost:11434", "must begin with"),
        ("ftp://example.com", "must begin with"),
        ("http://", "."),
        ("http://[", "is not a URL"),
        ("http://me:secret@example.com", "must not hold credentials"),
        ("http://example.com?key=secret", "must not have a query"),
        ("http://example.com/v1#secret", "must not have a query"),
    ],
)
def test_an_address_that_says_more_or_less_is_misconfigured(address: str, reason: str) -> None:
    with pytest.raises(Misconfigured, match=reason) as caught:
        read_base_url("SOME_URL", address)
    assert caught.value.name == "SOME_URL"
    assert "secret" not in str(caught.value)


def test_an_address_loses_its_final_slash() -> None:
    assert read_base_url("SOME_URL", " https://example.com/a/ ") == "https://example.com/a"


def test_a_token_is_printable() -> None:
    assert is_token("abc-123")
    assert not any(map(is_token, ["", "a b", "ä", "a\n", None, ["a"]]))


def test_a_byte_order_mark_is_no_part_of_json():
    assert load_object(b'\xef\xbb\xbf{"access_token": "a"}') == {"access_token": "a"}


async def test_a_body_is_received_as_it_was_sent_by_who_bounds_it(server: RawServer):
    packed = gzip.compress(b"hello")
    for decompresses, body in ((True, b"hello"), (False, packed)):
        server.answer(packed, Content_Encoding="gzip")
        client = HttpClient(SERVER, timeout_s=5, decompresses=decompresses)
        await client.open()
        async with client.receive("GET", server.url) as (answer, stream):
            assert (answer.status, answer.headers["Content-Encoding"]) == (200, "gzip")
            assert await stream.read() == body
        await client.close()


async def test_a_body_that_stops_is_late_for_who_receives_it(server: RawServer):
    server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 2.0)
    client = HttpClient(SERVER, timeout_s=0.3)
    await client.open()
    with pytest.raises(TimedOut):
        async with client.receive("GET", server.url) as (answer, stream):
            assert answer.is_success
            await stream.read()
    await client.close()

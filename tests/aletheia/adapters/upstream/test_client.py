import asyncio
import gzip
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aletheia.adapters.http_answers import Answer, excerpt
from aletheia.adapters.upstream import client as upstream_client
from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.pages import read_page
from aletheia.adapters.upstream.sign_in import NoSignIn, TokenSignIn
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    Conflict,
    Misconfigured,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from tests.fakes.faults import Misbehaviour
from tests.fakes.upstream import FakeUpstream, serve_fake_upstream

PROCESSING = b'{"state":"processing"}'
FAILED = b'{"state":"failed","error":{"code":"empty_text","message":"x","retryable":false}}'

Connect: TypeAlias = Callable[..., Awaitable[HttpUpstream]]


@pytest.fixture
async def upstream() -> AsyncGenerator[FakeUpstream]:
    async with serve_fake_upstream() as fake:
        yield fake


@pytest.fixture
async def connect(upstream: FakeUpstream) -> AsyncGenerator[Connect]:
    async with AsyncExitStack() as closing:

        async def make(base_url: str | None = None, **options: Any) -> HttpUpstream:
            defaults: dict[str, Any] = {"sign_in": NoSignIn(), "timeout_s": 5, "retry_base_s": 0}
            client = HttpUpstream(base_url or upstream.url, **{**defaults, **options})
            await client.open()
            closing.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
async def client(connect: Connect) -> HttpUpstream:
    return await connect()


class RenewableSignIn:
    """Hands out one token after another."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)

    async def header(self) -> str | None:
        return f"Bearer {self._tokens[0]}"

    async def refresh(self, stale: str) -> str | None:
        assert stale == f"Bearer {self._tokens[0]}"
        self._tokens.pop(0)
        return await self.header()


def make_certificate(path: Path) -> Path:
    """Write a certificate that its own key signed, with that key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path


async def test_a_page_comes_oldest_first_and_no_longer_than_asked(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    for task_id in ("t1", "t2", "t3"):
        upstream.add(task_id, text=f"text of {task_id}")
    page = await client.pending(2)
    assert page == [
        {"id": f"t{n}", "type": "TEXT_EMBEDDING", "state": "pending", "data": {"text": text}}
        for n, text in ((1, "text of t1"), (2, "text of t2"))
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'[{"id": 1}]',
        b'{"data": [{"id": 1}]}',
        b'{"tasks": [{"id": 1}], "total": 7}',
        b'{"items": [{"id": 1}]}',
        b'{"docs": [{"id": 1}], "hasNextPage": false}',
        b'{"data": {"items": [{"id": 1}]}}',
        b'{"data": null, "tasks": [{"id": 1}]}',
        b'\xef\xbb\xbf[{"id": 1}]',
    ],
)
async def test_a_page_may_come_in_an_envelope(
    upstream: FakeUpstream, client: HttpUpstream, body: bytes
) -> None:
    upstream.answer_next(body)
    assert await client.pending(10) == [{"id": 1}]


@pytest.mark.parametrize("body", [b"[]", b'{"data": []}', b'{"data": {"docs": []}}'])
async def test_a_page_may_be_empty(
    upstream: FakeUpstream, client: HttpUpstream, body: bytes
) -> None:
    upstream.answer_next(body)
    assert await client.pending(10) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(
            b"<html><title>Log in</title></html>", "a web page in place of JSON", id="html"
        ),
        pytest.param(b"ok", "not JSON: ok", id="text"),
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b'[{"id": 1}, {"id"', "not JSON", id="half a page"),
        pytest.param(b'{"message": "hello"}', "not a page of tasks", id="another object"),
        pytest.param(b'{"data": "none"}', "not a page of tasks", id="no list in it"),
        pytest.param(b'{"data": {"data": {"data": []}}}', "not a page", id="too many envelopes"),
        pytest.param(b"null", "not a page of tasks", id="null"),
        pytest.param(b"[" * 100_000 + b"]" * 99_999, "not JSON", id="deep and not closed"),
        pytest.param("[]".encode("utf-16"), "not JSON", id="utf-16"),
    ],
)
async def test_a_200_that_is_no_page_is_a_bad_answer_and_not_asked_for_again(
    upstream: FakeUpstream, client: HttpUpstream, body: bytes, reason: str
) -> None:
    upstream.answer_next(body)
    with pytest.raises(BadAnswer, match=reason) as caught:
        await client.pending(10)
    assert caught.value.status == 200
    assert len(caught.value.reason) < 250
    assert upstream.count("pending") == 1


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        pytest.param(rb'"\ud800"', "\ud800", id="half a surrogate pair"),
        pytest.param(b'"caf\xe9"', "caf\udce9", id="bytes that are not utf-8"),
        pytest.param(b'"a\nb"', "a\nb", id="a bare line break"),
        pytest.param(b"1e999", float("inf"), id="a number beyond all numbers"),
        pytest.param(b"9" * 5000, float("inf"), id="5000 digits"),
    ],
)
async def test_a_value_that_strict_json_forbids_does_not_cost_its_page(
    upstream: FakeUpstream, client: HttpUpstream, encoded: bytes, value: object
) -> None:
    upstream.add("t1")
    upstream.add_raw({"id": "t2"}, b'{"id": "t2", "data": {"text": ' + encoded + b"}}")
    upstream.add("t3")
    page: list[Any] = await client.pending(10)
    assert [entry["id"] for entry in page] == ["t1", "t2", "t3"]
    assert page[1]["data"]["text"] == value


@pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"a": ', b"}")])
def test_nesting_too_deep_costs_only_its_entry(left: bytes, right: bytes) -> None:
    deep = left * 50_000 + rb'"]\\\"}"' + right * 50_000
    page = read_page(b'{"data": [{"id": "t1"}, {"id": "deep", "x": %s}, {"id": "t2"}]}' % deep)
    assert [entry["id"] for entry in page if isinstance(entry, dict)] == ["t1", "deep", "t2"]  # pyright: ignore[reportUnknownVariableType] - JSON of any kind


def test_quotes_that_do_not_end_take_no_time() -> None:
    started = time.process_time()
    for quotes in (b'\\"', b'"', b'"\\', b'"\\"'):
        with pytest.raises(ValueError, match="not JSON"):
            read_page(b"[" * 2000 + b'"' + quotes * 100_000)
    assert time.process_time() - started < 2


def test_a_page_of_too_many_values_is_not_read() -> None:
    with pytest.raises(ValueError, match="more than 2,000,000 values"):
        read_page(b"[" + b"{}," * 1_500_000 + b"{}]")


def test_nan_does_not_cost_its_page() -> None:
    page: list[Any] = read_page(b'[{"id": "t1", "data": NaN}, {"id": "t2"}]')
    assert [entry["id"] for entry in page] == ["t1", "t2"]


async def test_a_page_longer_than_the_bound_is_a_bad_answer(
    upstream: FakeUpstream, client: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_client, "MAX_PAGE_BYTES", 1000)
    upstream.add("t1", text="x" * 2000)
    with pytest.raises(BadAnswer, match="longer than 1,000 bytes"):
        await client.pending(10)


async def test_a_page_that_unpacks_to_more_than_the_bound_is_a_bad_answer(
    upstream: FakeUpstream, client: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_client, "MAX_PAGE_BYTES", 100_000)
    packed = gzip.compress(b" " * 10_000_000)
    upstream.answer_next(packed, headers={"Content-Encoding": "gzip"})
    with pytest.raises(BadAnswer, match="longer than"):
        await client.pending(10)


async def test_a_page_that_never_ends_is_a_bad_answer(
    upstream: FakeUpstream, client: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_client, "MAX_PAGE_BYTES", 2**20)
    upstream.misbehave_next("never_ends")
    with pytest.raises(BadAnswer, match="longer than"):
        await client.pending(10)


@pytest.mark.parametrize("fault", ["stalls", "drips"])
async def test_a_page_that_does_not_come_to_its_end_is_given_up_at_the_timeout(
    upstream: FakeUpstream, connect: Connect, fault: Misbehaviour
) -> None:
    client = await connect(timeout_s=0.1, max_retries=1)
    upstream.misbehave_next(fault, fault)
    with pytest.raises(Unavailable, match=r"within 0\.1 s") as caught:
        await client.pending(10)
    assert not isinstance(caught.value, BadAnswer)
    assert upstream.count("pending") == 2


async def test_an_answer_that_is_not_http_is_a_bad_answer(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    upstream.misbehave_next("is_not_http")
    with pytest.raises(BadAnswer, match="not HTTP"):
        await client.pending(10)


async def test_a_page_packed_wrongly_is_not_another_exception(
    upstream: FakeUpstream, connect: Connect
) -> None:
    client = await connect(max_retries=0)
    upstream.answer_next(b"this is no gzip", headers={"Content-Encoding": "gzip"})
    with pytest.raises(Unavailable):
        await client.pending(10)


@pytest.mark.parametrize("fault", ["hangs_up", "cuts_its_body"])
async def test_a_page_whose_connection_is_lost_is_asked_for_again(
    upstream: FakeUpstream, client: HttpUpstream, fault: Misbehaviour
) -> None:
    upstream.add("t1")
    upstream.misbehave_next(fault, fault)
    assert len(await client.pending(10)) == 1
    assert upstream.count("pending") == 3


async def test_no_try_is_made_that_the_policy_does_not_know_of(
    upstream: FakeUpstream, connect: Connect
) -> None:
    client = await connect(max_retries=1)
    await client.pending(10)
    upstream.misbehave_next("hangs_up", "hangs_up", "hangs_up")
    with pytest.raises(Unavailable, match="connection lost"):
        await client.pending(10)
    assert upstream.count("pending") == 3


@pytest.mark.parametrize("status", [400, 422])
async def test_a_limit_the_upstream_refuses_is_refused_with_its_status(
    upstream: FakeUpstream, client: HttpUpstream, status: int
) -> None:
    upstream.max_limit, upstream.limit_refusal = 10, status
    with pytest.raises(Refused) as caught:
        await client.pending(50)
    assert caught.value.status == status
    assert await client.pending(10) == []
    assert upstream.count("pending") == 2


@pytest.mark.parametrize(
    "task_id",
    [
        "plain",
        "a/b/c",
        "/",
        "a?b=c&d",
        "a#b",
        "100%",
        "a%2Fb",
        "two words",
        "a+b",
        "ünï/cödé 🙂",
        "a;b,c:d@e",
        "back\\slash",
        "pending",
    ],
)
async def test_an_id_arrives_as_one_path_segment(
    upstream: FakeUpstream, client: HttpUpstream, task_id: str
) -> None:
    upstream.add(task_id)
    await client.report(task_id, PROCESSING)
    assert upstream.states == {task_id: ["processing"]}


async def test_an_id_with_half_a_surrogate_pair_is_not_another_exception(
    client: HttpUpstream,
) -> None:
    with pytest.raises(NotFound):
        await client.report("a\ud800b", PROCESSING)


async def test_a_body_arrives_byte_for_byte(upstream: FakeUpstream, client: HttpUpstream) -> None:
    body = '{ "state":\t"failed","error":{"code":"ü","message":"\\u00fc","retryable":false} }\n'
    upstream.add("t1")
    await client.report("t1", body.encode())
    assert upstream.bodies == {"t1": [body.encode()]}
    assert upstream.requests[0].headers["Content-Type"] == "application/json"


async def test_a_body_larger_than_the_upstream_takes_is_refused(client: HttpUpstream) -> None:
    with pytest.raises(Refused) as caught:
        await client.report("t1", b"x" * 1_500_000)
    assert caught.value.status == 413


@pytest.mark.parametrize("body", [b"", b" \n", b"null", b"{}", b'"ok"', b"[" + b"1," * 100_000])
@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_a_report_is_accepted_with_any_2xx_and_json_or_nothing(
    upstream: FakeUpstream, client: HttpUpstream, status: int, body: bytes
) -> None:
    upstream.answer_next(b"" if status == 204 else body, status=status)
    await client.report("t1", PROCESSING)
    await client.pending(1)
    assert upstream.count("report") == 1


ODD = {
    "half a surrogate pair": rb'"\ud800"',
    "a name with half of one": rb'{"\udfff": 1}',
    "bytes that are not utf-8": b'"caf\xe9"',
    "a bare line break": b'"a\nb"',
    "nan": b"NaN",
    "beyond all numbers": b"[1e999, -Infinity]",
    "5000 digits": b"9" * 5000,
    "1,100 deep": b'{"a":' * 1100 + b"1" + b"}" * 1100,
    "9,000 deep": b"[" * 9000 + b"]" * 9000,
}
"""Values that a task may have, and strict JSON does not allow."""


@pytest.mark.parametrize("rest", [b"}", b', "more": "' + b"x" * 100_000 + b'"}'], ids=len)
@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
async def test_an_acknowledgement_may_show_the_task_however_odd_it_is(
    upstream: FakeUpstream, client: HttpUpstream, value: bytes, rest: bytes
) -> None:
    upstream.answer_next(b'{"id": "t1", "state": "processing", "callbackParams": ' + value + rest)
    await client.report("t1", PROCESSING)
    assert upstream.count("report") == 1


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
async def test_a_refusal_is_one_however_odd_its_message(
    upstream: FakeUpstream, client: HttpUpstream, value: bytes
) -> None:
    upstream.answer_next(b'{"statusCode": 409, "message": ' + value + b"}")
    with pytest.raises(BadAnswer):
        await client.report("t1", PROCESSING)


@pytest.mark.parametrize("error", [b'{"error": "no"}', b'{"success": false, "id": "t1"}'])
@pytest.mark.parametrize(
    ("left", "right"), [(b'{"data": ', b"}"), (b"[", b"]"), (b'{"Data": [', b"]}")]
)
async def test_a_refusal_in_an_envelope_is_one(
    upstream: FakeUpstream, client: HttpUpstream, left: bytes, right: bytes, error: bytes
) -> None:
    upstream.answer_next(left + error + right)
    with pytest.raises(BadAnswer):
        await client.report("t1", PROCESSING)
    upstream.answer_next(left + b'{"id": "t1", "state": "pending", "error": "none"}' + right)
    await client.report("t1", PROCESSING)


ERROR = b'{"code":"bad_input","message":"no \\ud800","retryable":false}'


@pytest.mark.parametrize(
    "shown",
    [b'{"error": %s}', b'{"statusCode": 200, "data": {"error": %s}}', b'{"data": [{"error": %s}]}'],
)
async def test_a_task_that_shows_the_error_just_reported_is_no_refusal(
    upstream: FakeUpstream, client: HttpUpstream, shown: bytes
) -> None:
    upstream.answer_next(shown % ERROR)
    await client.report("t1", b'{"state":"failed","error":' + ERROR + b"}")
    upstream.answer_next(shown % ERROR.replace(b"bad_input", b"no_such_column"))
    with pytest.raises(BadAnswer):
        await client.report("t1", b'{"state":"failed","error":' + ERROR + b"}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"statusCode": 403, "message": "no", "timestamp": "-", "path": "/x", "method": "PATCH"}',
        b'{"error": "invalid_token", "error_description": "expired"}',
        b'{"errors": [{"message": "no"}], "data": {"update": null}, "extensions": {"cost": 1}}',
        b'{"message": "Server Error", "exception": "E", "file": "a", "line": 3, "trace": []}',
        b'{"statusCode": 404, "name": "NotFoundError"}',
        b'{"success": "False"}',
        b'{"isSuccess": false}',
        b'{"err": "denied"}',
        b'"<!DOCTYPE html><title>Sign in</title>"',
        b'{"statusCode": 500, "message": "no", "stack": "' + b"x" * 100_000 + b'"}',
        b'{"success": false, "trace": [' + b'"x",' * 50_000 + b'""]}',
    ],
    ids=lambda body: body[:60],
)
async def test_an_error_of_another_form_is_no_acknowledgement(
    upstream: FakeUpstream, client: HttpUpstream, body: bytes
) -> None:
    upstream.answer_next(body)
    with pytest.raises(BadAnswer):
        await client.report("t1", PROCESSING)


@pytest.mark.parametrize("number", [b"-0.25,", b"0.1234,", b"-1.5e-17,", b"null,", b'"\\u00e9",'])
async def test_a_long_acknowledgement_is_one_wherever_its_beginning_ends(
    upstream: FakeUpstream, client: HttpUpstream, number: bytes
) -> None:
    for pad in range(len(number)):
        body = b'{"id": "t1", "error": "earlier", "pad": "' + b"x" * pad + b'", "embedding": ['
        upstream.answer_next(body + number * (100_000 // len(number)) + b"0]}")
        await client.report("t1", PROCESSING)
    upstream.answer_next(b'{"error": "none", "message": "updated"}')
    await client.report("t1", PROCESSING)


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html><title>Sign in</title>",
        b"  <html>",
        b"\xff\x00",
        b"OK",
        b"x" * 100_000,
        b"\xef\xbb\xbf<html>",
    ],
)
@pytest.mark.parametrize("status", [200, 202])
async def test_a_page_of_a_proxy_is_no_acknowledgement(
    upstream: FakeUpstream, client: HttpUpstream, status: int, body: bytes
) -> None:
    upstream.answer_next(body, status=status)
    with pytest.raises(BadAnswer):
        await client.report("t1", PROCESSING)
    assert upstream.states == {}


@pytest.mark.parametrize("fault", ["cuts_its_body", "stalls", "drips"])
async def test_a_report_is_accepted_with_its_status_even_if_the_body_fails(
    upstream: FakeUpstream, connect: Connect, fault: Misbehaviour
) -> None:
    client = await connect(timeout_s=0.2)
    upstream.misbehave_next(fault)
    await client.report("t1", PROCESSING)
    assert upstream.count("report") == 1


HTML = "Content-Type: text/html; charset=utf-8"
JSON = "Content-Type: application/json"
PROBLEM = "Content-Type: application/problem+json"


@asynccontextmanager
async def answering(head: str, *, hangs_up: bool) -> AsyncGenerator[str]:
    """Serve one answer whose body never comes, or not whole."""

    is_over, ended = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10_000)
        writer.write(f"HTTP/1.1 200 OK\r\n{head}".encode())
        await writer.drain()
        if not hangs_up:
            await is_over.wait()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        is_over.set()
        await ended.wait()


@pytest.mark.parametrize(
    ("head", "is_accepted"),
    [
        (f"{HTML}\r\nContent-Length: 500\r\n\r\n", False),
        (f"{HTML}\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (f"{HTML}\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!", False),
        ("Content-Length: 500\r\n\r\n", False),
        ("Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n  ", False),
        (f"{HTML}\r\nContent-Length: 0\r\n\r\n", True),
        (f"{HTML}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", True),
        (f"{JSON}\r\nContent-Length: 500\r\n\r\n", True),
        (f"{PROBLEM}\r\nTransfer-Encoding: chunked\r\n\r\n", True),
        ("Content-Length: 0\r\n\r\n", True),
    ],
)
@pytest.mark.parametrize("hangs_up", [True, False])
async def test_a_page_whose_body_does_not_come_is_no_acknowledgement(
    head: str, is_accepted: bool, hangs_up: bool
) -> None:
    async with answering(head, hangs_up=hangs_up) as url:
        client = HttpUpstream(url, sign_in=NoSignIn(), max_retries=0, timeout_s=5)
        await client.open()
        try:
            if is_accepted:
                await client.report("t1", PROCESSING)
            else:
                with pytest.raises(BadAnswer):
                    await client.report("t1", PROCESSING)
        finally:
            await client.close()


async def test_of_an_answer_that_never_ends_only_the_beginning_is_read(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    upstream.misbehave_next("never_ends")
    async with asyncio.timeout(0.8):
        await client.report("t1", PROCESSING)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_a_report_that_fails_twice_is_sent_again_with_the_same_body(
    upstream: FakeUpstream, client: HttpUpstream, status: int
) -> None:
    upstream.add("t1")
    upstream.fail_next(status, status)
    await client.report("t1", FAILED)
    assert upstream.bodies == {"t1": [FAILED] * 3}
    assert upstream.states == {"t1": ["failed"]}


async def test_a_report_whose_answer_is_lost_is_repeated_and_accepted_once(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    upstream.add("t1")
    upstream.misbehave_next("loses_its_answer", "hangs_up")
    await client.report("t1", PROCESSING)
    assert upstream.bodies == {"t1": [PROCESSING] * 3}
    assert upstream.states == {"t1": ["processing"]}


async def test_a_report_that_gets_no_answer_is_given_up_at_the_timeout(
    upstream: FakeUpstream, connect: Connect
) -> None:
    client = await connect(timeout_s=0.3, max_retries=2)
    upstream.delay_s = 3
    with pytest.raises(Unavailable, match=r"within 0\.3 s") as caught:
        await client.report("t1", PROCESSING)
    assert caught.value.status is None
    assert upstream.count("report") == 3


@pytest.mark.parametrize("max_retries", [0, 1, 3])
async def test_tries_end_after_the_first_and_its_retries(
    upstream: FakeUpstream, connect: Connect, max_retries: int
) -> None:
    client = await connect(max_retries=max_retries)
    upstream.fail_next(*[503] * 10, body=b"down for repairs")
    with pytest.raises(Unavailable) as caught:
        await client.report("t1", PROCESSING)
    assert (caught.value.dependency, caught.value.status) == ("upstream", 503)
    assert caught.value.reason == "503: down for repairs"
    assert upstream.count("report") == 1 + max_retries


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (401, Unauthorized),
        (402, Refused),
        (403, Unauthorized),
        (404, NotFound),
        (409, Conflict),
        (413, Refused),
        (422, Refused),
    ],
)
async def test_another_4xx_is_refused_at_once_with_what_was_said(
    upstream: FakeUpstream, client: HttpUpstream, status: int, error: type[Refused]
) -> None:
    upstream.add("t1")
    upstream.refuse_reports("t1", status)
    with pytest.raises(Refused) as caught:
        await client.report("t1", PROCESSING)
    assert type(caught.value) is error
    assert (caught.value.dependency, caught.value.status) == ("upstream", status)
    assert "made to be refused" in caught.value.reason
    assert upstream.count("report") == 1


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_a_bad_answer_and_is_not_followed(
    upstream: FakeUpstream, client: HttpUpstream, status: int
) -> None:
    elsewhere = {"Location": f"{upstream.url}/api/ai-tasks/pending?key=secret"}
    upstream.answer_next(b"", status=status, headers=elsewhere)
    with pytest.raises(BadAnswer) as caught:
        await client.report("t1", PROCESSING)
    assert caught.value.status == status
    assert "secret" not in str(caught.value)
    assert len(upstream.requests) == 1


async def test_nobody_listening_is_unavailable(connect: Connect) -> None:
    async with serve_fake_upstream() as gone:
        url = gone.url
    client = await connect(url, max_retries=1)
    with pytest.raises(Unreachable, match="Cannot connect"):
        await client.pending(10)


async def test_a_report_that_was_never_sent_leaves_no_doubt_who_settled_a_task(
    connect: Connect,
) -> None:
    async def refuse(_: web.BaseRequest) -> web.Response:
        return web.Response(status=409)

    runner = web.ServerRunner(web.Server(refuse))
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    class LateUpstream(NoSignIn):
        calls = 0

        async def header(self) -> str | None:
            self.calls += 1
            if self.calls == 2:
                await web.TCPSite(runner, "127.0.0.1", port).start()
            return None

    client = await connect(f"http://127.0.0.1:{port}", sign_in=LateUpstream())
    with pytest.raises(Conflict) as caught:
        await client.report("t1", PROCESSING)
    assert not caught.value.may_be_ours
    await runner.cleanup()


async def test_an_upstream_that_does_not_speak_tls_is_unavailable(
    upstream: FakeUpstream, connect: Connect
) -> None:
    client = await connect(upstream.url.replace("http:", "https:"), max_retries=0)
    with pytest.raises(Unavailable, match="Cannot connect"):
        await client.pending(10)


async def test_a_certificate_nobody_vouches_for_is_unavailable(
    connect: Connect, tmp_path: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(make_certificate(tmp_path / "server.pem"))

    def ignore(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    client = await connect(f"https://127.0.0.1:{port}", max_retries=0)
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await client.pending(10)
    server.close()
    await server.wait_closed()


async def test_retry_after_in_seconds_is_waited_out(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    loop = asyncio.get_running_loop()
    upstream.add("t1")
    upstream.fail_next(429, retry_after=0.2)
    started = loop.time()
    await client.report("t1", PROCESSING)
    assert 0.2 <= loop.time() - started < 2


async def test_retry_after_as_a_date_is_relative_to_the_date_of_the_answer(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    noon = 1_800_000_000
    headers = {
        "Date": formatdate(noon, usegmt=True),
        "Retry-After": formatdate(noon + 120, usegmt=True),
    }
    upstream.answer_next(b"", status=429, headers=headers)
    with pytest.raises(Unavailable) as caught:
        await client.pending(10)
    assert caught.value.retry_after_s == 120


async def test_retry_after_that_has_passed_is_not_waited_for(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    upstream.add("t1")
    upstream.fail_next(503, retry_after=formatdate(0, usegmt=True))
    await client.report("t1", PROCESSING)
    assert upstream.states == {"t1": ["processing"]}


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_of_more_than_a_minute_is_left_to_the_caller(
    upstream: FakeUpstream, client: HttpUpstream, status: int
) -> None:
    upstream.fail_next(status, retry_after=61)
    with pytest.raises(Unavailable) as caught:
        await client.report("t1", PROCESSING)
    assert (caught.value.status, caught.value.retry_after_s) == (status, 61)
    assert upstream.count("report") == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("9" * 400, 86_400),
        (formatdate(1030, usegmt=True), 30),
        (formatdate(900, usegmt=True), 0),
        ("Thu, 01 Jan 1970 00:17:10", 30),
        ("soon", None),
        ("-3", None),
        ("", None),
        ("inf", None),
        ("Mon, 99 Foo 2026 00:00:00 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_read(value: str | None, seconds: float | None) -> None:
    headers = {} if value is None else {"Retry-After": value}
    assert Answer("upstream", 429, headers, b"", received_at=1000).retry_after_s == seconds


async def test_requests_in_flight_are_bounded(upstream: FakeUpstream, connect: Connect) -> None:
    client = await connect(concurrency=3)
    upstream.delay_s = 0.01
    for n in range(20):
        upstream.add(f"t{n}")
    await asyncio.gather(*(client.report(f"t{n}", PROCESSING) for n in range(20)))
    assert upstream.max_in_flight == 3
    assert len(upstream.states) == 20


async def test_a_waiting_back_off_lets_others_go_ahead(
    upstream: FakeUpstream, connect: Connect
) -> None:
    client = await connect(concurrency=1)
    upstream.add("t1")
    upstream.add("t2")
    upstream.fail_next(429, retry_after=0.3)
    waiting = asyncio.create_task(client.report("t1", PROCESSING))
    await upstream.arrivals.get()
    await client.report("t2", PROCESSING)
    assert upstream.states == {"t2": ["processing"]}
    await waiting
    assert upstream.states == {"t2": ["processing"], "t1": ["processing"]}


async def test_one_bad_report_does_not_disturb_its_neighbours(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    for task_id in ("t1", "t2", "t3", "t4", "t5"):
        upstream.add(task_id)
    upstream.refuse_reports("t2", 422)
    upstream.refuse_reports("t4", 500)
    ids = ("t1", "t2", "t3", "t4", "t5", "unknown")
    results = await asyncio.gather(
        *(client.report(task_id, PROCESSING) for task_id in ids), return_exceptions=True
    )
    codes = [result.code if isinstance(result, AletheiaError) else result for result in results]
    assert codes == [None, "refused", None, "unavailable", None, "not_found"]
    assert sorted(upstream.states) == ["t1", "t3", "t5"]


async def test_connections_are_used_again(upstream: FakeUpstream, client: HttpUpstream) -> None:
    for n in range(10):
        upstream.add(f"t{n}")
        await client.report(f"t{n}", PROCESSING)
    assert len({seen.client_port for seen in upstream.requests}) == 1


async def test_a_call_that_is_cancelled_releases_its_slot(
    upstream: FakeUpstream, connect: Connect
) -> None:
    client = await connect(concurrency=1)
    upstream.misbehave_next("stalls")
    stuck = asyncio.create_task(client.pending(10))
    await upstream.arrivals.get()
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck
    assert await client.pending(10) == []


@pytest.mark.parametrize("ending", ["", "/", "//"])
async def test_a_base_url_may_have_a_path_and_a_final_slash(connect: Connect, ending: str) -> None:
    async with serve_fake_upstream(prefix="/gateway/v1") as upstream:
        client = await connect(upstream.url + ending)
        upstream.add("a/b")
        await client.report("a/b", PROCESSING)
        assert await client.pending(10) == []
        assert upstream.requests[0].path == "/gateway/v1/api/ai-tasks/a%2Fb"


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "http://",
        "http://[::1",
        "https://me:hunter2@example.com",
        "https://hunter2@example.com",
        "https://example.com/?key=hunter2",
        "https://example.com/#hunter2",
    ],
)
def test_a_base_url_that_is_no_address_is_misconfigured_and_not_repeated(base_url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        HttpUpstream(base_url, sign_in=NoSignIn())
    assert caught.value.name == "API_BASE_URL"
    assert "hunter2" not in str(caught.value)


async def test_without_a_sign_in_no_header_is_sent(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    await client.pending(10)
    assert "Authorization" not in upstream.requests[0].headers


async def test_a_token_is_sent(upstream: FakeUpstream, connect: Connect) -> None:
    client = await connect(sign_in=TokenSignIn("hunter2"))
    upstream.tokens = {"hunter2"}
    assert await client.pending(10) == []


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_never_changes_is_refused_once(
    upstream: FakeUpstream, connect: Connect, status: int
) -> None:
    client = await connect(sign_in=TokenSignIn("hunter2"))
    upstream.tokens, upstream.token_refusal = {"another"}, status
    with pytest.raises(Unauthorized) as caught:
        await client.report("t1", PROCESSING)
    assert caught.value.status == status
    assert upstream.count("report") == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_is_replaced_once(
    upstream: FakeUpstream, connect: Connect, status: int
) -> None:
    client = await connect(sign_in=RenewableSignIn("old", "new", "newer"))
    upstream.add("t1")
    upstream.tokens, upstream.token_refusal = {"new"}, status
    await client.report("t1", PROCESSING)
    assert [seen.headers["Authorization"] for seen in upstream.requests] == [
        "Bearer old",
        "Bearer new",
    ]
    upstream.tokens = {"none of them"}
    with pytest.raises(Unauthorized):
        await client.report("t1", FAILED)
    assert upstream.count("report") == 4


async def test_what_the_upstream_says_is_shown_without_the_token(
    upstream: FakeUpstream, connect: Connect
) -> None:
    client = await connect(sign_in=TokenSignIn("hunter2"), max_retries=0)
    said = b"no\x00such\x1b[31m token:\r\n Bearer hunter2 " + b"x" * 500
    upstream.answer_next(said, status=401)
    upstream.answer_next(said, status=500)
    upstream.answer_next(said)
    for error in (Unauthorized, Unavailable, BadAnswer):
        with pytest.raises(error) as caught:
            await client.pending(10)
        assert "no such [31m token: Bearer *** xxx" in str(caught.value)
        assert "hunter2" not in repr(caught.value)
        assert len(caught.value.reason) < 220


@pytest.mark.parametrize("token", ["", "two words", "new\nline", "ünï"])
def test_a_token_that_cannot_be_sent_is_misconfigured_and_not_repeated(token: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        TokenSignIn(token)
    assert not token or token not in str(caught.value)


def test_a_token_is_not_shown() -> None:
    assert "hunter2" not in repr(TokenSignIn("hunter2"))


def test_an_excerpt_hides_a_secret_at_its_end() -> None:
    shown = excerpt(b"x" * 195 + b"hunter2", "hunter2")
    assert shown == "x" * 195 + "***"


async def test_the_clocks_difference_is_the_median_of_the_last_answers(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    assert client.clock_skew_s() is None
    for ahead_s in (90, 5000, 90, -5000, 90):
        upstream.ahead_s = ahead_s
        await client.pending(10)
    assert client.clock_skew_s() == pytest.approx(90, abs=1)


async def test_a_date_that_is_none_says_nothing_about_the_clock(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    upstream.answer_next(b"[]", headers={"Date": "yesterday"})
    await client.pending(10)
    assert client.clock_skew_s() is None


async def test_opening_and_closing_twice_is_harmless(upstream: FakeUpstream) -> None:
    client = HttpUpstream(upstream.url, sign_in=NoSignIn())
    await client.open()
    await client.open()
    await client.pending(10)
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError, match="not open"):
        await client.pending(10)


async def test_a_cookie_is_not_sent_back(upstream: FakeUpstream, client: HttpUpstream) -> None:
    cookie = web.Response()
    cookie.set_cookie("session", "abc")
    upstream.answer_next(b"[]", headers={"Set-Cookie": cookie.cookies.output(header="").strip()})
    await client.pending(10)
    await client.pending(10)
    assert "Cookie" not in upstream.requests[1].headers

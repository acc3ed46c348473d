"""Sending events to webhooks, and not sending them where they must not go."""

import asyncio
import hashlib
import hmac
import logging
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.events.webhook import Webhooks
from aletheia.errors import (
    AletheiaError,
    InvalidTask,
    Misconfigured,
    Refused,
    Unavailable,
    Unreachable,
)
from aletheia.events.dead_events import DeadEvents
from aletheia.events.delivery import FanOut, Pace
from aletheia.events.log import EventLog, SavedEvent
from aletheia.events.signatures import sign
from tests.aletheia.events.event_processes import emit, iterated, story
from tests.fakes.hosts import FakeResolver, make_certificate
from tests.fakes.webhook import FakeWebhook, hmac_sha256, serve_fake_webhook
from tests.services.nx import free_port

SECRET = "s3cret"
LOCAL = ("127.0.0.1",)
NOW = 1_795_000_000.9


@pytest.fixture
async def receiver() -> AsyncGenerator[FakeWebhook]:
    async with serve_fake_webhook(SECRET) as fake:
        yield fake


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[EmbeddedDocuments]:
    documents = EmbeddedDocuments(tmp_path / "store")
    await documents.open()
    yield documents
    await documents.close()


@pytest.fixture
async def event(store: EmbeddedDocuments) -> SavedEvent:
    return await EventLog(store).append(iterated(1), run_id="r")


@asynccontextmanager
async def webhooks(**options: Any) -> AsyncGenerator[Webhooks]:
    given: dict[str, Any] = {
        "allowed_hosts": LOCAL,
        "clock": lambda: NOW,
        "timeout_s": 5.0,
        **options,
    }
    sender = Webhooks(SECRET, **given)
    await sender.open()
    try:
        yield sender
    finally:
        await sender.close()


async def send(receiver_url: str, event: SavedEvent, **options: Any) -> None:
    async with webhooks(**options) as sender:
        await sender.send(receiver_url, event)


async def test_an_event_arrives_signed_and_named_as_it_is_kept(
    receiver: FakeWebhook, event: SavedEvent
):
    await send(receiver.url, event)
    (delivery,) = receiver.deliveries
    assert receiver.refused == []
    assert delivery.body == event.body
    assert delivery.id == "p1:1"
    assert delivery.headers["X-Aletheia-Timestamp"] == "1795000000"


async def test_every_type_of_event_is_taken_by_a_strict_receiver(
    receiver: FakeWebhook, store: EmbeddedDocuments
):
    await emit(store, "run-1")
    async with webhooks() as sender:
        for event in await EventLog(store).read("p1"):
            await sender.send(receiver.url, event)
    assert receiver.refused == []
    assert receiver.ids == [f"p1:{seq}" for seq in range(1, len(story()) + 1)]


async def test_a_signature_by_another_secret_is_not_taken(event: SavedEvent):
    async with serve_fake_webhook("another") as receiver:
        with pytest.raises(Refused):
            await send(receiver.url, event)
        assert receiver.refused == ["signature"]


@pytest.mark.parametrize("secret", ["k", "k" * 64, "k" * 65, "ключ"])
def test_signatures_are_those_of_two_other_implementations(secret: str):
    body = '{"a": "ä"}'.encode()
    signed = b"1795000000." + body
    expected = hmac.digest(secret.encode(), signed, hashlib.sha256).hex()
    assert sign(secret, "1795000000", body) == f"sha256={expected}"
    assert hmac_sha256(secret.encode(), signed) == expected


def test_the_receivers_arithmetic_agrees_with_the_rfcs_example():
    # https://www.rfc-editor.org/rfc/rfc4231#section-4.3
    assert hmac_sha256(b"Jefe", b"what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@pytest.mark.parametrize(
    "status", [301, 302, 307, 308, 401, 403, 404, 408, 409, 425, 429, 500, 503]
)
async def test_answers_that_may_change_are_to_be_tried_again(
    receiver: FakeWebhook, event: SavedEvent, status: int
):
    receiver.fail_next(status)
    with pytest.raises(Unavailable) as caught:
        await send(receiver.url, event)
    assert caught.value.status == status
    assert receiver.requests == 1


@pytest.mark.parametrize("status", [400, 410, 413, 422])
async def test_answers_about_the_event_itself_are_final(
    receiver: FakeWebhook, event: SavedEvent, status: int
):
    receiver.fail_next(status)
    with pytest.raises(Refused) as caught:
        await send(receiver.url, event)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_success_is_one(receiver: FakeWebhook, event: SavedEvent, status: int):
    receiver.fail_next(status, body=b"")
    await send(receiver.url, event)
    assert receiver.requests == 1


async def test_a_receiver_may_ask_for_a_pause(receiver: FakeWebhook, event: SavedEvent):
    receiver.fail_next(429, retry_after=120)
    with pytest.raises(Unavailable) as caught:
        await send(receiver.url, event)
    assert caught.value.retry_after_s == 120


async def test_nobody_is_followed_to_another_address(receiver: FakeWebhook, event: SavedEvent):
    async with serve_fake_webhook(SECRET) as elsewhere:
        receiver.answer_next(b"", status=307, headers={"Location": elsewhere.url})
        with pytest.raises(Unavailable):
            await send(receiver.url, event)
        assert elsewhere.requests == 0


@pytest.mark.parametrize("misbehaviour", ["hangs", "drips_headers"])
async def test_a_receiver_that_takes_too_long_is_left(
    receiver: FakeWebhook, event: SavedEvent, misbehaviour: str
):
    receiver.is_hanging = misbehaviour == "hangs"
    receiver.drips_headers = misbehaviour == "drips_headers"
    before = time.monotonic()
    with pytest.raises(Unavailable, match=r"within 0\.2 s"):
        await send(receiver.url, event, timeout_s=0.2)
    assert time.monotonic() - before < 2


@pytest.mark.parametrize("misbehaviour", ["hangs_up", "is_not_http", "loses_its_answer"])
async def test_a_receiver_that_breaks_off_is_to_be_tried_again(
    receiver: FakeWebhook, event: SavedEvent, misbehaviour: Any
):
    receiver.misbehave_next(misbehaviour)
    with pytest.raises(Unavailable):
        await send(receiver.url, event)
    assert receiver.requests == 1, "not behind our back"


@pytest.mark.parametrize("misbehaviour", ["cuts_its_body", "stalls", "drips", "never_ends"])
async def test_what_a_receiver_says_after_it_has_taken_an_event_is_not_waited_for(
    receiver: FakeWebhook, event: SavedEvent, misbehaviour: Any
):
    receiver.misbehave_next(misbehaviour)
    before = time.monotonic()
    await send(receiver.url, event)
    assert time.monotonic() - before < 4


async def test_of_a_long_answer_only_the_beginning_is_read(
    receiver: FakeWebhook, event: SavedEvent
):
    receiver.fail_next(500, body=b"x" * 50_000_000)
    with pytest.raises(Unavailable) as caught:
        await send(receiver.url, event)
    assert len(str(caught.value)) < 400


async def test_a_port_that_nobody_listens_on_is_unreachable(event: SavedEvent):
    with pytest.raises(Unreachable):
        await send(f"http://127.0.0.1:{free_port()}/", event)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "ftp://example.com/",
        "http://example.com/hook",
        "https://",
        "https:///hook",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:8.8.8.8]/",
        "https://[fe80::1%25lo]/",
        "https://169.254.169.254/latest/meta-data",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://127.0.0.1./",
        "https://example.com:99999/",
        "https://example.com/" + "a" * 2000,
        "file:///etc/passwd",
    ],
)
async def test_an_address_that_cannot_be_used_is_refused_before_anything_is_asked(
    event: SavedEvent, url: str
):
    resolver = FakeResolver(["8.8.8.8"])
    async with webhooks(allowed_hosts=(), resolver=resolver) as sender:
        with pytest.raises(InvalidTask) as checked:
            sender.check(url)
        with pytest.raises(InvalidTask) as sent:
            await sender.send(url, event)
    assert checked.value.code == sent.value.code == "invalid_webhook_url"
    assert resolver.asked == []


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["::ffff:127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["10.0.0.1"]]
)
async def test_a_host_with_an_address_that_is_not_public_gets_nothing(
    receiver: FakeWebhook, event: SavedEvent, answer: list[str]
):
    resolver = FakeResolver(answer)
    with pytest.raises(Misconfigured, match="WEBHOOK_ALLOWED_HOSTS"):
        await send(
            f"https://hooks.example.test:{receiver.port}/",
            event,
            allowed_hosts=(),
            resolver=resolver,
        )
    assert resolver.asked == ["hooks.example.test"]
    assert receiver.requests == 0


class Shifting(dict[str, Any]):
    """An answer that says something else each time it is read."""

    def __init__(self, *hosts: str) -> None:
        super().__init__(port=443, family=socket.AF_INET)
        self.hosts = list(hosts)

    def __getitem__(self, name: str) -> Any:
        return self.hosts.pop(0) if name == "host" else super().__getitem__(name)


async def test_an_address_is_checked_again_as_the_connection_to_it_is_made(
    receiver: FakeWebhook, event: SavedEvent
):
    answer = Shifting("8.8.8.8", "127.0.0.1")

    class ShiftingResolver(FakeResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
            del host, port, family
            return [answer]

    answer["port"] = receiver.port
    with pytest.raises(Misconfigured, match="not public"):
        await send(
            "https://hooks.example.test/", event, allowed_hosts=(), resolver=ShiftingResolver()
        )
    assert answer.hosts == [], "it was read twice"
    assert receiver.requests == 0


async def test_of_several_addresses_one_that_is_not_public_is_enough_to_try_none(
    event: SavedEvent,
):
    answers = [Shifting("8.8.8.8"), Shifting("10.0.0.1")]

    class ShiftingResolver(FakeResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
            del host, port, family
            return answers

    with pytest.raises(Misconfigured, match="not public"):
        await send(
            "https://hooks.example.test/", event, allowed_hosts=(), resolver=ShiftingResolver()
        )
    assert [answer.hosts for answer in answers] == [[], []], "each was checked and none was tried"


async def test_the_system_is_asked_for_names_and_what_it_says_is_checked(
    receiver: FakeWebhook, event: SavedEvent
):
    with pytest.raises(Misconfigured):
        await send(f"https://localhost:{receiver.port}/", event, allowed_hosts=())
    assert receiver.requests == 0


async def test_over_tls_the_name_is_asked_for_and_checked_and_the_address_looked_up_once(
    event: SavedEvent, tmp_path: Path
):
    server, trusting = make_certificate(tmp_path, "hooks.example.test")
    names: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    resolver = FakeResolver(["127.0.0.1"], ["10.0.0.1"])
    async with serve_fake_webhook(SECRET, tls=server) as receiver:
        url = f"https://Hooks.Example.test:{receiver.port}/hook"
        options: dict[str, Any] = {"allowed_hosts": ["hooks.example.test."], "resolver": resolver}
        await send(url, event, ssl_context=trusting, **options)
        assert names == ["hooks.example.test"]
        assert resolver.asked == ["hooks.example.test"]
        assert receiver.deliveries[0].headers["Host"] == f"hooks.example.test:{receiver.port}"
        resolver = FakeResolver(["127.0.0.1"])
        with pytest.raises(Unavailable):
            await send(url, event, allowed_hosts=["hooks.example.test"], resolver=resolver)
        assert len(receiver.deliveries) == 1, "whom nobody vouches for gets nothing"


async def test_what_is_said_before_the_host_signs_in_there(
    receiver: FakeWebhook, event: SavedEvent
):
    await send(receiver.url.replace("//", "//user:pa55word@"), event)
    assert receiver.deliveries[0].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("fault", ["500", "422", "hangs_up", "hangs", "nobody"])
async def test_no_error_and_no_log_shows_what_an_address_may_hold(
    receiver: FakeWebhook, event: SavedEvent, caplog: pytest.LogCaptureFixture, fault: str
):
    caplog.set_level(logging.DEBUG)
    port = free_port() if fault == "nobody" else receiver.port
    path = "/services/t0ken-in-path?key=t0ken-in-query"
    url = f"http://us3rname:pa55word@127.0.0.1:{port}{path}"
    if fault.isdigit():
        receiver.fail_next(int(fault), body=f"no {path} for us3rname, pa55word".encode())
    receiver.is_hanging = fault == "hangs"
    if fault == "hangs_up":
        receiver.misbehave_next("hangs_up")
    with pytest.raises(AletheiaError) as caught:
        await send(url, event, timeout_s=0.2)
    shown = f"{caught.value} {caught.value!r} {caplog.text}"
    assert f"http://127.0.0.1:{port}/…" in shown
    for secret in ("t0ken-in-path", "t0ken-in-query", "us3rname", "pa55word", SECRET):
        assert secret not in shown


@pytest.mark.parametrize(("secret", "hosts"), [("", []), ("s", ["http://a"]), ("s", ["a:80"])])
def test_a_sender_that_is_set_up_wrongly_says_which_setting(secret: str, hosts: list[str]):
    with pytest.raises(Misconfigured, match="WEBHOOK_"):
        Webhooks(secret, allowed_hosts=hosts)


async def test_a_webhook_that_hangs_holds_a_run_up_by_nothing_and_gets_all_when_it_is_back(
    receiver: FakeWebhook, store: EmbeddedDocuments
):
    async with webhooks(timeout_s=0.2) as sender:
        pace = Pace(interval_s=0.005, backoff_s=0, grace_s=0.05)
        fan_out = FanOut(store, {"webhook": sender}, pace=pace)
        await fan_out.subscribe("p1", "run-1", "webhook", receiver.url)
        receiver.is_hanging = True
        async with fan_out.feeding("p1"):
            await asyncio.sleep(0.02)
            before = time.monotonic()
            numbers = await emit(store, "run-1")
            assert time.monotonic() - before < 2
        assert receiver.deliveries == []
        receiver.is_hanging = False
        receiver.fail_next(503)
        assert await fan_out.feed() == 0
        assert await fan_out.feed() == len(numbers)
    assert receiver.ids == [f"p1:{seq}" for seq in numbers]
    assert await DeadEvents(store).newest() == []

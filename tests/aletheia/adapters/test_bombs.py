"""Small answers that unpack to much, and long ones that are slow to read, cost little."""

import gzip
import resource
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import aclosing, contextmanager
from typing import Any, TypeAlias

import pytest

from aletheia.adapters.embedding.parts import says_too_long
from aletheia.adapters.embedding.remote import EmbedderPlan
from aletheia.adapters.http_answers import excerpt, is_web_page
from aletheia.adapters.ollama.client import OllamaClient
from aletheia.adapters.openai.chat import OpenAIChat
from aletheia.adapters.openai.embedder import OpenAIEmbedder
from aletheia.adapters.openai.wire import Api, ErrorAnswer, read_error
from aletheia.adapters.payload_cms import PayloadDepartments
from aletheia.adapters.upstream.oauth2 import OAuth2SignIn
from aletheia.errors import AletheiaError
from aletheia.llm.messages import ChatRequest, Message
from tests.fakes.hostile import Hostile, serve_hostile

Call: TypeAlias = Callable[[], Awaitable[object]]

MAX_GROWTH_KB = 150_000
MAX_S = 4.0

BLANKS = gzip.compress(b" " * 2**27, 1) * 24
"""Two megabytes that unpack to three gigabytes."""

ENTRIES = gzip.compress(b"[" + b"{}," * 40_000_000 + b"{}]", 1)
"""Half a megabyte that unpacks to forty million objects, of which each takes 64 bytes."""


@contextmanager
def costing_little() -> Generator[None]:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KB
    assert time.monotonic() - started < MAX_S


async def call(client: str, url: str) -> None:
    """Send one request with a client."""
    embedder = OpenAIEmbedder(Api("openai", "key", f"{url}/v1", timeout_s=20), EmbedderPlan("m"))
    chat = OpenAIChat(Api("openai", "key", f"{url}/v1", timeout_s=20))
    ollama = OllamaClient(url, timeout_s=20, pull_timeout_s=2)
    payload = PayloadDepartments(url, timeout_s=20, max_retries=0)
    sign_in = OAuth2SignIn(f"{url}/token", "id", "secret")

    async def pull() -> None:
        async with aclosing(ollama.pull("m")) as steps:
            async for _ in steps:
                pass

    calls: dict[str, tuple[Any, Call]] = {
        "embeddings": (embedder, lambda: embedder.call("m", ["a"])),
        "chat": (
            chat,
            lambda: chat.complete(ChatRequest("m", (Message("user", "Hello"),), max_tokens=9)),
        ),
        "ollama": (ollama, lambda: ollama.embed("m", ["a"])),
        "pull": (ollama, pull),
        "payload": (payload, payload.list_departments),
        "oauth2": (None, sign_in.header),
    }
    opened, ask = calls[client]
    if opened is not None:
        await opened.open()
    try:
        with pytest.raises(AletheiaError):
            await ask()
    finally:
        if opened is not None:
            await opened.close()


CLIENTS = ["embeddings", "chat", "ollama", "pull", "payload", "oauth2"]


@pytest.fixture
async def hostile() -> Any:
    async with serve_hostile() as server:
        server.headers = {"Content-Encoding": "gzip"}
        yield server


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("client", CLIENTS)
async def test_decoded_bytes_are_bounded(hostile: Hostile, client: str, status: int) -> None:
    hostile.status, hostile.body = status, BLANKS
    with costing_little():
        await call(client, hostile.url)


@pytest.mark.parametrize("client", CLIENTS)
async def test_entries_are_bounded(hostile: Hostile, client: str) -> None:
    hostile.body = ENTRIES
    with costing_little():
        await call(client, hostile.url)


async def test_a_page_of_thirty_megabytes_of_empty_documents_is_refused_at_once(
    hostile: Hostile,
) -> None:
    page = b'{"docs": [' + b"{}," * 10_000_000 + b'{}], "hasNextPage": true}'
    hostile.body = gzip.compress(page, 1)
    with costing_little():
        await call("payload", hostile.url)


async def test_a_page_of_as_many_empty_documents_as_are_read_takes_little_time(
    hostile: Hostile,
) -> None:
    page = b'{"docs": [' + b"{}," * 9_999 + b'{}], "hasNextPage": true}'
    hostile.body = gzip.compress(page, 1)
    with costing_little():
        await call("payload", hostile.url)


@pytest.mark.parametrize(
    "text",
    [
        *("model " * 40_000, "input " * 40_000, "exceeds " * 30_000, " " * 200_000),
        *("<" * 200_000, "\t<html" * 30_000, "models/x is not " * 15_000, "max " * 50_000),
    ],
)
def test_no_pattern_takes_long_with_a_long_text(text: str) -> None:
    with costing_little():
        for _ in range(5):
            answer = read_error({"message": text}, 400)
            assert isinstance(answer, ErrorAnswer)
            assert answer.is_missing_model in (True, False)
            says_too_long(400, answer.message)
            excerpt(text)
            is_web_page(text.encode())

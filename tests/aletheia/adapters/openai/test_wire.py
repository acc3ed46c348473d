import gzip
import resource
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

import pytest

from aletheia.adapters.http_answers import as_object
from aletheia.adapters.openai.chat import OpenAIChat
from aletheia.adapters.openai.wire import Api, read_json
from aletheia.errors import AletheiaError, BadAnswer, Unavailable
from aletheia.llm.messages import ChatRequest, Message
from tests.fakes.openai_chat import SONNET, FakeChatServer, serve_fake_chat

BOMB: Final = gzip.compress(b" " * 100_000_000) * 10
PACKED: Final = {"Content-Encoding": "gzip"}


@pytest.fixture
async def server() -> AsyncGenerator[FakeChatServer]:
    async with serve_fake_chat() as fake:
        yield fake


async def fail(server: FakeChatServer) -> AletheiaError:
    chat = OpenAIChat(Api("openrouter", server.api_key, server.url, timeout_s=20))
    chat.max_answer_bytes = 100_000
    await chat.open()
    request = ChatRequest(SONNET, (Message("user", "Hello."),), max_tokens=10)
    try:
        with pytest.raises(AletheiaError) as caught:
            await chat.complete(request)
    finally:
        await chat.close()
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [(200, BadAnswer, "longer than 100,000 bytes"), (500, Unavailable, "500")],
)
async def test_bytes_are_counted_after_decompression(
    server: FakeChatServer, status: int, kind: type[Unavailable], reason: str
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    server.answer_next(BOMB, status=status, headers=PACKED)
    error = await fail(server)
    assert isinstance(error, kind)
    assert error.reason == reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


async def test_a_compressed_error_is_read(server: FakeChatServer) -> None:
    body = gzip.compress(b'{"error": {"message": "down for repairs"}}')
    server.answer_next(body, status=503, headers=PACKED)
    error = await fail(server)
    assert isinstance(error, Unavailable)
    assert error.reason == "503: down for repairs"


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": "x"}, "finish_reason": ["stop"]}], "model": [[]]}',
        b'{"choices": [{"message": {"content": "\\ud800"}, "finish_reason": {}}], "model": NaN}',
    ],
)
async def test_what_is_no_text_is_none(server: FakeChatServer, body: bytes) -> None:
    chat = OpenAIChat(Api("openrouter", server.api_key, server.url))
    await chat.open()
    server.answer_next(body)
    completion = await chat.complete(ChatRequest(SONNET, (Message("user", "Hi."),), max_tokens=9))
    assert (completion.finish, completion.model) == ("other", SONNET)
    assert completion.text in ("x", "?")
    await chat.close()


@pytest.mark.parametrize("depth", [500, 2000, 100_000])
def test_deep_nesting_is_not_another_exception(depth: int) -> None:
    body = b'{"a": ' + b"[" * depth + b"NaN" + b"]" * depth + b"}"
    with suppress(ValueError):
        assert set(as_object(read_json(body))) == {"a"}


def test_a_body_of_too_many_values_is_not_read() -> None:
    with pytest.raises(ValueError, match="more than 16,000,000 values"):
        read_json(b"[" + b"1," * 16_000_001 + b"1]")

"""Whatever an outside system answers, its client raises nothing but our own errors."""

import pickle
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import pytest

from aletheia.adapters.embedding.remote import EmbedderPlan
from aletheia.adapters.ollama.client import OllamaClient
from aletheia.adapters.ollama.embedder import OllamaEmbedder
from aletheia.adapters.openai.chat import OpenAIChat
from aletheia.adapters.openai.embedder import OpenAIEmbedder
from aletheia.adapters.openai.wire import Api
from aletheia.adapters.payload_cms import PayloadDepartments
from aletheia.adapters.upstream.oauth2 import OAuth2SignIn
from aletheia.errors import AletheiaError
from aletheia.llm.messages import ChatRequest, Message
from tests.fakes.hostile import Hostile, serve_hostile, spoil

Ask: TypeAlias = Callable[[], Awaitable[object]]

ERROR: dict[str, Any] = {
    "error": {"message": "no", "type": "invalid_request_error", "param": "input", "code": "x"}
}


@pytest.fixture
async def hostile() -> AsyncGenerator[Hostile]:
    async with serve_hostile() as server:
        yield server


async def try_all(hostile: Hostile, good: list[Any], ask: Ask, seed: int) -> None:
    """Ask for each of the bad answers; at least some of them have to be refused, and some taken."""
    failed = 0
    for _ in spoil(hostile, good, seed):
        try:
            await ask()
        except AletheiaError as error:
            failed += 1
            str(error).encode()
            pickle.loads(pickle.dumps(error))
        except Exception as error:
            error.add_note(f"{hostile.status} {hostile.headers} {hostile.body[:2000]!r}")
            raise
    assert 500 < failed < 2990


async def embed_all(embedder: OpenAIEmbedder | OllamaEmbedder, model: str) -> None:
    async with aclosing(embedder.embed(model, ["one", "two", "three"])) as groups:
        async for group in groups:
            for answer in group:
                str(answer.result).encode()


async def test_chat(hostile: Hostile) -> None:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "hi"},
        "finish_reason": "stop",
    }
    parts = {"message": {"content": [{"type": "text", "text": "hi"}], "refusal": None}}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    good: list[Any] = [
        {"id": "x", "model": "m", "choices": [choice], "usage": usage},
        {"model": "m", "choices": [parts]},
        {"choices": [{"error": {"code": 429, "message": "slow down"}, **choice}]},
        ERROR,
        [{"error": {"code": 404, "message": "models/x is not found", "status": "NOT_FOUND"}}],
    ]
    chat = OpenAIChat(Api("openai", "key", f"{hostile.url}/v1", timeout_s=5))
    await chat.open()
    request = ChatRequest("m", (Message("user", "Hello \ud800"),), max_tokens=9)
    number = 0

    async def ask() -> object:
        nonlocal number
        number += 1
        return await chat.complete(ChatRequest(f"m{number}", request.messages, max_tokens=9))

    await try_all(hostile, good, ask, 1)
    await chat.close()


async def test_embeddings(hostile: Hostile) -> None:
    data = [{"object": "embedding", "index": i, "embedding": [0.5, i + 1.0]} for i in range(3)]
    coded = [{"index": 0, "embedding": "AACAPwAAAEA="}]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    good: list[Any] = [
        {"object": "list", "data": data, "model": "m", "usage": usage},
        {"data": data, "usage": None},
        {"data": coded},
        ERROR,
        {"object": "error", "message": "too many inputs", "code": 400},
        {"detail": [{"loc": ["body"], "msg": "input is too long"}]},
    ]
    embedders = [
        OpenAIEmbedder(
            Api("openai", "key", url, timeout_s=5), EmbedderPlan("m", long_text="truncate")
        )
        for url in (f"{hostile.url}/v1", hostile.url)
    ]
    for embedder in embedders:
        await embedder.open()
    number = 0

    async def ask() -> None:
        nonlocal number
        number += 1
        embedder = embedders[number % 2]
        if number % 20 < 2:
            await embed_all(embedder, "m")
        else:
            await embedder.call("m", ["one", "two", "three"])

    await try_all(hostile, good, ask, 2)
    for embedder in embedders:
        await embedder.close()


async def test_ollama(hostile: Hostile) -> None:
    vectors = [[0.5, 1.0], [0.25, 2.0], [1.0, 0.125]]
    facts = {"size": 3, "size_vram": 0, "digest": "d", "expires_at": "2026-01-01T00:00:00Z"}
    good: list[Any] = [
        {"model": "m", "embeddings": vectors, "prompt_eval_count": 3, "done_reason": "unload"},
        {"models": [{"name": "m:latest", **facts}]},
        {"model_info": {"general.architecture": "a", "a.context_length": 9}, "capabilities": ["x"]},
        {"version": "0.12"},
        {"status": "pulling", "digest": "d", "total": 9, "completed": 3},
        {"error": "model 'm' not found"},
    ]
    client = OllamaClient(hostile.url, timeout_s=5)
    client.stall_s = 1
    embedder = OllamaEmbedder(client, EmbedderPlan("m", long_text="truncate"))
    await client.open()

    async def pull() -> None:
        async with aclosing(client.pull("m")) as steps:
            async for _ in steps:
                pass

    asks: list[Ask] = [
        lambda: client.embed("m", ["one", "two", "three"]),
        lambda: embed_all(embedder, "m"),
        *(client.version, client.installed, client.loaded),
        lambda: client.context_length("m"),
        pull,
    ]
    number = 0

    async def ask() -> object:
        nonlocal number
        number += 1
        return await asks[number % len(asks)]()

    await try_all(hostile, good, ask, 4)
    await client.close()


async def test_oauth2(hostile: Hostile) -> None:
    good: list[Any] = [
        {"access_token": "token", "token_type": "bearer", "expires_in": 3600, "scope": "a b"},
        {"error": "invalid_client", "error_description": "no such client", "error_hint": "look"},
    ]

    async def ask() -> object:
        return await OAuth2SignIn(f"{hostile.url}/token", "id", "secret").header()

    await try_all(hostile, good, ask, 5)


async def test_payload(hostile: Hostile) -> None:
    document = {
        "id": 7,
        "slug": "sales",
        "name": "Sales",
        "description": "Sells.",
        "codeDepNumber": 3,
        "gatherCheck": True,
        "isActive": True,
        "defaultModel": "m",
        "coordinationSettings": {"minQualityThreshold": 85},
    }
    page = {"docs": [document, {**document, "id": "b"}], "hasNextPage": False, "totalDocs": 2}
    good: list[Any] = [page, page, {"errors": [{"message": "no"}]}]
    source = PayloadDepartments(hostile.url, timeout_s=5, max_retries=0)
    await source.open()
    await try_all(hostile, good, source.list_departments, 6)
    await source.close()

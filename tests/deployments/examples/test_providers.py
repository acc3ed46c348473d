"""The example providers, asked by the clients that shifts use."""

from collections.abc import AsyncGenerator

import pytest

from aletheia.adapters.embedding.remote import EmbedderPlan
from aletheia.adapters.ollama.client import OllamaClient
from aletheia.adapters.openai.embedder import OpenAIEmbedder
from aletheia.adapters.openai.wire import Api
from aletheia.analysis.ports import Embedding
from aletheia.errors import InvalidTask, Unavailable
from deployments.examples.providers import ExampleProviders


@pytest.fixture
async def providers() -> AsyncGenerator[ExampleProviders]:
    example = ExampleProviders()
    await example.start()
    yield example
    await example.stop()


@pytest.fixture
async def ollama(providers: ExampleProviders) -> AsyncGenerator[OllamaClient]:
    client = OllamaClient(providers.url)
    await client.open()
    yield client
    await client.close()


async def test_openai_embeds_in_the_order_of_the_texts(providers: ExampleProviders):
    embedder = OpenAIEmbedder(Api("openai", "sk-example", f"{providers.url}/v1"), EmbedderPlan("m"))
    await embedder.open()
    answers = [
        answer
        async for group in embedder.embed("text-embedding-3-small", ["a", "b"])
        for answer in group
    ]
    await embedder.close()
    assert sorted(answer.index for answer in answers) == [0, 1]
    for answer in answers:
        assert isinstance(answer.result, Embedding)
        assert len(answer.result.vector) == 1536


async def test_ollama_has_its_models_loads_them_and_lets_them_go(ollama: OllamaClient):
    assert len(await ollama.installed()) == 2
    model, _ = await ollama.load("all-minilm")
    assert model.name == "all-minilm:latest"
    assert await ollama.context_length("all-minilm") == 2048
    await ollama.unload("all-minilm")
    assert await ollama.loaded() == []
    assert [progress.status async for progress in ollama.pull("all-minilm")] == ["success"]
    with pytest.raises(InvalidTask, match="not found"):
        await ollama.embed("no-such-model", ["a"])


async def test_ollama_fails_after_as_many_requests_as_were_set(
    ollama: OllamaClient, providers: ExampleProviders
):
    providers.requests_left = 1
    assert len((await ollama.embed("nomic-embed-text", ["a", "b"])).vectors) == 2
    with pytest.raises(Unavailable):
        await ollama.embed("nomic-embed-text", ["a"])

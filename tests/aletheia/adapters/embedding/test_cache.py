"""Embeddings that need not be paid for twice."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.embedding.cache import CACHE, EmbeddingCache, HitRate, read_hit_rates
from aletheia.analysis.ports import Embedding
from aletheia.documents import Documents
from aletheia.errors import RateLimited, Unavailable
from tests.aletheia.resilience.conftest import Clock, clock, documents, mongodb_uri
from tests.fakes.embedder import FakeEmbedder

__all__ = ["clock", "documents", "mongodb_uri"]


def cache(inner: FakeEmbedder, documents: Documents, clock: Clock, **options: str | float):
    return EmbeddingCache(inner, documents, clock=clock, **{"ttl_s": 60, **options})  # pyright: ignore[reportArgumentType] - any option of a test


async def embed(
    embedder: EmbeddingCache, texts: Sequence[str], model: str = "small"
) -> list[Embedding]:
    found: dict[int, Embedding] = {}
    async for answered in embedder.embed(model, texts):
        for answer in answered:
            assert isinstance(answer.result, Embedding)
            assert answer.index not in found
            found[answer.index] = answer.result
    return [found[index] for index in range(len(texts))]


async def test_what_was_embedded_is_not_asked_for_again(documents: Documents, clock: Clock):
    inner = FakeEmbedder()
    first = await embed(cache(inner, documents, clock), ["a", "bb"])
    again = await embed(cache(inner, documents, clock), ["bb", "ccc", "a", "bb"])
    assert inner.asked == [("small", ["a", "bb"]), ("small", ["ccc"])]
    assert [answer.is_cached for answer in again] == [True, False, True, True]
    assert [answer.tokens for answer in again] == [0, 3, 0, 0]
    assert again[2].vector.dtype == np.float32
    assert again[2].vector.tolist() == first[0].vector.tolist()


async def test_lookups_are_counted(documents: Documents, clock: Clock):
    embedder = cache(FakeEmbedder(), documents, clock)
    for _ in range(3):
        await embed(embedder, ["a", "bb"])
    (rate,) = await read_hit_rates(documents)
    assert rate == HitRate("ollama: small", 4, 2)
    assert rate.share == pytest.approx(2 / 3)


async def test_an_entry_ends_with_its_time(documents: Documents, clock: Clock):
    inner = FakeEmbedder()
    embedder = cache(inner, documents, clock)
    await embed(embedder, ["a"])
    clock.move(seconds=60)
    assert (await embed(embedder, ["a"]))[0].is_cached
    clock.move(seconds=0.1)
    assert not (await embed(embedder, ["a"]))[0].is_cached
    clock.move(seconds=61)
    await embed(embedder, ["bb"])
    assert await documents.count(CACHE, {}) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(("small", "openai", ""), id="provider"),
        pytest.param(("big", "ollama", ""), id="model"),
        pytest.param(("small", "ollama", "256"), id="dimensions"),
    ],
)
async def test_vectors_of_different_kinds_are_kept_apart(
    documents: Documents, clock: Clock, other: tuple[str, str, str]
):
    await embed(cache(FakeEmbedder(), documents, clock), ["a"])
    model, provider, variant = other
    embedder = cache(FakeEmbedder(provider), documents, clock, variant=variant)
    assert not (await embed(embedder, ["a"], model))[0].is_cached


async def test_without_a_time_to_live_nothing_is_kept(documents: Documents, clock: Clock):
    embedder = cache(FakeEmbedder(), documents, clock, ttl_s=0)
    for _ in range(2):
        assert not (await embed(embedder, ["a"]))[0].is_cached
    assert await documents.count(CACHE, {}) == 0


async def test_what_is_cached_needs_no_capacity(documents: Documents, clock: Clock):
    inner = FakeEmbedder()
    embedder = cache(inner, documents, clock)
    await embed(embedder, ["a", "bb"])
    limited = RateLimited("ollama", datetime.now(UTC))
    inner.holds = [limited] * 3
    assert await embedder.capacity("small", ["a", "bb"]) == 2
    assert await embedder.capacity("small", ["a", "new", "bb"]) == 1
    inner.holds = [limited] * 2
    with pytest.raises(RateLimited):
        await embedder.capacity("small", ["new", "a"])
    inner.max_texts = 1
    assert await embedder.capacity("small", ["a", "new", "bb", "newer", "a"]) == 3


async def test_a_store_that_is_lost_costs_the_saving_only(
    clock: Clock, tmp_path_factory: pytest.TempPathFactory
):
    documents = EmbeddedDocuments(tmp_path_factory.mktemp("store"))
    embedder = cache(FakeEmbedder(), documents, clock)
    with pytest.raises(Unavailable):
        await documents.count(CACHE, {})
    assert (await embed(embedder, ["a"]))[0].vector.tolist() == [1, 1]

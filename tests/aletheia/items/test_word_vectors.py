"""Which words are embedded, and how near they are to each other."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from aletheia.errors import InvalidTask, Unavailable
from aletheia.items import word_vectors
from aletheia.items.word_vectors import WordVectors

VECTORS = {"bell": (2.0, 0.0), "gong": (1.2, 1.6), "gate": (0.0, 1.0), "anti": (-1.0, 0.0)}


class Embedding:
    """Knows some words, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.error: Unavailable | None = None

    async def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked.append(list(texts))
        if self.error is not None:
            raise self.error
        if "bad" in texts:
            raise InvalidTask("no_tokens", "nothing to embed")
        return np.array([VECTORS.get(text, (0.0, 0.0)) for text in texts], np.float32)


@pytest.fixture
def embedding() -> Embedding:
    return Embedding()


async def test_a_word_is_as_near_as_its_nearest(embedding: Embedding):
    words = WordVectors(embedding)
    await words.prepare(VECTORS)
    near = words.measure(["gong", "anti"], ["bell", "gate"])
    assert near is not None
    assert near.tolist() == pytest.approx([0.8, 0.0])


async def test_a_word_is_embedded_once_and_all_in_one_call(embedding: Embedding):
    words = WordVectors(embedding)
    await words.prepare(["bell", "gong", "bell"])
    await words.prepare(["gong", "gate"])
    await words.prepare(["gate"])
    assert embedding.asked == [["bell", "gong"], ["gate"]]


async def test_a_word_without_a_vector_is_like_none(embedding: Embedding):
    words = WordVectors(embedding)
    await words.prepare(["bell", "zero", "x" * 100])
    near = words.measure(["zero", "x" * 100, "bell"], ["bell"])
    assert near is not None
    assert near.tolist() == [0.0, 0.0, 1.0]
    assert words.measure(["unknown"], ["bell"]) is None


async def test_a_word_that_cannot_be_embedded_costs_only_itself(embedding: Embedding):
    words = WordVectors(embedding)
    await words.prepare(["bell", "bad", "gong"])
    near = words.measure(["bad", "gong"], ["bell"])
    assert near is not None
    assert near.tolist() == pytest.approx([0.0, 0.6])


async def test_an_outage_is_raised_and_the_words_are_asked_for_again(embedding: Embedding):
    words = WordVectors(embedding)
    embedding.error = Unavailable("embedder", "503")
    with pytest.raises(Unavailable):
        await words.prepare(["bell"])
    embedding.error = None
    await words.prepare(["bell", "gate"])
    assert words.measure(["bell"], ["gate"]) is not None


async def test_there_are_never_more_words_than_fit(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(word_vectors, "MAX_WORDS", 3)
    words = WordVectors(embedding)
    await words.prepare(["bell", "gong"])
    await words.prepare(["gate", "anti"])
    assert words.measure(["bell"], ["gate"]) is None
    await words.prepare(["bell"])
    assert words.measure(["bell"], ["gate"]) is not None

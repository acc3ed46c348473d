"""Sentiment by a lexicon and embeddings."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.analysis.ports import Embedded
from aletheia.analysis.sentiment_reading import (
    MAX_PARTS,
    PART_CHARS,
    SentimentReader,
    split_parts,
    take_evenly,
)
from aletheia.errors import InvalidTask, ModelUnavailable
from tests.fakes.embedder import FakeEmbedder

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


class LocalMock(MockEmbedder):
    """Embeds as the local model would be called, with vectors of its length."""

    provider: str = "local"
    is_mock: bool = False

    def __init__(self) -> None:
        super().__init__(default_model=MINILM)


async def test_without_an_embedder_the_lexicon_judges_and_is_named():
    (found,) = await SentimentReader().read(["What a wonderful day, I love it!"])
    assert found.sentiment == "positive"
    assert found.confidence == found.scores.sentiments["positive"] > 0.6
    assert found.model.startswith("vaderSentiment ")
    assert (found.provider, found.tokens, found.is_sampled) == ("local", 0, False)


async def test_a_model_with_a_head_is_used_and_named():
    (found,) = await SentimentReader(LocalMock()).read(["What a wonderful day!"])
    assert found.model.startswith(f"{MINILM} + vaderSentiment")
    assert found.tokens > 0


@pytest.mark.parametrize("provider", ["ollama", "openai"])
async def test_vectors_of_others_are_another_space(provider: str):
    embedder = FakeEmbedder(provider, [MINILM.lower()])
    (found,) = await SentimentReader(embedder).read(["What a wonderful day!"])
    assert found.model.startswith("vaderSentiment")
    assert embedder.asked == []


@pytest.mark.parametrize("after", [0, 1])
async def test_an_embedder_that_fails_costs_no_task(after: int):
    embedder = FakeEmbedder("local", [MINILM.lower()])
    embedder.breaks = [(ModelUnavailable(MINILM, "gone"), 0)]
    texts = ["What a wonderful day!", "What a terrible day!"][: 1 + after]
    found = await SentimentReader(embedder).read(texts)
    assert [reading.sentiment for reading in found] == ["positive", "negative"][: 1 + after]
    assert all(reading.model.startswith("vaderSentiment") for reading in found)
    assert len(embedder.asked) == 1


async def test_a_text_without_letters_is_read_by_the_lexicon_and_is_not_embedded():
    found = await SentimentReader(LocalMock()).read(["😀😍🎉", "😢😭", "12:30 / 7", "..."])
    assert [reading.sentiment for reading in found[:2]] == ["positive", "negative"]
    assert all(reading.model.startswith("vaderSentiment") for reading in found)
    assert all(reading.confidence < 0.9 for reading in found[2:])


async def test_a_long_text_is_read_in_parts_from_all_of_it():
    text = "The first half is good and nice. " * 2000 + "The second half is awful and bad. " * 2000
    (found,) = await SentimentReader().read([text])
    assert found.is_sampled
    assert abs(found.scores.sentiments["positive"] - found.scores.sentiments["negative"]) < 0.3
    (whole,) = await SentimentReader().read(["It is good. It is nice."])
    assert not whole.is_sampled


def test_parts_hold_whole_sentences_and_lose_no_word():
    text = " ".join(f"Sentence number {number} is here." for number in range(100))
    parts = split_parts(text)
    assert " ".join(parts) == text
    assert all(len(part) <= PART_CHARS for part in parts)
    assert all(part.endswith(".") for part in parts)


@pytest.mark.parametrize("text", ["😀", "...", "a" * 5000, "\n\n."])
def test_there_is_always_a_part(text: str):
    parts = split_parts(text)
    assert parts
    assert all(len(part) <= PART_CHARS for part in parts)


def test_parts_are_taken_evenly_with_both_ends():
    parts = [str(number) for number in range(100)]
    taken = take_evenly(parts, MAX_PARTS)
    assert len(taken) == MAX_PARTS
    assert (taken[0], taken[-1]) == ("0", "99")
    assert taken == sorted(taken, key=int)
    assert take_evenly(parts[:5], MAX_PARTS) == parts[:5]


async def test_no_texts_no_readings():
    assert await SentimentReader(LocalMock()).read([]) == []


async def test_a_fault_of_one_text_leaves_the_others():
    class Faulty(LocalMock):
        async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[list[Embedded]]:
            async for answers in super().embed(model, texts):
                yield [
                    Embedded(answer.index, InvalidTask("bad_vector", "no"))
                    if "bad" in texts[answer.index]
                    else answer
                    for answer in answers
                ]

    one, other = await SentimentReader(Faulty()).read(["A bad day.", "A good day."])
    assert one.model.startswith("vaderSentiment")
    assert other.model.startswith(MINILM)


async def test_a_line_of_signs_in_a_text_leaves_the_model_to_the_others():
    text = "It is a good day. " * 40 + "\n\n" + "12:30 / 7 = 5. " * 60
    (found,) = await SentimentReader(LocalMock()).read([text])
    assert found.model.startswith(MINILM)

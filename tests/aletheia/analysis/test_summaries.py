"""Summaries of a document's own sentences."""

from collections.abc import AsyncGenerator, Sequence

import numpy as np
import pytest

from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.analysis.ports import Embedded, Embedding
from aletheia.analysis.summaries import (
    KEY_POINTS,
    LENGTHS,
    LEXICAL,
    MAX_CHARS,
    ExtractiveSummarizer,
)
from aletheia.errors import AletheiaError, InvalidTask, Unavailable
from aletheia.text.extracts import lexical_vectors
from aletheia.text.spans import Span
from tests.fakes.samples import sentences

TEXT = sentences(60)


class WordEmbedder:
    """Embeds texts by their words, or fails as told; `asked` are all texts."""

    provider = "words-as-a-service"
    is_mock = False

    def __init__(self, error: AletheiaError | None = None, *, loses: int = 0) -> None:
        self.asked: list[str] = []
        self._error, self._loses = error, loses

    def canonical_model(self, model: str | None) -> str:
        return model or "words-1"

    async def capacity(self, model: str, texts: Sequence[str]) -> int:
        assert model
        return len(texts)

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        assert model == "words-1"
        self.asked += texts
        if self._error is not None:
            raise self._error
        vectors = lexical_vectors([Span(text, 0, len(text)) for text in texts])
        for place in reversed(range(self._loses, len(texts))):
            yield [Embedded(place, Embedding(vectors[place].astype(np.float32) * 3, tokens=2))]


async def test_every_length_is_a_part_of_the_next_longer_one_word_for_word():
    summary = await ExtractiveSummarizer().summarize(TEXT)
    short, medium, long = (set(summary.sentences_of(length)) for length in LENGTHS)
    assert short < medium < long
    for sentence in long:
        assert sentence.start is not None
        assert TEXT[sentence.start : sentence.end] == sentence.text
    for length in LENGTHS:
        assert 0 < len(summary.text_of(length)) <= MAX_CHARS[length]
    assert summary.is_extractive


async def test_sentences_stand_in_the_order_of_the_text_and_points_by_their_weight():
    summary = await ExtractiveSummarizer().summarize(TEXT)
    starts = [sentence.start for sentence in summary.sentences]
    assert starts == sorted(starts, key=lambda start: start or 0)
    for length in LENGTHS:
        assert len(summary.key_points_of(length)) == KEY_POINTS[length]
    for point in summary.key_points:
        assert point.start is not None
        assert " ".join(TEXT[point.start : point.end].split()) == point.text


async def test_sentences_are_compared_by_the_embedder_that_is_there():
    embedder = WordEmbedder()
    summary = await ExtractiveSummarizer(embedder).summarize(TEXT)
    assert (summary.provider, summary.model) == ("words-as-a-service", "words-1")
    assert summary.tokens == 2 * len(embedder.asked) == 120
    by_words = await ExtractiveSummarizer().summarize(TEXT)
    assert summary.sentences == by_words.sentences, "its vectors are those of the words"


@pytest.mark.parametrize(
    "embedder",
    [
        WordEmbedder(Unavailable("openai", "down")),
        WordEmbedder(InvalidTask("input_too_long", "too long")),
        WordEmbedder(loses=1),
        MockEmbedder(),
        None,
    ],
    ids=["down", "refuses", "loses one", "mock", "none"],
)
async def test_without_vectors_that_mean_something_words_are_compared(
    embedder: WordEmbedder | MockEmbedder | None,
):
    summary = await ExtractiveSummarizer(embedder).summarize(TEXT)
    assert (summary.provider, summary.model) == ("extractive", LEXICAL)
    assert len(summary.text_of("medium")) > 200


async def test_of_a_long_document_few_sentences_are_embedded():
    embedder = WordEmbedder()
    summary = await ExtractiveSummarizer(embedder, max_embedded=50).summarize(sentences(2000))
    assert len(embedder.asked) == 50
    places = [sentence.start for sentence in summary.sentences if sentence.start is not None]
    assert max(places) > 80_000, "its end is read as well as its beginning"


@pytest.mark.parametrize("text", ["", " \n ", "... !!! ???"])
async def test_a_text_without_a_sentence_has_no_summary(text: str):
    with pytest.raises(InvalidTask) as refused:
        await ExtractiveSummarizer().summarize(text)
    assert refused.value.code == "no_text"


async def test_a_text_of_one_sentence_is_its_own_summary():
    summary = await ExtractiveSummarizer(WordEmbedder()).summarize("A short note.")
    assert {summary.text_of(length) for length in LENGTHS} == {"A short note."}


async def test_line_breaks_of_a_page_are_not_those_of_a_summary():
    text = "The harbour stores grain\nin nine large silos near the river."
    summary = await ExtractiveSummarizer().summarize(text)
    assert summary.sentences[0].text == text
    assert summary.text_of("short") == text.replace("\n", " ")


@pytest.mark.parametrize("text", ["x. y. z", "the of and", "q"])
async def test_a_text_without_content_has_its_beginning_as_a_summary(text: str):
    summary = await ExtractiveSummarizer().summarize(text)
    assert text.startswith(summary.text_of("short"))
    assert summary.text_of("short")

"""Summaries of documents at three lengths, each a part of the next longer one, with key points.

By a chat model where there is one, a long document part by part (map) and its notes together
(reduce), within a budget of tokens; otherwise, and where the model fails, of the document's own
sentences, verbatim, with the places where they stand.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

import numpy as np

from aletheia.analysis.ports import Embedder
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask
from aletheia.text.extracts import (
    SHORT_TEXT,
    Vectors,
    choose_candidates,
    choose_central,
    lexical_vectors,
    order_sentences,
    take_chars,
    take_fitting,
)
from aletheia.text.spans import Span, split_spans

log = logging.getLogger(__name__)

SummaryLength: TypeAlias = Literal["short", "medium", "long"]

LENGTHS: Final[tuple[SummaryLength, ...]] = get_args(SummaryLength)

MAX_CHARS: Final[Mapping[SummaryLength, int]] = {"short": 400, "medium": 1200, "long": 3600}
"""Characters of an extractive summary, about: one that is written is asked for in sentences."""

KEY_POINTS: Final[Mapping[SummaryLength, int]] = {"short": 3, "medium": 5, "long": 8}

MAX_EMBEDDED: Final = 400
"""Sentences of a document that are embedded, those of every part that say most: a few seconds."""

_MIN_SENTENCE: Final = 10
"""Characters that a sentence of a summary has at least, about."""

EXTRACTIVE: Final = "extractive"
LEXICAL: Final = "words"
"""Name of the model where no model embeds the sentences."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a summary; `start` is where it stands in the text, `None` if it was written."""

    text: str
    level: SummaryLength  # the shortest summary that has it
    start: int | None = None  # in characters
    end: int | None = None


@dataclass(frozen=True, slots=True)
class KeyPoint:
    """A point to remember, and where it stands in the text; `None` if it was written."""

    text: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary in all three lengths."""

    sentences: tuple[Sentence, ...]  # of the long one, in order
    key_points: tuple[KeyPoint, ...]  # the weightiest ones first
    is_extractive: bool  # whether all of it stands in the text word for word
    provider: str
    model: str
    tokens: int = 0  # that were used
    is_condensed: bool = False  # whether a model was shown a part of the text's sentences alone
    is_mock: bool = False
    fallback: str = ""  # code of the error that is why no model wrote it, where one was asked

    def sentences_of(self, length: SummaryLength) -> tuple[Sentence, ...]:
        """Return the sentences of one length."""
        levels = LENGTHS[: LENGTHS.index(length) + 1]
        return tuple(sentence for sentence in self.sentences if sentence.level in levels)

    def text_of(self, length: SummaryLength) -> str:
        """Return the summary in one length, its sentences each on one line of words."""
        return " ".join(" ".join(part.text.split()) for part in self.sentences_of(length))

    def key_points_of(self, length: SummaryLength) -> tuple[KeyPoint, ...]:
        """Return the key points that go with one length."""
        return self.key_points[: KEY_POINTS[length]]


class Summarizer(Protocol):
    """Summarises texts."""

    async def summarize(self, text: str) -> Summary:
        """Summarise a text.

        Raises:
            InvalidTask: `no_text`; there is no sentence in it.
        """
        ...


class ExtractiveSummarizer:
    """Takes the sentences that represent a text best, by the embeddings of `embedder`.

    Without one, or where its vectors mean nothing, sentences are compared by their words.
    """

    def __init__(
        self, embedder: Embedder | None = None, *, max_embedded: int = MAX_EMBEDDED
    ) -> None:
        self._embedder = None if embedder is None or embedder.is_mock else embedder
        self._max_embedded = max_embedded

    async def summarize(self, text: str) -> Summary:
        """See `Summarizer.summarize`."""
        return await self.summarize_spans(split_spans(text))

    async def summarize_spans(self, spans: Sequence[Span]) -> Summary:
        """Summarise a text that has been split into sentences; see `Summarizer.summarize`."""
        chosen = await self._choose(spans)
        vectors, name, tokens = await self._embed(chosen)
        needed = _count_needed(chosen)
        order = await asyncio.to_thread(order_sentences, vectors, chosen, needed) or [0]
        return Summary(
            sentences=_nest(order, chosen),
            key_points=tuple(
                KeyPoint(chosen[index].shown, chosen[index].start, chosen[index].end)
                for index in order[: max(KEY_POINTS.values())]
            ),
            is_extractive=True,
            provider=self._name_provider(name),
            model=name,
            tokens=tokens,
        )

    async def summarize_within(self, spans: Sequence[Span], max_chars: int) -> Summary:
        """Summarise a text in at most `max_chars`, on one level; see `Summarizer.summarize`.

        Where even its shortest sentence is longer, the beginning of the best one is taken.
        """
        chosen = await self._choose(spans)
        vectors, name, tokens = await self._embed(chosen)
        limit = max_chars // _MIN_SENTENCE + 1
        order = await asyncio.to_thread(
            order_sentences,
            vectors,
            chosen,
            limit,
            max_chars=max_chars,
            is_short=len(spans) <= SHORT_TEXT,
        )
        taken = [chosen[index] for index in take_fitting(order, chosen, max_chars)]
        if not taken:
            best = await asyncio.to_thread(order_sentences, vectors, chosen, 1)
            taken = [cut_span(chosen[(best or [0])[0]], max_chars)]
        return Summary(
            sentences=tuple(Sentence(span.text, "short", span.start, span.end) for span in taken),
            key_points=(),
            is_extractive=True,
            provider=self._name_provider(name),
            model=name,
            tokens=tokens,
        )

    async def _choose(self, spans: Sequence[Span]) -> list[Span]:
        """Return the sentences that may stand in a summary."""
        if not spans:
            raise InvalidTask("no_text", "there is no text to summarise")
        return await asyncio.to_thread(_choose, spans, self._max_embedded)

    def _name_provider(self, model: str) -> str:
        if self._embedder is None or model == LEXICAL:
            return EXTRACTIVE
        return self._embedder.provider

    async def _embed(self, spans: Sequence[Span]) -> tuple[Vectors, str, int]:
        """Return unit vectors of sentences, by which model, and the tokens that took.

        An embedder that cannot work now costs no task: words compare sentences, too.
        """
        if self._embedder is not None and len(spans) > 1:
            try:
                model = self._embedder.canonical_model(None)
                return await _embed_all(self._embedder, model, [span.shown for span in spans])
            except AletheiaError as error:
                log.warning("sentences are compared by their words: %s", error)
        return lexical_vectors(spans), LEXICAL, 0


async def _embed_all(
    embedder: Embedder, model: str, texts: Sequence[str]
) -> tuple[Vectors, str, int]:
    rows: dict[int, Any] = {}
    tokens = 0
    async with aclosing(embedder.embed(model, texts)) as answers:
        async for answered in answers:
            for answer in answered:
                if isinstance(answer.result, AletheiaError):
                    raise answer.result
                rows[answer.index] = answer.result.vector
                tokens += answer.result.tokens
    if len(rows) != len(texts):
        raise ComputeFailed("embedding_incomplete", f"{len(texts) - len(rows)} vectors are missing")
    vectors = np.stack([rows[place] for place in range(len(texts))])
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, 1e-9), model, tokens


def _choose(spans: Sequence[Span], limit: int) -> list[Span]:
    """Return the sentences that may stand in a summary, of every part of the text."""
    candidates = choose_candidates(spans)
    return [candidates[index] for index in choose_central(candidates, limit)]


def cut_span(span: Span, max_chars: int) -> Span:
    """Return the beginning of a sentence, at most `max_chars`, whole words where there are any."""
    shown = span.text[:max_chars]
    if len(shown) < len(span.text) and not span.text[max_chars].isspace():
        words = shown.rsplit(None, 1)
        shown = words[0] if len(words) > 1 else shown
    shown = shown.rstrip()
    return Span(shown, span.start, span.start + len(shown))


def _count_needed(spans: Sequence[Span]) -> int:
    """Return how many sentences may be needed: more than fit into the long summary."""
    mean = sum(len(span.text) for span in spans) / len(spans)
    return max(*KEY_POINTS.values(), int(2 * MAX_CHARS["long"] / max(mean, 20.0)) + 1)


def _nest(order: Sequence[int], spans: Sequence[Span]) -> tuple[Sentence, ...]:
    """Return the sentences of the long summary, each with the shortest summary that has it."""
    levels: dict[int, SummaryLength] = {}
    for length in LENGTHS:
        for index in take_chars(order, spans, MAX_CHARS[length]):
            levels.setdefault(index, length)
    return tuple(
        Sentence(spans[index].text, levels[index], spans[index].start, spans[index].end)
        for index in sorted(levels)
    )

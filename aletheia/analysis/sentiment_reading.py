"""Sentiment of English texts by a lexicon and the embeddings that are there already.

A long text is read in parts, of which at most `MAX_PARTS` are taken, from all of it; its
probabilities are the means of theirs, weighted by length.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.analysis.ports import Embedder
from aletheia.analysis.sentiment_heads import (
    LEXICON,
    SENTIMENTS,
    Head,
    Scores,
    Sentiment,
    find_head,
    score_text,
)
from aletheia.errors import AletheiaError, Misconfigured
from aletheia.llm.messages import clean_text
from aletheia.text.emotions import EMOTIONS
from aletheia.text.polarity import spell_emoji
from aletheia.text.spans import split_spans

log = logging.getLogger(__name__)

PART_CHARS: Final = 600
"""Characters of a part, about: less than the 256 tokens that MiniLM reads."""

MAX_PARTS: Final = 32

LOCAL: Final = "local"

Vectors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found out about a text, and how."""

    scores: Scores
    provider: str
    model: str
    tokens: int = 0
    is_sampled: bool = False  # whether parts of the text were left out
    is_mock: bool = False
    fallback: str = ""  # code of the error that is why no model judged, where one was asked

    @property
    def sentiment(self) -> Sentiment:
        """The class that is most probable."""
        return max(SENTIMENTS, key=lambda name: self.scores.sentiments[name])

    @property
    def confidence(self) -> float:
        """Its probability, 0 to 1."""
        return self.scores.sentiments[self.sentiment]


class SentimentReader:
    """Reads texts with the head of the model of `embedder`; without one by the lexicon alone."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._lexicon = _need_head(LEXICON)
        self._embedder, self._head = embedder, self._lexicon
        self._model = ""
        if embedder is not None and embedder.provider == LOCAL:
            self._model = embedder.canonical_model(None)
            self._head = find_head(self._model) or self._lexicon

    async def read(self, texts: Sequence[str]) -> list[Reading]:
        """Return what was found out about each text, in order.

        An embedder that cannot work now costs no task: the lexicon alone judges, and `model` says
        so.
        """
        all_parts = await asyncio.to_thread(lambda: [split_parts(text) for text in texts])
        taken = [list(map(clean_text, take_evenly(parts, MAX_PARTS))) for parts in all_parts]
        vectors, tokens = await self._embed([part for parts in taken for part in parts])
        sampled = [
            len(parts) < len(of_text) for parts, of_text in zip(taken, all_parts, strict=True)
        ]
        # The lexicon takes a fifth of a millisecond for a sentence, which is long for thousands.
        return await asyncio.to_thread(
            lambda: [
                self._read(parts, vectors, tokens, is_sampled=is_sampled)
                for parts, is_sampled in zip(taken, sampled, strict=True)
            ]
        )

    def _read(
        self,
        parts: Sequence[str],
        vectors: Vectors,
        tokens: Mapping[str, int],
        *,
        is_sampled: bool,
    ) -> Reading:
        # What has no words has no meaning that a model of words could see.
        worded = [part for part in parts if has_words(part)]
        is_embedded = bool(worded) and all(part in vectors for part in worded)
        head = self._head if is_embedded else self._lexicon
        found = [
            score_text(head, part, vectors[part])
            if is_embedded and part in vectors
            else score_text(self._lexicon, part, None)
            for part in parts
        ]
        return Reading(
            scores=_average(found, [1 + len(part) for part in parts]),
            provider=LOCAL,
            model=_name_model(head),
            tokens=sum(tokens.get(part, 0) for part in parts),
            is_sampled=is_sampled,
        )

    async def _embed(self, parts: Sequence[str]) -> tuple[Vectors, Mapping[str, int]]:
        vectors: dict[str, NDArray[np.float32]] = {}
        tokens: dict[str, int] = {}
        if self._embedder is None or self._head is self._lexicon:
            return vectors, tokens
        asked = [part for part in dict.fromkeys(parts) if has_words(part)]
        if not asked:
            return vectors, tokens
        try:
            spelled = [spell_emoji(part) for part in asked]
            answers = self._embedder.embed(self._model, spelled)
            async with aclosing(answers):
                async for answered in answers:
                    for answer in answered:
                        if isinstance(answer.result, AletheiaError):
                            continue
                        vectors[asked[answer.index]] = answer.result.vector
                        tokens[asked[answer.index]] = answer.result.tokens
        except AletheiaError as error:
            log.warning("sentiment is judged by the lexicon alone: %s", error)
        return vectors, tokens


def has_words(text: str) -> bool:
    """Check whether there is more in a text than figures and signs."""
    return any(map(str.isalpha, text))


def split_parts(text: str) -> list[str]:
    """Return the sentences of a text, joined to parts of about `PART_CHARS`; at least one part."""
    parts: list[str] = []
    held: list[str] = []
    size = 0
    for span in split_spans(text):
        for start in range(0, len(span.shown), PART_CHARS):
            piece = span.shown[start : start + PART_CHARS]
            if held and size + len(piece) > PART_CHARS:
                parts.append(" ".join(held))
                held, size = [], 0
            held.append(piece)
            size += len(piece) + 1
    parts += [" ".join(held)] if held else []
    return parts or [text.strip()[:PART_CHARS]]


def take_evenly(parts: Sequence[str], limit: int) -> list[str]:
    """Return at most `limit` of some parts, spread over all of them, in order."""
    if len(parts) <= limit:
        return list(parts)
    places = np.linspace(0, len(parts) - 1, limit).round().astype(int)
    return [parts[int(place)] for place in places]


def _average(found: Sequence[Scores], weights: Sequence[int]) -> Scores:
    shares: Any = np.asarray(weights, np.float64) / sum(weights)
    return Scores(
        {
            name: float(shares @ [scores.sentiments[name] for scores in found])
            for name in SENTIMENTS
        },
        {name: float(shares @ [scores.emotions[name] for scores in found]) for name in EMOTIONS},
    )


def _name_model(head: Head) -> str:
    lexicon = f"vaderSentiment {version('vaderSentiment')}"
    return lexicon if head.model == LEXICON else f"{head.model} + {lexicon}"


def _need_head(model: str) -> Head:
    head = find_head(model)
    if head is None:
        raise Misconfigured("sentiment_analysis", f"the head of {model!r} is missing")
    return head

"""The task type `sentiment_analysis`: what a text expresses, and which emotions (SPEC §3)."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from pydantic import BaseModel, Field

from aletheia.analysis.cached import compute_once
from aletheia.analysis.inputs import check_readable, check_text, read_input
from aletheia.analysis.ports import Embedder
from aletheia.analysis.processor import Finished, TypeSpec
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.sentiment_heads import Sentiment
from aletheia.analysis.sentiment_reading import Reading, SentimentReader
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.single import Computed, write_result
from aletheia.analysis.tools import WorkerChat
from aletheia.analysis.written_sentiment import SentimentAsker
from aletheia.errors import InvalidTask
from aletheia.text.language import may_be_english

TASK_TYPE: Final = "sentiment_analysis"

MAX_INPUTS: Final = 64
"""Texts that are read together."""

_DIGITS: Final = 4


class SentimentAnalysisInput(BaseModel):
    """A text."""

    text: str = Field(description="The text; at most `MAX_TEXT_BYTES` of UTF-8.")


class SentimentAnalysisResult(BaseModel):
    """What a text expresses."""

    sentiment: Sentiment = Field(description="The most probable of the three.")
    confidence: float = Field(ge=0, le=1, description="Probability of the sentiment reported.")
    probabilities: dict[Sentiment, float] = Field(description="Of all three; they sum to 1.")
    emotions: dict[str, float] = Field(
        description="How surely joy, sadness, anger, fear, surprise and disgust show, 0 to 1 each."
    )
    provider: str = Field(description="Who judged: `local`, or the provider of the chat model.")
    model: str = Field(description="What judged; the lexicon's name alone where no vectors helped.")
    fallback: str | None = Field(
        default=None, description="Why no chat model judged, where one was asked: an error's code."
    )
    sampled: bool | None = Field(
        default=None, description="True where parts of a long text were left out."
    )
    mock: bool | None = Field(default=None, description="True where the mock judged.")


class SentimentAnalysis:
    """Judges whether texts are positive, negative or neutral, and which emotions they show.

    Locally that is for English; with `SENTIMENT_ENGINE=llm` a chat model judges any language, in
    lane `llm`.
    """

    spec: TypeSpec = TypeSpec(
        input=SentimentAnalysisInput, result=SentimentAnalysisResult, max_inputs=MAX_INPUTS
    )

    def __init__(
        self,
        settings: WorkerSettings,
        embedder: Embedder | None = None,
        chat: WorkerChat | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        self._max_text_bytes, self._cache = settings.max_text_bytes, cache
        self._reader = SentimentReader(embedder)
        self._asker: SentimentAsker | None = None
        self._model = ""
        # What the mock says means nothing, and the lexicon's words do.
        if settings.sentiment_engine == "llm" and chat is not None and not chat.chat.is_mock:
            self._asker, self._model = SentimentAsker(chat, self._reader), chat.model
            self.spec = replace(self.spec, lane="llm", max_inputs=1)

    def admit(self, task_input: Mapping[str, Any]) -> str:
        """Check the text, or raise `InvalidTask`; there is one group."""
        self._read(task_input)
        return ""

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Judge texts; see `Processor.process`."""
        del group
        texts = [self._read(task_input) for task_input in inputs]
        if self._asker is not None:
            for index, text in enumerate(texts):
                made_from = (text, self._model)
                computed = await compute_once(
                    self._cache, made_from, partial(self._ask, self._asker, text)
                )
                yield [_finish(index, computed)]
            return
        is_readable = await asyncio.to_thread(lambda: [may_be_english(text) for text in texts])
        refused = [index for index in range(len(texts)) if not is_readable[index]]
        if refused:
            yield [Finished(index, error=_refuse()) for index in refused]
        taken = [index for index in range(len(texts)) if is_readable[index]]
        readings = await self._reader.read([texts[index] for index in taken])
        yield [
            _finish(index, _write(reading)) for index, reading in zip(taken, readings, strict=True)
        ]

    @staticmethod
    async def _ask(asker: SentimentAsker, text: str) -> Computed:
        return _write(await asker.ask(text))

    def _read(self, task_input: Mapping[str, Any]) -> str:
        text = read_input(SentimentAnalysisInput, task_input).text
        check_text(text, max_bytes=self._max_text_bytes)
        check_readable(text)
        return text


def _refuse() -> InvalidTask:
    said = "the text is not English; SENTIMENT_ENGINE=llm judges other languages, too"
    return InvalidTask("unsupported_language", said)


def _finish(index: int, computed: Computed) -> Finished:
    result = write_result(computed.result)
    return Finished(index, result, computed.record, computed.usage)


def _write(reading: Reading) -> Computed:
    facts: dict[str, Any] = {"provider": reading.provider, "model": reading.model}
    facts |= {"fallback": reading.fallback} if reading.fallback else {}
    facts |= {"sampled": True} if reading.is_sampled else {}
    facts |= {"mock": True} if reading.is_mock else {}
    result = {
        "sentiment": reading.sentiment,
        "confidence": round(reading.confidence, _DIGITS),
        "probabilities": _round(reading.scores.sentiments),
        "emotions": _round(reading.scores.emotions),
        **facts,
    }
    return Computed(result, facts, {"tokens": reading.tokens})


def _round(scores: Mapping[Any, float]) -> dict[Any, float]:
    return {name: round(score, _DIGITS) for name, score in scores.items()}

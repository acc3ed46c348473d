"""The task type `text_summarization`: the summary of a text within a length (SPEC §3)."""

import asyncio
from typing import ClassVar, Final

from pydantic import BaseModel, Field

from aletheia.analysis.cached import compute_once
from aletheia.analysis.inputs import check_readable, check_text
from aletheia.analysis.ports import Embedder
from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.single import Computed, SingleProcessor
from aletheia.analysis.summaries import Summary
from aletheia.analysis.tools import WorkerChat
from aletheia.analysis.written_summaries import WritingSummarizer, choose_summarizer
from aletheia.text.spans import split_spans

TASK_TYPE: Final = "text_summarization"

MIN_LENGTH: Final = 20
MAX_LENGTH: Final = 20_000
"""Bounds of `max_length`, characters."""

_DIGITS: Final = 4


class TextSummarizationInput(BaseModel):
    """A text, and how long its summary may be."""

    text: str = Field(description="The text; at most `MAX_TEXT_BYTES` of UTF-8.")
    max_length: int = Field(
        default=150, ge=MIN_LENGTH, le=MAX_LENGTH, description="Characters of the summary at most."
    )


class TextSentencePlace(BaseModel):
    """A sentence of the text, word for word, and where it stands."""

    text: str = Field(description="The sentence.")
    start: int = Field(ge=0, description="Where it begins in the text, characters.")
    end: int = Field(ge=0, description="Where it ends.")


class TextSummarizationResult(BaseModel):
    """The summary of a text."""

    summary: str = Field(description="The summary.")
    original_length: int = Field(ge=0, description="Characters of the text.")
    summary_length: int = Field(ge=0, description="Characters of the summary.")
    compression_ratio: float = Field(
        ge=0, description="`summary_length` as a share of `original_length`."
    )
    extractive: bool = Field(description="Whether all of it stands in the text word for word.")
    sentences: list[TextSentencePlace] | None = Field(
        default=None, description="Of an extractive summary: its sentences, and where they stand."
    )
    provider: str = Field(description="Who made it.")
    model: str = Field(description="The model that wrote it, or that compared the sentences.")
    fallback: str | None = Field(
        default=None, description="Why no model wrote it, where one was asked: an error's code."
    )
    condensed: bool | None = Field(
        default=None, description="True where the text was too long for the model to see all of it."
    )
    mock: bool | None = Field(default=None, description="True where the mock wrote it.")


class TextSummarization(SingleProcessor[TextSummarizationInput]):
    """Summarises texts: by a chat model where there is one, else by their own sentences."""

    spec: ClassVar[TypeSpec] = TypeSpec(
        input=TextSummarizationInput, result=TextSummarizationResult, lane="llm"
    )

    def __init__(
        self,
        settings: WorkerSettings,
        embedder: Embedder | None = None,
        chat: WorkerChat | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        self._max_text_bytes, self._cache = settings.max_text_bytes, cache
        self._summarizer = choose_summarizer(embedder, chat, cache)
        by_model = isinstance(self._summarizer, WritingSummarizer)
        self._maker = [
            chat.model if chat is not None and by_model else "",
            "" if embedder is None else f"{embedder.provider} {embedder.canonical_model(None)}",
        ]

    def group(self, task_input: TextSummarizationInput) -> str:
        """Check the text; see `SingleProcessor.group`."""
        check_text(task_input.text, max_bytes=self._max_text_bytes)
        check_readable(task_input.text)
        return ""

    async def compute(self, task_input: TextSummarizationInput) -> Computed:
        """Summarise a text; see `SingleProcessor.compute`."""
        made_from = (task_input.text, task_input.max_length, self._maker)
        return await compute_once(self._cache, made_from, lambda: self._summarize(task_input))

    async def _summarize(self, task_input: TextSummarizationInput) -> Computed:
        text = task_input.text
        spans = await asyncio.to_thread(split_spans, text)
        summary = await self._summarizer.summarize_within(spans, task_input.max_length)
        result = _write_result(text, summary)
        record = {"provider": result.provider, "model": result.model, "chars": len(text)}
        return Computed(result, record, {"tokens": summary.tokens})


def _write_result(text: str, summary: Summary) -> TextSummarizationResult:
    shown = summary.text_of("short")
    places = [
        TextSentencePlace(text=part.text, start=part.start, end=part.end)
        for part in summary.sentences
        if part.start is not None and part.end is not None
    ]
    return TextSummarizationResult(
        summary=shown,
        original_length=len(text),
        summary_length=len(shown),
        compression_ratio=round(len(shown) / len(text), _DIGITS),
        extractive=summary.is_extractive,
        sentences=places if summary.is_extractive else None,
        provider=summary.provider,
        model=summary.model,
        fallback=summary.fallback or None,
        condensed=summary.is_condensed or None,
        mock=summary.is_mock or None,
    )

"""The task type `document_summarization`: the summary of a document, at three lengths (SPEC §3)."""

import asyncio
from typing import ClassVar, Final, Literal, cast

from pydantic import BaseModel, Field

from aletheia.analysis.document_text import DocumentCollector, DocumentText
from aletheia.analysis.file_types import DOCUMENT_TYPES, FileType
from aletheia.analysis.ports import DocumentType, Embedder, Fetcher
from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.single import Computed, SingleProcessor
from aletheia.analysis.summaries import Summary, SummaryLength
from aletheia.analysis.tools import WorkerChat
from aletheia.analysis.written_summaries import choose_summarizer
from aletheia.text.language import guess_language
from aletheia.text.spans import split_spans

TASK_TYPE: Final = "document_summarization"

_LANGUAGE_CHARS: Final = 20_000


class DocumentSummarizationInput(BaseModel):
    """A document."""

    document_file: str = Field(
        min_length=1,
        description="The document: an https URL, a `data:` URI, or a path below `FILES_DIR`.",
    )
    document_type: Literal["auto", "pdf", "docx", "html", "markdown", "text"] = Field(
        default="auto", description="What it is; `auto` goes by its content."
    )
    summary_length: SummaryLength = Field(
        default="medium", description="Length of `summary`; `summaries` has all three."
    )


class SentencePlace(BaseModel):
    """A sentence of the document, word for word, and where it stands."""

    text: str = Field(description="The sentence.")
    start: int = Field(ge=0, description="Where it begins in the text of the document, characters.")
    end: int = Field(ge=0, description="Where it ends.")
    page: int | None = Field(default=None, ge=1, description="The page it begins on.")


class DocumentSummarizationResult(BaseModel):
    """The summary of a document."""

    summary: str = Field(description="The summary, of the length that was asked for.")
    key_points: list[str] = Field(description="What to remember, the weightiest first.")
    document_type: DocumentType = Field(description="What the document is.")
    original_length: int = Field(ge=0, description="Characters of the document's text.")
    summary_length: int = Field(ge=0, description="Characters of the summary.")
    summaries: dict[SummaryLength, str] = Field(
        description="All three summaries; each is a part of the next longer one."
    )
    language: str | None = Field(description="Language (ISO 639-1); null where it is not clear.")
    extractive: bool = Field(description="Whether all of it stands in the document word for word.")
    sentences: list[SentencePlace] | None = Field(
        default=None, description="Of an extractive summary: its sentences, and where they stand."
    )
    provider: str = Field(description="Who made it.")
    model: str = Field(description="The model that wrote it, or that compared the sentences.")
    fallback: str | None = Field(
        default=None, description="Why no model wrote it, where one was asked: an error's code."
    )
    condensed: bool | None = Field(
        default=None,
        description="True where the document was too long, and the model saw a part of each page.",
    )
    truncated: bool | None = Field(
        default=None, description="True where the end of the text was left out, as it is too long."
    )
    lost_pages: dict[str, str] | None = Field(
        default=None, description="Pages that could not be read, by number, with why."
    )
    mock: bool | None = Field(default=None, description="True where the mock wrote it.")


class DocumentSummarization(SingleProcessor[DocumentSummarizationInput]):
    """Summarises documents: PDF, Word, HTML, Markdown, plain text."""

    spec: ClassVar[TypeSpec] = TypeSpec(
        input=DocumentSummarizationInput, result=DocumentSummarizationResult, lane="media"
    )

    def __init__(
        self,
        fetcher: Fetcher,
        documents: DocumentCollector,
        embedder: Embedder | None = None,
        chat: WorkerChat | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        self._fetcher, self._documents = fetcher, documents
        self._summarizer = choose_summarizer(embedder, chat, cache)

    def group(self, task_input: DocumentSummarizationInput) -> str:
        """Check the address; see `SingleProcessor.group`."""
        self._fetcher.check(task_input.document_file)
        return ""

    async def compute(self, task_input: DocumentSummarizationInput) -> Computed:
        """Summarise a document; see `SingleProcessor.compute`."""
        asked = task_input.document_type
        types = DOCUMENT_TYPES if asked == "auto" else (cast("FileType", asked),)
        async with self._fetcher.fetch(task_input.document_file, types=types) as file:
            type_ = file.type if asked == "auto" else cast("FileType", asked)
            document = await self._documents.collect(file, type_)
        spans = await asyncio.to_thread(split_spans, document.text)
        summary = await self._summarizer.summarize_spans(spans)
        result = _write_result(document, summary, task_input.summary_length)
        record = {"provider": result.provider, "model": result.model, "chars": len(document.text)}
        return Computed(result, record, {"tokens": summary.tokens})


def _write_result(
    document: DocumentText, summary: Summary, length: SummaryLength
) -> DocumentSummarizationResult:
    text = summary.text_of(length)
    lost = {str(number): code for number, code in document.lost_pages.items()}
    return DocumentSummarizationResult(
        summary=text,
        key_points=[point.text for point in summary.key_points_of(length)],
        document_type=document.head.type,
        original_length=len(document.text),
        summary_length=len(text),
        summaries={
            "short": summary.text_of("short"),
            "medium": summary.text_of("medium"),
            "long": summary.text_of("long"),
        },
        language=guess_language(document.text[:_LANGUAGE_CHARS]),
        extractive=summary.is_extractive,
        sentences=_place_sentences(document, summary, length) if summary.is_extractive else None,
        provider=summary.provider,
        model=summary.model,
        fallback=summary.fallback or None,
        condensed=summary.is_condensed or None,
        truncated=document.is_cut or None,
        lost_pages=lost or None,
        mock=summary.is_mock or None,
    )


def _place_sentences(
    document: DocumentText, summary: Summary, length: SummaryLength
) -> list[SentencePlace]:
    has_pages = document.head.page_count is not None
    return [
        SentencePlace(
            text=sentence.text,
            start=sentence.start,
            end=sentence.end,
            page=document.page_at(sentence.start) if has_pages else None,
        )
        for sentence in summary.sentences_of(length)
        if sentence.start is not None and sentence.end is not None
    ]

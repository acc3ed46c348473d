"""The task type `pdf_analysis`: what a PDF is, and what stands in it (SPEC §3)."""

import asyncio
from importlib.metadata import version
from typing import ClassVar, Final

from pydantic import BaseModel, Field

from aletheia.analysis.document_text import DocumentCollector, DocumentText
from aletheia.analysis.ports import Fetcher
from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.single import Computed, SingleProcessor
from aletheia.text.key_terms import KeyTerm, find_key_terms
from aletheia.text.language import guess_language
from aletheia.text.readability import Readability, measure_readability
from aletheia.text.spans import split_spans

TASK_TYPE: Final = "pdf_analysis"

LANGUAGE_CHARS: Final = 20_000
EXCERPT_CHARS: Final = 500
MAX_LOST_SHOWN: Final = 1000

_PROVIDER: Final = "pdfium"
_PACKAGE: Final = "pypdfium2"
_OCR_PACKAGE: Final = "rapidocr"


class PdfAnalysisInput(BaseModel):
    """A PDF."""

    pdf_file: str = Field(
        min_length=1,
        description="The PDF: an https URL, a `data:` URI, or a path below `FILES_DIR`.",
    )


class TermFound(BaseModel):
    """A key term."""

    term: str = Field(description="The phrase, as the text writes it most often.")
    count: int = Field(ge=1, description="How often it occurs.")
    weight: float = Field(ge=0, le=1, description="Its weight beside the first one's, which is 1.")


class ReadingStatistics(BaseModel):
    """How long a text takes to read, and how hard it is."""

    words: int = Field(ge=0, description="Words of the text.")
    sentences: int = Field(ge=0, description="Sentences of the text, headings included.")
    words_per_sentence: float = Field(ge=0, description="Words per sentence.")
    long_words: float = Field(ge=0, le=1, description="Share of words of 7 letters or more.")
    lix: float | None = Field(
        description="LIX: below 30 easy, above 60 hard; null where words have no blanks between."
    )
    minutes: float = Field(ge=0, description="Minutes of silent reading, at 238 words a minute.")


class PdfFindings(BaseModel):
    """What was found out about the text."""

    language: str | None = Field(description="Language (ISO 639-1); null where it is not clear.")
    key_terms: list[TermFound] = Field(description="Key terms, the weightiest first.")
    reading: ReadingStatistics = Field(description="Reading statistics.")
    excerpt: str = Field(description="How the text begins.")
    is_scanned: bool = Field(description="Whether at least half of the pages are pictures of text.")
    scanned_pages: int = Field(ge=0, description="Pages that are pictures of text.")
    recognised_pages: int = Field(
        ge=0, description="Scanned pages whose text was recognised (OCR, the extra `ocr`)."
    )
    lost_pages: dict[str, str] = Field(
        description="Pages that could not be read, by number, with why: an error's code."
    )
    truncated: bool = Field(
        description="Whether the end of the text was left out, as it is too long."
    )


class PdfAnalysisResult(BaseModel):
    """What a PDF is, and what stands in it."""

    page_count: int = Field(ge=1, description="Pages.")
    text_length: int = Field(ge=0, description="Characters of the text of all pages.")
    analysis: PdfFindings = Field(description="What was found out about the text.")
    metadata: dict[str, str] = Field(description="Title, author, dates …, as the PDF has them.")
    provider: str = Field(description="What read it.")
    model: str = Field(description="Its version; with that of the OCR where text was recognised.")


class PdfAnalysis(SingleProcessor[PdfAnalysisInput]):
    """Reads PDFs: pages, metadata, language, key terms, reading statistics, whether scanned."""

    spec: ClassVar[TypeSpec] = TypeSpec(
        input=PdfAnalysisInput, result=PdfAnalysisResult, lane="media"
    )

    def __init__(self, fetcher: Fetcher, documents: DocumentCollector) -> None:
        self._fetcher, self._documents = fetcher, documents

    def group(self, task_input: PdfAnalysisInput) -> str:
        """Check the address; see `SingleProcessor.group`."""
        self._fetcher.check(task_input.pdf_file)
        return ""

    async def compute(self, task_input: PdfAnalysisInput) -> Computed:
        """Read a PDF; see `SingleProcessor.compute`."""
        async with self._fetcher.fetch(task_input.pdf_file, types=("pdf",)) as file:
            document = await self._documents.collect(file, "pdf")
        result = PdfAnalysisResult(
            page_count=document.head.page_count or len(document.pages),
            text_length=len(document.text),
            analysis=await asyncio.to_thread(describe_text, document),
            metadata=dict(document.head.metadata),
            provider=_PROVIDER,
            model=_name_model(document),
        )
        record = {"pages": result.page_count, "chars": result.text_length}
        return Computed(result, {**record, "provider": result.provider, "model": result.model})


def describe_text(document: DocumentText) -> PdfFindings:
    """Return what is found out about the text of a document."""
    spans = split_spans(document.text)
    lost = list(document.lost_pages.items())[:MAX_LOST_SHOWN]
    return PdfFindings(
        language=guess_language(document.text[:LANGUAGE_CHARS]),
        key_terms=[_show_term(term) for term in find_key_terms(spans)],
        reading=_show_readability(measure_readability(spans)),
        excerpt=" ".join(document.text[: 2 * EXCERPT_CHARS].split())[:EXCERPT_CHARS],
        is_scanned=document.is_scanned,
        scanned_pages=sum(page.is_scanned for page in document.pages),
        recognised_pages=sum(page.is_recognised for page in document.pages),
        lost_pages={str(number): code for number, code in lost},
        truncated=document.is_cut,
    )


def _show_term(term: KeyTerm) -> TermFound:
    return TermFound(term=term.term, count=term.count, weight=term.weight)


def _show_readability(found: Readability) -> ReadingStatistics:
    return ReadingStatistics(
        words=found.words,
        sentences=found.sentences,
        words_per_sentence=found.words_per_sentence,
        long_words=found.long_words,
        lix=found.lix,
        minutes=found.minutes,
    )


def _name_model(document: DocumentText) -> str:
    names = [_PACKAGE]
    if any(page.is_recognised for page in document.pages):
        names.append(_OCR_PACKAGE)
    return " + ".join(f"{name} {version(name)}" for name in names)

"""The task type `multimodal_analysis`: text, audio and a document, fused into one (SPEC §3).

What is said in a recording, and how a text sounds, other task types find out; they are asked by
name, so that whatever computes them here does. A modality that fails leaves the others.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from pydantic import BaseModel, Field, model_validator

from aletheia.analysis.document_text import DocumentCollector, DocumentText
from aletheia.analysis.file_types import DOCUMENT_TYPES
from aletheia.analysis.fused_result import (
    AudioFindings,
    DocumentFindings,
    Findings,
    FusedAnalysis,
    Modalities,
    MultimodalAnalysisResult,
    TextFindings,
    fuse_analysis,
    mean_confidence,
    share_contributions,
)
from aletheia.analysis.fusion import fuse
from aletheia.analysis.inputs import check_text
from aletheia.analysis.modalities import Material, ModalityName, read_transcription
from aletheia.analysis.other_types import OtherTypes
from aletheia.analysis.ports import Embedder, Fetcher
from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.single import Computed, SingleProcessor
from aletheia.analysis.summaries import ExtractiveSummarizer
from aletheia.analysis.tools import WorkerChat
from aletheia.analysis.written_fusion import WrittenFusion, write_fusion
from aletheia.errors import AletheiaError, ComputeFailed, Deferred, InvalidTask, Unavailable
from aletheia.text.key_terms import find_key_terms
from aletheia.text.language import guess_language
from aletheia.text.spans import split_spans

TASK_TYPE: Final = "multimodal_analysis"

SPEECH: Final = "speech_to_text"
SOUND: Final = "audio_analysis"
SENTIMENT: Final = "sentiment_analysis"
"""The types that are asked."""

LANGUAGE_CHARS: Final = 20_000
SENTIMENT_CHARS: Final = 50_000
"""Characters of a modality whose sentiment is asked for."""

MAX_TERMS: Final = 10

PASSING: Final = (Deferred, Unavailable)
"""What lets the whole task wait, as our limits and outages pass, rather than leave a part out."""

log = logging.getLogger(__name__)


class MultimodalAnalysisInput(BaseModel):
    """A text, a recording, a document: any of them."""

    text: str | None = Field(default=None, description="A text.")
    audio: str | None = Field(
        default=None,
        min_length=1,
        description="A recording: an https URL, a `data:` URI, or a path below `FILES_DIR`.",
    )
    document: str | None = Field(
        default=None, min_length=1, description="A document: likewise, of any type that is read."
    )
    language: str = Field(
        default="auto", max_length=40, description="What is spoken in the recording."
    )

    @model_validator(mode="after")
    def _check_any(self) -> "MultimodalAnalysisInput":
        if self.text is None and self.audio is None and self.document is None:
            raise ValueError("there is none of text, audio and document")
        return self


@dataclass(slots=True)
class Read:
    """What was found out about one modality, or why nothing was."""

    findings: Findings
    material: Material | None = None
    tokens: int = 0
    error: AletheiaError | None = None
    used: list[str] = field(default_factory=list[str])  # who computed it: provider and model


class MultimodalAnalysis(SingleProcessor[MultimodalAnalysisInput]):
    """Analyses modalities at once, and says in what they agree and in what they conflict."""

    spec: ClassVar[TypeSpec] = TypeSpec(
        input=MultimodalAnalysisInput, result=MultimodalAnalysisResult, lane="media"
    )

    def __init__(
        self,
        fetcher: Fetcher,
        documents: DocumentCollector,
        types: OtherTypes,
        settings: WorkerSettings,
        *,
        embedder: Embedder | None = None,
        chat: WorkerChat | None = None,
    ) -> None:
        self._fetcher, self._documents, self._types = fetcher, documents, types
        self._max_text_bytes = settings.max_text_bytes
        self._summarizer = ExtractiveSummarizer(embedder)
        # What the mock writes means nothing, and what is found by rules does.
        self._chat = None if chat is None or chat.chat.is_mock else chat

    def group(self, task_input: MultimodalAnalysisInput) -> str:
        """Check text and addresses; see `SingleProcessor.group`."""
        if task_input.text is not None:
            check_text(task_input.text, max_bytes=self._max_text_bytes)
        for address in (task_input.audio, task_input.document):
            if address is not None:
                self._fetcher.check(address)
        return ""

    async def compute(self, task_input: MultimodalAnalysisInput) -> Computed:
        """Analyse the modalities, all at once; see `SingleProcessor.compute`."""
        reads = await self._read_all(task_input)
        errors = [read.error for read in reads.values()]
        if all(error is not None for error in errors):
            raise _choose_error([error for error in errors if error is not None])
        materials = [read.material for read in reads.values() if read.material is not None]
        analysis, tokens = await self._fuse(materials, reads)
        share_contributions(analysis, {name: read.findings for name, read in reads.items()})
        tokens += sum(read.tokens for read in reads.values())
        result = MultimodalAnalysisResult(
            fused_analysis=analysis,
            modalities=Modalities.model_validate(
                {name: read.findings for name, read in reads.items()}
            ),
            confidence=mean_confidence([read.findings for read in reads.values()]),
            provider=analysis.provider,
            model=analysis.model,
        )
        failed = sorted(name for name, read in reads.items() if read.error is not None)
        record = {"provider": result.provider, "model": result.model, "modalities": sorted(reads)}
        return Computed(result, {**record, "failed": failed}, {"tokens": tokens})

    async def _read_all(self, task_input: MultimodalAnalysisInput) -> dict[ModalityName, Read]:
        """Read all modalities at once; `PASSING` errors are raised once all have ended."""
        asked: dict[ModalityName, Any] = {}
        if task_input.text is not None:
            asked["text"] = self._read_text(task_input.text)
        if task_input.audio is not None:
            asked["audio"] = self._read_audio(task_input.audio, task_input.language)
        if task_input.document is not None:
            asked["document"] = self._read_document(task_input.document)
        found = await _gather(list(asked.values()))
        return dict(zip(asked, found, strict=True))

    async def _read_text(self, text: str) -> Read:
        findings = TextFindings(length=len(text))
        return await self._describe(Read(findings, Material("text", text)))

    async def _read_document(self, address: str) -> Read:
        try:
            async with self._fetcher.fetch(address, types=DOCUMENT_TYPES) as file:
                document = await self._documents.collect(file, file.type)
            if not document.text.strip():
                raise InvalidTask("no_text", "the document has no text")
        except PASSING:
            raise
        except AletheiaError as error:
            return _fail(DocumentFindings(), error)
        findings = _describe_document(document)
        return await self._describe(Read(findings, Material("document", document.text, document)))

    async def _read_audio(self, address: str, language: str) -> Read:
        """Return what is said in a recording, and what it sounds like; either may be lacking."""
        asked = (
            self._ask(SPEECH, {"audio_file": address, "language": language}),
            self._ask(SOUND, {"audio_file": address}),
        )
        speech, sound = await _gather(list(asked))
        findings = AudioFindings()
        if isinstance(speech, AletheiaError) and isinstance(sound, AletheiaError):
            return _fail(findings, speech)
        read = Read(findings)
        if not isinstance(sound, AletheiaError):
            findings.sound = dict(sound.result)
        if isinstance(speech, AletheiaError):
            findings.lacking = {SPEECH: speech.code}
            return read
        read.tokens, read.used = speech.tokens, [speech.used]
        read.material = read_transcription(speech.result)
        findings.transcription = read.material.text
        findings.language = speech.result.get("language")
        findings.confidence = speech.result.get("confidence")
        return await self._describe(read)

    async def _describe(self, read: Read) -> Read:
        """Add language, key terms and sentiment of what a modality says."""
        material = read.material
        if material is None or not material.text.strip():
            return read
        findings = read.findings
        findings.length = len(material.text)
        if findings.language is None:
            findings.language = guess_language(material.text[:LANGUAGE_CHARS])
        terms = await asyncio.to_thread(lambda: find_key_terms(material.spans, MAX_TERMS))
        findings.key_terms = [term.term for term in terms]
        found = await self._ask(SENTIMENT, {"text": material.text[:SENTIMENT_CHARS]})
        if isinstance(found, AletheiaError):
            findings.lacking = {**(findings.lacking or {}), SENTIMENT: found.code}
            return read
        read.tokens += found.tokens
        read.used.append(found.used)
        findings.sentiment = found.result.get("sentiment")
        findings.sentiment_confidence = found.result.get("confidence")
        findings.emotions = found.result.get("emotions")
        if material.name == "text":
            findings.confidence = findings.sentiment_confidence
        return read

    async def _ask(
        self, task_type: str, task_input: Mapping[str, Any]
    ) -> "Answered | AletheiaError":
        """Return what another type finds, or why there is none."""
        try:
            answer = await self._types.compute(task_type, task_input)
        except PASSING:
            raise
        except AletheiaError as error:
            log.info("%s is lacking: %s", task_type, error)
            return error
        result = answer.result or {}
        used = f"{result.get('provider', '')} {result.get('model', '')}".strip()
        return Answered(result, int((answer.usage or {}).get("tokens", 0)), used)

    async def _fuse(
        self, materials: Sequence[Material], reads: Mapping[ModalityName, Read]
    ) -> tuple[FusedAnalysis, int]:
        said = [material for material in materials if material.text.strip()]
        sentiments = {name: read.findings.sentiment for name, read in reads.items()}
        known = {name: sentiment for name, sentiment in sentiments.items() if sentiment}
        fusion = await asyncio.to_thread(fuse, said, known)
        written, fallback = await self._write(said)
        if written is not None:
            return fuse_analysis(fusion, said, written=written), written.tokens
        spans = await asyncio.to_thread(split_spans, "\n\n".join(part.text for part in said))
        if not spans:  # emoji alone, or silence
            return fuse_analysis(fusion, said, fallback=fallback), 0
        summary = await self._summarizer.summarize_spans(spans)
        return fuse_analysis(fusion, said, summary=summary, fallback=fallback), summary.tokens

    async def _write(self, said: Sequence[Material]) -> tuple[WrittenFusion | None, str]:
        """Return what a chat model writes, or why none does: an error's code, "" without one."""
        if self._chat is None or not said:
            return None, ""
        try:
            return await write_fusion(self._chat, said), ""
        except PASSING:
            raise
        except AletheiaError as error:
            log.warning("no model has written the analysis: %s", error)
            return None, error.code


@dataclass(frozen=True, slots=True)
class Answered:
    """What another type found, the tokens that took, and who computed it."""

    result: Mapping[str, Any]
    tokens: int
    used: str


async def _gather(asked: Sequence[Any]) -> list[Any]:
    """Wait for all, so that nothing is left half done, then raise the first error, if any."""
    found = await asyncio.gather(*asked, return_exceptions=True)
    for outcome in found:
        if isinstance(outcome, BaseException) and not isinstance(outcome, AletheiaError):
            raise outcome
    for outcome in found:
        if isinstance(outcome, PASSING):
            raise outcome
    return found


def _describe_document(document: DocumentText) -> DocumentFindings:
    lost = {str(number): code for number, code in document.lost_pages.items()}
    return DocumentFindings(
        document_type=document.head.type,
        page_count=document.head.page_count,
        lost_pages=lost or None,
        truncated=document.is_cut or None,
        confidence=1 - len(lost) / max(1, document.head.page_count or len(document.pages)),
    )


def _fail(findings: Findings, error: AletheiaError) -> Read:
    findings.error = {"code": error.code, "message": str(error)[:500]}
    return Read(findings, error=error)


def _choose_error(errors: Sequence[AletheiaError]) -> AletheiaError:
    """Return what the whole task failed of: where another attempt may help, that error."""
    if len(errors) == 1:
        return errors[0]
    said = "; ".join(f"{error.code}: {error}"[:200] for error in errors)
    if any(error.retryable for error in errors):
        return ComputeFailed("all_modalities_failed", said)
    return InvalidTask("all_modalities_failed", said)

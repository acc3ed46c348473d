"""The task type `speech_to_text`: what is said in a recording (SPEC §3)."""

import re
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, BaseModel, Field

from aletheia.analysis.file_types import AUDIO_TYPES
from aletheia.analysis.ports import Fetcher
from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.single import Computed, SingleProcessor
from aletheia.analysis.transcripts import Transcript, TranscriptCollector

TASK_TYPE: Final = "speech_to_text"

AUTO: Final = "auto"
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}")


def _check_language(said: str) -> str:
    """Return a language without its country, in small letters; `ValueError` for other words."""
    language = re.split(r"[-_]", said.strip().lower())[0]
    if language != AUTO and not _LANGUAGE.fullmatch(language):
        raise ValueError("is neither `auto` nor the code of a language, such as `en`")
    return language


class SpeechToTextInput(BaseModel):
    """A recording, and the language that is spoken in it."""

    audio_file: str = Field(
        min_length=1,
        description="The recording: an https URL, a `data:` URI, or a path below `FILES_DIR`.",
    )
    language: Annotated[str, AfterValidator(_check_language)] = Field(
        default=AUTO, description="Language (ISO 639-1), or `auto`: it is found out."
    )


class Segment(BaseModel):
    """What is said from one time to another."""

    start: float = Field(ge=0, description="Beginning, seconds.")
    end: float = Field(ge=0, description="End, seconds.")
    text: str = Field(description="What is said.")


class SpeechToTextResult(BaseModel):
    """What is said in a recording."""

    transcription: str = Field(description="What is said; empty where nobody speaks.")
    language: str | None = Field(
        description="Language that most of it is in (ISO 639-1); null where nothing is said."
    )
    confidence: float | None = Field(
        ge=0,
        le=1,
        description="Exp of the mean log-probability of its words, by the length of segments; null "
        "where nothing is said, or the engine knows none.",
    )
    segments: list[Segment] = Field(description="Segments in order, with their times.")
    duration: float = Field(ge=0, description="How long the recording plays, seconds.")
    truncated: bool = Field(
        description="Whether its end could not be read, or is less than its header says."
    )
    language_assumed: bool = Field(
        description="Whether the language was not found out, as the engine knows one alone: other "
        "languages then come out as nonsense, with little confidence."
    )
    provider: str = Field(description="`faster-whisper`, `openai` or `pocketsphinx`.")
    model: str = Field(description="Model that has transcribed it.")


class SpeechToText(SingleProcessor[SpeechToTextInput]):
    """Transcribes speech, in segments with their times."""

    spec: ClassVar[TypeSpec] = TypeSpec(
        input=SpeechToTextInput, result=SpeechToTextResult, lane="media"
    )

    def __init__(self, fetcher: Fetcher, speech: TranscriptCollector) -> None:
        self._fetcher, self._speech = fetcher, speech

    def group(self, task_input: SpeechToTextInput) -> str:
        """Check address and language; see `SingleProcessor.group`."""
        self._fetcher.check(task_input.audio_file)
        self._speech.choose(_language_of(task_input))
        return ""

    async def compute(self, task_input: SpeechToTextInput) -> Computed:
        """Transcribe a recording; see `SingleProcessor.compute`."""
        language = _language_of(task_input)
        engine = self._speech.choose(language)
        async with self._fetcher.fetch(task_input.audio_file, types=AUDIO_TYPES) as file:
            transcript = await self._speech.collect(file, engine, language)
        knows_one = engine.languages is not None and len(engine.languages) == 1
        result = SpeechToTextResult(
            transcription=transcript.text,
            language=transcript.language,
            confidence=_round(transcript.confidence),
            segments=describe_segments(transcript),
            duration=round(transcript.duration_s, 3),
            truncated=transcript.is_broken,
            language_assumed=language is None and knows_one,
            provider=engine.provider,
            model=engine.model,
        )
        record = {"seconds": result.duration, "chars": len(result.transcription)}
        return Computed(result, {**record, "provider": engine.provider, "model": engine.model})


def describe_segments(transcript: Transcript) -> list[Segment]:
    """Return the segments of a transcript as they are reported."""
    return [
        Segment(start=segment.start_s, end=segment.end_s, text=segment.text)
        for segment in transcript.segments
    ]


def _language_of(task_input: SpeechToTextInput) -> str | None:
    return None if task_input.language == AUTO else task_input.language


def _round(number: float | None) -> float | None:
    return None if number is None else round(number, 4)

"""Transcribes speech in child processes, by a model or by an engine without one."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from aletheia.adapters.audio.analyser import WALL_PER_SECOND, read_head
from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.pool import Children, Job
from aletheia.analysis.audio_ports import AudioHead
from aletheia.analysis.audio_settings import AudioSettings, SpeechSettings
from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.speech_ports import SpeechEnd, SpeechProgress, SpeechSegment

WHISPER_JOB: Final = "aletheia.adapters.audio.whisper:transcribe_whisper"
SPHINX_JOB: Final = "aletheia.adapters.audio.sphinx:transcribe_sphinx"

MAX_SILENT_S: Final = 300.0
"""Time for which a child may say nothing, seconds: it speaks at each segment and each window."""


class ChildTranscriber:
    """A `SpeechEngine` over children, which it does not close."""

    def __init__(
        self,
        children: Children,
        *,
        job: str,
        provider: str,
        model: str,
        languages: frozenset[str] | None,
        arguments: Mapping[str, Any],
        audio: AudioSettings,
        speech: SpeechSettings,
    ) -> None:
        self.provider, self.model, self.languages = provider, model, languages
        self._children, self._job, self._arguments = children, job, arguments
        self._max_seconds = audio.max_audio_seconds
        self._limits = JobLimits(
            processor_s=speech.speech_processor_seconds,
            wall_s=WALL_PER_SECOND * audio.max_audio_seconds + MAX_SILENT_S,
            piece_s=MAX_SILENT_S,
        )

    async def transcribe(
        self, file: FetchedFile, *, language: str | None = None, from_s: float = 0.0
    ) -> AsyncGenerator[AudioHead | SpeechSegment | SpeechProgress | SpeechEnd]:
        """See `aletheia.analysis.speech_ports.SpeechEngine.transcribe`."""
        arguments = {
            **self._arguments,
            "language": language,
            "from_s": from_s,
            "max_seconds": self._max_seconds,
        }
        job = Job(self._job, self._limits, arguments, (file.descriptor,), is_careful=True)
        async with aclosing(self._children.run(job)) as pieces:
            async for piece in pieces:
                yield read_piece(piece)


def read_piece(
    piece: Mapping[str, Any],
) -> AudioHead | SpeechSegment | SpeechProgress | SpeechEnd:
    """Read what a child yields."""
    if piece["kind"] != "segment":
        return read_progress(piece)
    return SpeechSegment(
        start_s=piece["start"],
        end_s=piece["end"],
        text=piece["text"],
        log_probability=piece["log_probability"],
        language=piece["language"],
    )


def read_progress(piece: Mapping[str, Any]) -> AudioHead | SpeechProgress | SpeechEnd:
    """Read what a child yields beside what it finds: the head, how far it is, the end."""
    match piece["kind"]:
        case "head":
            return read_head(piece)
        case "end":
            return SpeechEnd(piece["duration"], piece["is_broken"])
        case _:
            return SpeechProgress(piece["until_s"])

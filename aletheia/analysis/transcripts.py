"""What was said in a recording, collected segment by segment, so that none is transcribed twice."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any, Final, cast

from aletheia.analysis.audio_ports import AudioHead
from aletheia.analysis.document_text import PageCache
from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.speech_ports import (
    SpeechEnd,
    SpeechEngine,
    SpeechProgress,
    SpeechSegment,
)
from aletheia.analysis.time_limits import allow_time
from aletheia.errors import ComputeFailed, InvalidTask
from aletheia.store.clock import SYSTEM_CLOCK

SAVE_EVERY_S: Final = 10.0
"""How often the segments so far are saved, seconds."""

TIME_PER_SECOND: Final = 4.0
"""Seconds that computing may take for each that a recording plays (SPEC §3, `TASK_TIMEOUT`)."""

AHEAD_S: Final = 300.0
"""What is transcribed before the next word of how far it is, seconds: a window."""

_MIN_WEIGHT_S: Final = 0.01


@dataclass(slots=True)
class Transcript:
    """What was said, as far as it has been transcribed."""

    segments: list[SpeechSegment] = field(default_factory=list[SpeechSegment])
    until_s: float = 0.0
    duration_s: float = 0.0
    is_broken: bool = False  # whether the end of the recording could not be read
    is_whole: bool = False

    @property
    def text(self) -> str:
        """All that was said."""
        return " ".join(segment.text for segment in self.segments if segment.text)

    @property
    def language(self) -> str | None:
        """The language that most of the time is spoken, `None` where nothing is said."""
        seconds: dict[str, float] = {}
        for segment in self.segments:
            seconds[segment.language] = seconds.get(segment.language, 0.0) + _length_of(segment)
        return max(seconds, key=lambda name: seconds[name], default=None)

    @property
    def confidence(self) -> float | None:
        """Exp of the mean log-probability by the length of segments (SPEC §3), 0 to 1."""
        known = [
            (_length_of(segment), segment.log_probability)
            for segment in self.segments
            if segment.log_probability is not None
        ]
        if not known:
            return None
        total = sum(length for length, _ in known)
        return math.exp(sum(length * value for length, value in known) / total)


class TranscriptCollector:
    """Transcribes whole recordings by the first engine that knows the language.

    What was transcribed is saved in `cache`, so that another attempt goes on behind it.
    """

    def __init__(
        self,
        engines: Sequence[SpeechEngine],
        *,
        cache: PageCache | None = None,
        steady_s: Callable[[], float] = SYSTEM_CLOCK.steady_s,
    ) -> None:
        self._engines, self._cache, self._steady_s = engines, cache, steady_s

    def choose(self, language: str | None) -> SpeechEngine:
        """Return the engine for a language, `None` being any.

        Raises:
            InvalidTask: `no_speech_engine`, `unsupported_language`.
        """
        if not self._engines:
            reason = "speech is transcribed where the extra `speech` is installed, or by an API"
            raise InvalidTask("no_speech_engine", reason)
        for engine in self._engines:
            if language is None or engine.languages is None or language in engine.languages:
                return engine
        known = sorted({name for engine in self._engines for name in engine.languages or ()})
        reason = f"no engine here knows {language!r}; they know {', '.join(known)}"
        raise InvalidTask("unsupported_language", reason)

    async def collect(
        self, file: FetchedFile, engine: SpeechEngine, language: str | None
    ) -> Transcript:
        """Transcribe a recording, from where it was left on.

        Raises:
            AletheiaError: as `SpeechEngine.transcribe`; what had been transcribed is saved.
        """
        key = ("speech", file.content_hash, engine.provider, engine.model, language or "")
        transcript = await self._find_saved(key)
        if transcript.is_whole:
            return transcript
        try:
            await self._transcribe(file, engine, language, transcript, key)
        finally:
            await self._save(transcript, key)
        if not transcript.is_whole:
            raise ComputeFailed("decoder_error", "the recording was transcribed without its end")
        return transcript

    async def _transcribe(
        self,
        file: FetchedFile,
        engine: SpeechEngine,
        language: str | None,
        transcript: Transcript,
        key: Sequence[object],
    ) -> None:
        saved_at = self._steady_s()
        spoken = language or transcript.language
        pieces = engine.transcribe(file, language=spoken, from_s=transcript.until_s)
        async with aclosing(pieces):
            async for piece in pieces:
                _take(transcript, piece)
                if self._steady_s() - saved_at >= SAVE_EVERY_S:
                    await self._save(transcript, key)
                    saved_at = self._steady_s()

    async def _find_saved(self, key: Sequence[object]) -> Transcript:
        saved: Any = None if self._cache is None else await self._cache.get(*key)
        if saved is None:
            return Transcript()
        fields = dict(cast("Mapping[str, Any]", saved))
        segments = [SpeechSegment(**segment) for segment in fields.pop("segments")]
        return Transcript(segments, **fields)

    async def _save(self, transcript: Transcript, key: Sequence[object]) -> None:
        if self._cache is not None and (transcript.until_s or transcript.is_whole):
            await self._cache.put(asdict(transcript), *key)


def _take(
    transcript: Transcript, piece: AudioHead | SpeechSegment | SpeechProgress | SpeechEnd
) -> None:
    match piece:
        case AudioHead():
            allow_time(TIME_PER_SECOND * (piece.declared_s or 0.0))
        case SpeechSegment():
            if piece.text:
                transcript.segments.append(piece)
            transcript.until_s = max(transcript.until_s, piece.end_s)
        case SpeechProgress():
            transcript.until_s = max(transcript.until_s, piece.until_s)
            # Of what does not say how long it plays.
            allow_time(TIME_PER_SECOND * (transcript.until_s + AHEAD_S))
        case SpeechEnd():
            transcript.duration_s, transcript.is_broken = piece.duration_s, piece.is_broken
            transcript.is_whole = True


def _length_of(segment: SpeechSegment) -> float:
    return max(_MIN_WEIGHT_S, segment.end_s - segment.start_s)

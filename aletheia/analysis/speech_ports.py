"""What the processor of speech needs from outside."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from aletheia.analysis.audio_ports import AudioHead
from aletheia.analysis.ports import FetchedFile


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """What was said from one time to another, seconds from the beginning of the recording."""

    start_s: float
    end_s: float
    text: str
    log_probability: float | None  # mean of its tokens', natural logarithm; `None` is not known
    language: str  # ISO 639-1


@dataclass(frozen=True, slots=True)
class SpeechProgress:
    """Up to where a recording has been transcribed, seconds."""

    until_s: float


@dataclass(frozen=True, slots=True)
class SpeechEnd:
    """The end of a recording."""

    duration_s: float
    is_broken: bool  # whether its end could not be read


class SpeechEngine(Protocol):
    """Transcribes recordings, segment by segment, in order."""

    provider: str
    model: str
    languages: frozenset[str] | None  # that it knows, ISO 639-1; `None`: only its model knows

    def transcribe(
        self, file: FetchedFile, *, language: str | None = None, from_s: float = 0.0
    ) -> AsyncGenerator[AudioHead | SpeechSegment | SpeechProgress | SpeechEnd]:
        """Yield the head of a recording, what is said from a time on, and its end.

        `language` is ISO 639-1; without one it is found out. What was yielded before an error is
        whole, so that another call can go on behind it.

        Raises:
            InvalidTask: `unreadable_audio`, `too_large`, `no_decoder`, `unsupported_language`, and
                of a provider `model_not_found`, `unsupported_model`, `audio_refused`.
            ComputeFailed: `decoder_died`, `too_slow`; another attempt may help.
            Unavailable, Refused, Deferred: of a provider.
        """
        ...

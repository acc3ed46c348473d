"""Transcribes speech by Whisper models, in a child: faster-whisper, which brings what it needs.

A filter leaves out what is no speech before the model sees it: of silence it would make words.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

from aletheia.adapters.audio.blocks import open_recording
from aletheia.adapters.audio.measuring import Piece, make_head
from aletheia.adapters.audio.speech import cut_windows
from aletheia.errors import InvalidTask

MAX_TEXT_CHARS: Final = 5000
"""Longest text of one segment, which are at most 30 s long."""


def transcribe_whisper(
    files: Sequence[int],
    *,
    directory: str,
    language: str | None,
    from_s: float,
    max_seconds: float,
    threads: int,
) -> Iterator[Piece]:
    """Yield the head of a recording, segments from a time on, and how far it has got.

    Raises:
        InvalidTask: as `open_recording`; `no_speech_engine`, `unsupported_language`.
    """
    with open_recording(files[0], max_seconds=max_seconds) as recording:
        yield make_head(recording.head)
        model = load_model(directory, threads)
        if language is not None and language not in model.supported_languages:
            raise InvalidTask("unsupported_language", f"the model does not know {language!r}")
        for begin_s, window in cut_windows(recording.read(), recording.head.rate, from_s=from_s):
            found, info = model.transcribe(
                *(window, language),
                vad_filter=True,
                condition_on_previous_text=False,
            )
            has_speech = info.duration_after_vad > 0
            for segment in found if has_speech else ():
                language = language or str(info.language)
                yield make_segment(segment, begin_s, language)
            yield {"kind": "progress", "until_s": begin_s + len(window) / 16_000}
        duration = recording.frames / recording.head.rate
        yield {"kind": "end", "duration": duration, "is_broken": recording.is_broken}


def make_segment(segment: Any, begin_s: float, language: str) -> Piece:
    """Return a segment of a window that begins at a time as a piece."""
    return {
        "kind": "segment",
        "start": round(begin_s + float(segment.start), 3),
        "end": round(begin_s + float(segment.end), 3),
        "text": str(segment.text).strip()[:MAX_TEXT_CHARS],
        "log_probability": min(0.0, float(segment.avg_logprob)),
        "language": language,
    }


@cache
def load_model(directory: str, threads: int) -> Any:
    """Load a model, once in the life of a process."""
    try:
        faster_whisper: Any = import_module("faster_whisper")
    except ImportError as error:
        reason = "Whisper models run where the extra `speech` is installed"
        raise InvalidTask("no_speech_engine", reason) from error
    return faster_whisper.WhisperModel(
        directory, device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
    )

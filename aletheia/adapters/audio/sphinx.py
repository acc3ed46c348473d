"""Transcribes English by pocketsphinx, in a child, with the model that comes with it.

The last resort: it needs no other file, and understands much less than what else there is.
"""

import io
import math
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.audio.blocks import open_recording
from aletheia.adapters.audio.measuring import Piece, make_head
from aletheia.adapters.audio.speech import SPEECH_RATE, cut_windows
from aletheia.errors import InvalidTask

_MIN_PROBABILITY: Final = 1e-6
_STRICT: Final = 3
"""How sure the filter must be that something is speech: the most of four degrees."""

_FULL_SCALE: Final = 32_767


def transcribe_sphinx(
    files: Sequence[int], *, language: str | None, from_s: float, max_seconds: float
) -> Iterator[Piece]:
    """Yield the head of a recording, segments from a time on, and how far it has got.

    Raises:
        InvalidTask: as `open_recording`; `no_speech_engine`, `unsupported_language`.
    """
    if language not in (None, "en"):
        raise InvalidTask("unsupported_language", "pocketsphinx knows English alone")
    with open_recording(files[0], max_seconds=max_seconds) as recording:
        yield make_head(recording.head)
        for begin_s, window in cut_windows(recording.read(), recording.head.rate, from_s=from_s):
            yield from _transcribe(window, begin_s)
            yield {"kind": "progress", "until_s": begin_s + len(window) / SPEECH_RATE}
        duration = recording.frames / recording.head.rate
        yield {"kind": "end", "duration": duration, "is_broken": recording.is_broken}


def _transcribe(window: NDArray[np.float32], begin_s: float) -> Iterator[Piece]:
    decoder = load_decoder()
    pocketsphinx: Any = import_module("pocketsphinx")
    pcm = (np.clip(window, -1, 1) * _FULL_SCALE).astype("<i2").tobytes()
    finder = pocketsphinx.Segmenter(vad_mode=_STRICT, sample_rate=SPEECH_RATE)
    for found in finder.segment(io.BytesIO(pcm)):
        decoder.start_utt()
        decoder.process_raw(found.pcm, full_utt=True)
        decoder.end_utt()
        words = [word for word in decoder.seg() or () if word.word[0] not in "<[+"]
        if words:
            yield {
                "kind": "segment",
                "start": round(begin_s + found.start_time, 3),
                "end": round(begin_s + found.end_time, 3),
                "text": " ".join(word.word.split("(")[0] for word in words),
                "log_probability": _mean(decoder, words),
                "language": "en",
            }


def _mean(decoder: Any, words: Sequence[Any]) -> float:
    """Return the mean log-probability of some words, natural logarithm."""
    exp = decoder.get_logmath().exp
    logs = [math.log(min(1.0, max(_MIN_PROBABILITY, exp(word.prob)))) for word in words]
    return sum(logs) / len(logs)


@cache
def load_decoder() -> Any:
    """Load the model, once in the life of a process."""
    try:
        pocketsphinx: Any = import_module("pocketsphinx")
    except ImportError as error:
        reason = "pocketsphinx comes with the extra `speech`"
        raise InvalidTask("no_speech_engine", reason) from error
    return pocketsphinx.Decoder(samprate=SPEECH_RATE, loglevel="FATAL")

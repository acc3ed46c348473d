"""Cuts a recording into parts that can be sent to somebody else: what runs in a child."""

import base64
import io
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np

from aletheia.adapters.audio.blocks import open_recording
from aletheia.adapters.audio.measuring import Piece, make_head
from aletheia.adapters.audio.speech import SPEECH_RATE, cut_windows

MIN_PEAK: Final = 1e-3
"""Highest sample below which a part is silence, -60 dBFS: nobody is paid for listening to it."""


def cut_recording(files: Sequence[int], *, from_s: float, max_seconds: float) -> Iterator[Piece]:
    """Yield the head of a recording, its parts from a time on, and its end; silence is left out.

    Raises:
        InvalidTask: as `open_recording` and `Recording.read`.
    """
    soundfile: Any = import_module("soundfile")
    with open_recording(files[0], max_seconds=max_seconds) as recording:
        yield make_head(recording.head)
        for begin_s, window in cut_windows(recording.read(), recording.head.rate, from_s=from_s):
            seconds = len(window) / SPEECH_RATE
            if np.abs(window).max(initial=0.0) >= MIN_PEAK:
                out = io.BytesIO()
                soundfile.write(out, np.clip(window, -1, 1), SPEECH_RATE, format="FLAC")
                flac = base64.b64encode(out.getvalue()).decode()
                yield {"kind": "part", "begin_s": begin_s, "seconds": seconds, "flac": flac}
            else:
                yield {"kind": "progress", "until_s": begin_s + seconds}
        duration = recording.frames / recording.head.rate
        yield {"kind": "end", "duration": duration, "is_broken": recording.is_broken}

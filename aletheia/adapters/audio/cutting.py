"""Cuts a recording into parts that can be sent to somebody else, in a child: FLAC, 16 kHz."""

import base64
import io
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np

from aletheia.adapters.audio.analyser import MAX_SILENT_S, WALL_PER_SECOND, read_head
from aletheia.adapters.audio.blocks import open_recording
from aletheia.adapters.audio.measuring import Piece, make_head
from aletheia.adapters.audio.speech import SPEECH_RATE, cut_windows
from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.pool import Children, Job
from aletheia.analysis.audio_ports import AudioHead
from aletheia.analysis.audio_settings import AudioSettings
from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.speech_ports import SpeechEnd, SpeechProgress

JOB: Final = "aletheia.adapters.audio.cutting:cut_recording"

MIN_PEAK: Final = 1e-3
"""Highest sample below which a part is silence, -60 dBFS: nobody is paid for listening to it."""


@dataclass(frozen=True, slots=True)
class SoundPart:
    """Some minutes of a recording, as a FLAC file."""

    begin_s: float
    seconds: float
    flac: bytes


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


class ChildCutter:
    """Cuts recordings in children, which it does not close."""

    def __init__(self, children: Children, settings: AudioSettings) -> None:
        self._children, self._settings = children, settings

    async def cut(
        self, file: FetchedFile, from_s: float
    ) -> AsyncGenerator[AudioHead | SoundPart | SpeechProgress | SpeechEnd]:
        """Yield the head of a recording, its parts from a time on, and its end.

        Raises:
            InvalidTask: `unreadable_audio`, `too_large`, `no_decoder`.
            ComputeFailed: `decoder_died`, `too_slow`.
        """
        max_seconds = self._settings.max_audio_seconds
        limits = JobLimits(
            processor_s=self._settings.audio_processor_seconds,
            wall_s=WALL_PER_SECOND * max_seconds + MAX_SILENT_S,
            piece_s=MAX_SILENT_S,
            result_bytes=2**31,
        )
        arguments = {"from_s": from_s, "max_seconds": max_seconds}
        job = Job(JOB, limits, arguments, (file.descriptor,), is_careful=True)
        async with aclosing(self._children.run(job)) as pieces:
            async for piece in pieces:
                match piece["kind"]:
                    case "head":
                        yield read_head(piece)
                    case "part":
                        flac = base64.b64decode(piece["flac"])
                        yield SoundPart(piece["begin_s"], piece["seconds"], flac)
                    case "end":
                        yield SpeechEnd(piece["duration"], piece["is_broken"])
                    case _:
                        yield SpeechProgress(piece["until_s"])

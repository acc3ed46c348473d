"""Cuts a recording into parts that can be sent to somebody else, in a child: FLAC, 16 kHz.

Nothing here imports what decodes: whoever polls would hold those libraries for nothing.
"""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from aletheia.adapters.audio.analyser import MAX_SILENT_S, WALL_PER_SECOND
from aletheia.adapters.audio.transcriber import read_progress
from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.pool import Children, Job
from aletheia.analysis.audio_ports import AudioHead
from aletheia.analysis.audio_settings import AudioSettings
from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.speech_ports import SpeechEnd, SpeechProgress

JOB: Final = "aletheia.adapters.audio.cutting:cut_recording"


@dataclass(frozen=True, slots=True)
class SoundPart:
    """Some minutes of a recording, as a FLAC file."""

    begin_s: float
    seconds: float
    flac: bytes


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
                if piece["kind"] == "part":
                    flac = base64.b64decode(piece["flac"])
                    yield SoundPart(piece["begin_s"], piece["seconds"], flac)
                else:
                    yield read_progress(piece)

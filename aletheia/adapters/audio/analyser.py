"""Measures recordings in child processes."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.pool import Children, Job
from aletheia.analysis.audio_ports import AudioHead, Measured, Spread
from aletheia.analysis.audio_settings import AudioSettings
from aletheia.analysis.ports import FetchedFile

JOB: Final = "aletheia.adapters.audio.measuring:measure_recording"

MAX_SILENT_S: Final = 60.0
"""Time for which a child may say nothing, seconds; it speaks every five."""

WALL_PER_SECOND: Final = 4.0
MIN_WALL_S: Final = 300.0
"""Time for a recording beside its playing time, and the least of it (SPEC §3)."""


class ChildAnalyser:
    """An `AudioAnalyser` over children, which it does not close."""

    def __init__(self, children: Children, settings: AudioSettings) -> None:
        self._children, self._settings = children, settings

    async def analyse(self, file: FetchedFile) -> AsyncGenerator[AudioHead | Measured]:
        """See `aletheia.analysis.audio_ports.AudioAnalyser.analyse`."""
        settings = self._settings
        limits = JobLimits(
            processor_s=settings.audio_processor_seconds,
            wall_s=max(MIN_WALL_S, WALL_PER_SECOND * settings.max_audio_seconds),
            piece_s=MAX_SILENT_S,
            result_bytes=10_000_000,
        )
        arguments = {"max_seconds": settings.max_audio_seconds}
        job = Job(JOB, limits, arguments, (file.descriptor,), is_careful=True)
        async with aclosing(self._children.run(job)) as pieces:
            async for piece in pieces:
                match piece["kind"]:
                    case "head":
                        yield read_head(piece)
                    case "measured":
                        yield read_measured(piece)
                    case _:  # how far it is
                        pass


def read_head(piece: Mapping[str, Any]) -> AudioHead:
    """Read the head of a recording as a child yields it."""
    return AudioHead(**{name: value for name, value in piece.items() if name != "kind"})


def read_measured(piece: Mapping[str, Any]) -> Measured:
    """Read what was measured as a child yields it."""
    loudness: Mapping[str, Any] = piece["loudness"]
    tempo: Mapping[str, Any] = piece["tempo"] or {}
    spectrum: Mapping[str, Any] = piece["spectrum"] or {}

    def spread(name: str) -> Spread | None:
        return Spread(**spectrum[name]) if name in spectrum else None

    return Measured(
        duration_s=piece["duration"],
        is_broken=piece["is_broken"],
        loudness_lufs=loudness["integrated"],
        loudness_range_lu=loudness["range"],
        true_peak_dbtp=loudness["true_peak"],
        centroid_hz=spread("centroid"),
        bandwidth_hz=spread("bandwidth"),
        rolloff_hz=spread("rolloff"),
        flatness=spread("flatness"),
        zero_crossing_rate=spectrum.get("zero_crossing_rate"),
        tempo_bpm=tempo.get("bpm"),
        tempo_certainty=tempo.get("certainty"),
    )

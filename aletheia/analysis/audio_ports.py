"""What the processors of recordings need from outside."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from aletheia.analysis.ports import FetchedFile


@dataclass(frozen=True, slots=True)
class AudioHead:
    """What a recording's header says; it may lie."""

    rate: int  # samples a second
    channels: int
    declared_s: float | None  # how long it plays; `None` where it does not say
    format: str  # of container and samples, such as `wav/pcm_16`
    provider: str  # what reads it
    version: str
    is_estimated: bool = False  # whether how long it plays is a guess by its size


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over all frames of a recording that have sound."""

    mean: float
    deviation: float  # standard deviation


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a recording; `None` is what it has not."""

    duration_s: float  # of what was read
    is_broken: bool  # whether its end could not be read
    loudness_lufs: float | None
    loudness_range_lu: float | None
    true_peak_dbtp: float | None
    centroid_hz: Spread | None
    bandwidth_hz: Spread | None
    rolloff_hz: Spread | None
    flatness: Spread | None
    zero_crossing_rate: float | None
    tempo_bpm: float | None
    tempo_certainty: float | None


class AudioAnalyser(Protocol):
    """Measures recordings in a process of its own, in memory that does not grow with them."""

    def analyse(self, file: FetchedFile) -> AsyncGenerator[AudioHead | Measured]:
        """Yield the head of a recording, and at last what was measured.

        Raises:
            InvalidTask: `unreadable_audio`, `too_large`, `no_decoder`.
            ComputeFailed: `decoder_died`, `too_slow`; another attempt may help.
        """
        ...

"""What a recording's header says, and what is believed of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Blocks: TypeAlias = Iterator[NDArray[np.float32]]
"""Samples, `(channels, n)`, 1 being full scale."""

RATES: Final = range(1000, 768_001)
MAX_CHANNELS: Final = 64
"""Sample rates, Hz, and numbers of channels that recordings have."""

_BLOCK_SAMPLES: Final = 16_384


@dataclass(frozen=True, slots=True)
class AudioHead:
    """What is known of a recording before its samples are read."""

    rate: int  # samples a second
    channels: int
    declared_s: float | None  # how long it plays by its header, which may lie
    format: str  # of container and samples, such as `wav/pcm_16`
    provider: str  # what reads it: `libsndfile` or `ffmpeg`
    version: str
    is_estimated: bool = False  # whether how long it plays is a guess by its size


def block_frames(channels: int) -> int:
    """Return how many samples of each channel are read at once, so that memory stays the same."""
    return max(1, _BLOCK_SAMPLES // channels)

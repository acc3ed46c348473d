"""The tempo of a recording: how far apart its beats are, and how regular they are.

Rises of the spectrum are compared with themselves some time later, in windows whose results are
added up: autocorrelation, as in D. Ellis, Beat Tracking by Dynamic Programming, 2007. Among
multiples of one period the one that is nearest to how fast people tap is chosen.
"""

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

fft: Any = import_module("scipy.fft")  # which has no types

MIN_BPM: Final = 40.0
MAX_BPM: Final = 240.0
_TAPPED_BPM: Final = 120.0
_TAPPED_OCTAVES: Final = 1.0
"""How fast people tap, and the spread of that, octaves (Ellis, 2007)."""

_WINDOW_S: Final = 12.0
MIN_SECONDS: Final = 4.0
"""Windows; and the shortest recording that has a tempo, seconds."""

MIN_RISE: Final = 0.01
"""Mean rise, nepers, below which nothing begins in a recording: a tone, an even noise."""

MIN_CERTAINTY: Final = 0.05


@dataclass(frozen=True, slots=True)
class Tempo:
    """How fast a recording goes, and how sure that is."""

    bpm: float
    certainty: float  # share of the beats' energy that comes again after one period, 0 to 1


class TempoMeter:
    """Finds the tempo, window by window."""

    def __init__(self, hop_s: float) -> None:
        self._hop_s = hop_s
        self._length = max(8, round(_WINDOW_S / hop_s))
        self._waiting = np.zeros(0)
        self._products = np.zeros(self._length)
        self._rise, self._count = 0.0, 0

    def add(self, rises: NDArray[np.float32]) -> None:
        """Take the next rises, one a hop."""
        self._rise += float(rises.sum())
        self._count += len(rises)
        self._waiting = np.concatenate([self._waiting, rises.astype(np.float64)])
        while len(self._waiting) >= self._length:
            self._products += _correlate(self._waiting[: self._length], self._length)
            self._waiting = self._waiting[self._length // 2 :]

    def finish(self) -> Tempo | None:
        """Return the tempo; `None` where there is none."""
        if self._count * self._hop_s < MIN_SECONDS or self._rise < MIN_RISE * self._count:
            return None
        if not self._products[0]:  # shorter than a window
            self._products += _correlate(self._waiting, self._length)
        if self._products[0] <= 0:
            return None
        return self._choose(self._products / self._products[0])

    def _choose(self, likeness: NDArray[np.float64]) -> Tempo | None:
        first = max(1, math.floor(60 / MAX_BPM / self._hop_s))
        last = min(math.ceil(60 / MIN_BPM / self._hop_s), self._length // 3)
        lags = np.arange(first, last + 1)
        octaves = np.log2(60 / (lags * self._hop_s) / _TAPPED_BPM)
        prior = np.exp(-0.5 * (octaves / _TAPPED_OCTAVES) ** 2)
        best = int(lags[np.argmax(likeness[lags] * prior)])
        certainty = float(np.clip(likeness[best], 0.0, 1.0))
        if certainty < MIN_CERTAINTY:
            return None
        return Tempo(60 / (_refine(likeness, best) * self._hop_s), certainty)


def _correlate(rises: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the products of a window with itself, by how many hops it is moved, unbiased."""
    varied = rises - rises.mean()
    spectrum: NDArray[np.complex128] = fft.rfft(varied, 2 * length)
    found: NDArray[np.float64] = fft.irfft(np.abs(spectrum) ** 2)[:length]
    overlap = np.maximum(len(rises) - np.arange(length), len(rises) / 4)
    return found * (len(rises) / overlap)


def _refine(likeness: NDArray[np.float64], lag: int) -> float:
    """Return a period, hops, between whole ones: by the farthest of its multiples in reach."""
    period = float(lag)
    for multiple in (1, 2, 4, 8):
        at = round(period * multiple)
        near = max(1, round(0.02 * at))
        if at + near + 1 >= len(likeness):
            break
        at = at - near + int(np.argmax(likeness[at - near : at + near + 1]))
        left, middle, right = likeness[at - 1 : at + 2].tolist()
        bend = left - 2 * middle + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
        period = (at + max(-0.5, min(0.5, shift))) / multiple
    return period

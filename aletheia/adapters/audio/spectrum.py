"""The spectrum of a recording, frame by frame: what is kept is sums, and the last few frames.

Definitions and frames are those of librosa's defaults (https://librosa.org/doc/latest/feature.html):
a Hann window of about 46 ms, moved by a quarter of it; magnitudes of the mean of all channels.
"""

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

fft: Any = import_module("scipy.fft")  # which has no types

WINDOW_S: Final = 2048 / 44_100
HOPS_A_WINDOW: Final = 4

ROLLOFF_SHARE: Final = 0.85
"""Share of a frame's magnitudes that lies below its roll-off."""

MIN_POWER: Final = 1e-7
"""Mean square of a frame that counts: -70 dBFS. Quieter ones have the spectrum of their noise."""

BANDS: Final = 40
MIN_BAND_HZ: Final = 30.0
"""Bands whose rises are the beats, from the lowest frequency on, each as wide in octaves."""

_BATCH: Final = 32
_TINY: Final = 1e-10


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over all frames that count."""

    mean: float
    deviation: float  # standard deviation


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Figures of a recording's spectrum."""

    centroid: Spread  # Hz
    bandwidth: Spread  # Hz
    rolloff: Spread  # Hz
    flatness: Spread  # 0 of a tone, to 1; 0.56 of white noise
    zero_crossing_rate: float  # share of samples at which the sign changes, 0 to 1


class SpectrumMeter:
    """Measures a recording block by block, and yields how much louder its bands became."""

    def __init__(self, rate: int) -> None:
        self._size = max(64, 2 ** round(math.log2(WINDOW_S * rate)))
        self._hop = self._size // HOPS_A_WINDOW
        self.hop_s = self._hop / rate
        self._window = np.hanning(self._size + 1)[:-1].astype(np.float32)
        self._hertz = (np.arange(self._size // 2 + 1) * rate / self._size).astype(np.float32)
        self._bands = _make_bands(self._hertz)
        self._rest = np.zeros(0, np.float32)
        self._last_bands: NDArray[np.float32] | None = None
        self._sums = np.zeros((2, 4))
        self._frames = 0
        self._crossings, self._samples, self._is_negative = 0, 0, False

    def add(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Measure the next samples, `(channels, n)`; return the rises of the frames in them."""
        mono = block.mean(axis=0)
        self._count_crossings(mono)
        joined = np.concatenate([self._rest, mono])
        if len(joined) < self._size:
            self._rest = joined
            return np.zeros(0, np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(joined, self._size)[:: self._hop]
        self._rest = joined[len(frames) * self._hop :].copy()
        rises = [self._measure(frames[at : at + _BATCH]) for at in range(0, len(frames), _BATCH)]
        return np.concatenate(rises)

    def finish(self) -> Spectrum | None:
        """Return what was measured; `None` where no frame counts."""
        if not self._frames:
            return None
        means = self._sums[0] / self._frames
        variances = np.maximum(self._sums[1] / self._frames - means**2, 0.0)
        spreads = map(Spread, means.tolist(), np.sqrt(variances).tolist())
        centroid, bandwidth, rolloff, flatness = spreads
        crossing = self._crossings / max(1, self._samples - 1)
        return Spectrum(centroid, bandwidth, rolloff, flatness, crossing)

    def _measure(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        spectra: NDArray[np.complex64] = fft.rfft(frames * self._window, axis=1)
        power = (spectra.real**2 + spectra.imag**2).astype(np.float32)
        counts = (frames * frames).mean(axis=1) >= MIN_POWER
        if counts.any():
            self._sum(power[counts])
        return self._find_rises(power)

    def _sum(self, power: NDArray[np.float32]) -> None:
        magnitude = np.sqrt(power)
        total = magnitude.sum(axis=1) + _TINY
        centroid = magnitude @ self._hertz / total
        # The mean of squares, less the square of the mean.
        squares = magnitude @ (self._hertz**2) / total
        bandwidth = np.sqrt(np.maximum(squares - centroid**2, 0.0))
        below = np.cumsum(magnitude, axis=1) < ROLLOFF_SHARE * total[:, None]
        rolloff = self._hertz[np.minimum(below.sum(axis=1), len(self._hertz) - 1)]
        floored = np.maximum(power, _TINY)
        flatness = np.exp(np.log(floored).mean(axis=1)) / floored.mean(axis=1)
        figures = np.stack([centroid, bandwidth, rolloff, flatness]).astype(np.float64)
        self._sums += [figures.sum(axis=1), (figures**2).sum(axis=1)]
        self._frames += len(power)

    def _find_rises(self, power: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return by how much the bands rose from frame to frame, in the mean, in nepers."""
        bands = np.log(power @ self._bands + 1e-3)
        before = bands[:1] if self._last_bands is None else self._last_bands
        self._last_bands = bands[-1:]
        return np.maximum(np.diff(bands, axis=0, prepend=before), 0.0).mean(axis=1)

    def _count_crossings(self, mono: NDArray[np.float32]) -> None:
        if not len(mono):
            return
        negative = np.signbit(mono)
        self._crossings += int(np.count_nonzero(negative[1:] != negative[:-1]))
        if self._samples:
            self._crossings += bool(negative[0]) != self._is_negative
        self._is_negative = bool(negative[-1])
        self._samples += len(mono)


def _make_bands(hertz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return which band each frequency belongs to, `(frequencies, bands)`."""
    edges = np.geomspace(MIN_BAND_HZ, float(hertz[-1]) + 1.0, BANDS + 1)
    places = np.searchsorted(edges, hertz, side="right") - 1
    bands = np.zeros((len(hertz), BANDS), np.float32)
    inside = places >= 0
    bands[np.flatnonzero(inside), np.minimum(places[inside], BANDS - 1)] = 1.0
    return bands[:, bands.any(axis=0)]

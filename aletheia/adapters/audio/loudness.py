"""Loudness by EBU R 128, block by block: nothing but one number for each 100 ms is kept.

Filters: pyloudnorm's, after B. De Man, which are those of ITU-R BS.1770-5 at 48 kHz. The gates over
blocks are ours, as no library that is kept up measures in blocks: pyloudnorm and `loudness` take a
recording whole, `pyebur128` has no build for Python 3.13.
"""

import math
from array import array
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

signal: Any = import_module("scipy.signal")  # which has no types

HOP_S: Final = 0.1
_MOMENTARY: Final = 4
_SHORT_TERM: Final = 30
"""Hops in a momentary block (400 ms) and in a short-term one (3 s): EBU Tech 3341."""

ABSOLUTE_GATE: Final = -70.0
RELATIVE_GATE: Final = -10.0
RANGE_GATE: Final = -20.0
RANGE_PERCENTILES: Final = (10.0, 95.0)
"""LUFS; LU below the mean, of loudness (BS.1770-5, Annex 1) and of its range (EBU Tech 3342)."""

_OFFSET: Final = -0.691
_SURROUND: Final = 1.41
_WEIGHTS: Final = {
    4: (1.0, 1.0, 1.0, _SURROUND),
    5: (1.0, 1.0, 1.0, _SURROUND, _SURROUND),
    6: (1.0, 1.0, 1.0, 0.0, _SURROUND, _SURROUND),
    7: (1.0, 1.0, 1.0, 0.0, _SURROUND, _SURROUND, _SURROUND),
    8: (1.0, 1.0, 1.0, 0.0, _SURROUND, _SURROUND, _SURROUND, _SURROUND),
}
"""Weights of channels in the order of WAV files: the fourth of six and more is for low effects. Of
four the last is the back, as ffmpeg takes it where a file does not say."""

_OVERSAMPLING: Final = ((4, 96_000), (2, 192_000))
"""How often a signal is oversampled for its true peak, below which rate (BS.1770-5, Annex 2)."""

_MIN_FILTER_RATE: Final = 32_000
"""Below this rate the filters are applied to the oversampled signal: they bend near its end."""

_PEAK_TAPS: Final = 12
_FILTER_TAPS: Final = 64
"""Samples on each side that a new one is made from: as in BS.1770-5 for peaks, and more where the
loudness is that of what is made, so that nothing is lost near the end of the spectrum."""


@dataclass(frozen=True, slots=True)
class Loudness:
    """How loud a recording is; `None` where nothing in it is above the absolute gate."""

    integrated: float | None  # LUFS
    range: float | None  # LU; `None` also below 3 s
    true_peak: float | None  # dBTP; `None` of digital silence


class LoudnessMeter:
    """Measures a recording block by block."""

    def __init__(self, rate: int, channels: int) -> None:
        self._up = next((up for up, from_rate in _OVERSAMPLING if rate < from_rate), 1)
        self._is_oversampled = rate < _MIN_FILTER_RATE
        taps = _FILTER_TAPS if self._is_oversampled else _PEAK_TAPS
        self._oversampler = _Oversampler(self._up, channels, taps)
        filtered_rate = rate * self._up if self._is_oversampled else rate
        self._sections = _make_filters(filtered_rate)
        self._state = np.zeros((len(self._sections), channels, 2))
        self._weights = np.array(_WEIGHTS.get(channels, (1.0,) * channels))
        self._hop = max(1, round(HOP_S * filtered_rate))
        self._rest = np.zeros(0)
        self._energies = array("d")
        self._peak = 0.0

    def add(self, block: NDArray[np.float32]) -> None:
        """Measure the next samples, `(channels, n)`."""
        above = self._oversampler.add(block)
        self._peak = max(self._peak, float(np.abs(above).max(initial=0.0)))
        self._peak = max(self._peak, float(np.abs(block).max(initial=0.0)))
        self._weigh(above if self._is_oversampled else block)

    def finish(self) -> Loudness:
        """Return what was measured; nothing can be added from then on."""
        above = self._oversampler.finish()
        self._peak = max(self._peak, float(np.abs(above).max(initial=0.0)))
        if self._is_oversampled:
            self._weigh(above)
        energies = np.frombuffer(self._energies) if self._energies else np.zeros(0)
        peak = 20 * math.log10(self._peak) if self._peak > 0 else None
        return Loudness(_integrate(energies), _find_range(energies), peak)

    def _weigh(self, block: NDArray[np.float32]) -> None:
        filtered, self._state = _apply(self._sections, block, self._state)
        power = np.concatenate([self._rest, self._weights @ (filtered * filtered)])
        whole = len(power) - len(power) % self._hop
        self._energies.extend(power[:whole].reshape(-1, self._hop).mean(axis=1).tolist())
        self._rest = power[whole:]


class _Oversampler:
    """Puts samples between those of a signal, by a filter over blocks that overlap."""

    def __init__(self, up: int, channels: int, taps_a_side: int) -> None:
        self._up, self._late = up, taps_a_side
        length = 2 * taps_a_side * up + 1
        taps: NDArray[np.float64] = signal.firwin(length, 1 / up, window=("kaiser", 5.0))
        self._taps = (up * taps).astype(np.float32)
        self._tail = np.zeros((channels, 2 * taps_a_side), np.float32)

    def add(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `up` samples for each one, as many samples late as there are taps on a side."""
        if self._up == 1:
            return block
        joined = np.concatenate([self._tail, block], axis=1)
        self._tail = joined[:, -2 * self._late :].copy()
        begin = 2 * self._late * self._up
        made: NDArray[np.float32] = signal.upfirdn(self._taps, joined, self._up, axis=1)
        return made[:, begin : begin + block.shape[1] * self._up]

    def finish(self) -> NDArray[np.float32]:
        """Return what is late."""
        empty = np.zeros((self._tail.shape[0], 0 if self._up == 1 else self._late), np.float32)
        return self.add(empty)


def _make_filters(rate: int) -> NDArray[np.float64]:
    """Return the second-order sections of the K-weighting for a rate, `(2, 6)`."""
    pyloudnorm: Any = import_module("pyloudnorm")  # which has no types
    meter = pyloudnorm.Meter(rate, filter_class="DeMan")
    stages = meter._filters.values()  # noqa: SLF001 - there is no other way to its filters
    rows = [stage.passband_gain * np.concatenate([stage.b, stage.a]) for stage in stages]
    return np.array(rows)


def _apply(
    sections: NDArray[np.float64], block: NDArray[np.float32], state: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found: Any = signal.sosfilt(sections, block.astype(np.float64), axis=1, zi=state)
    return found[0], found[1]


def _to_loudness(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    return _OFFSET + 10 * np.log10(np.maximum(energy, 1e-20))


def _slide(energies: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the means of all blocks of so many hops, one hop apart."""
    if len(energies) < length:
        return np.zeros(0)
    return np.lib.stride_tricks.sliding_window_view(energies, length).mean(axis=1)


def _gate(blocks: NDArray[np.float64], relative: float) -> NDArray[np.float64]:
    """Return the energies of the blocks that pass both gates."""
    loud = blocks[_to_loudness(blocks) >= ABSOLUTE_GATE]
    if not len(loud):
        return loud
    threshold = float(_to_loudness(loud.mean(keepdims=True))[0]) + relative
    return loud[_to_loudness(loud) >= threshold]


def _integrate(energies: NDArray[np.float64]) -> float | None:
    loud = _gate(_slide(energies, _MOMENTARY), RELATIVE_GATE)
    return float(_to_loudness(loud.mean(keepdims=True))[0]) if len(loud) else None


def _find_range(energies: NDArray[np.float64]) -> float | None:
    loud = _gate(_slide(energies, _SHORT_TERM), RANGE_GATE)
    if not len(loud):
        return None
    low, high = np.percentile(_to_loudness(loud), RANGE_PERCENTILES)
    return float(high - low)

"""Recordings as speech models read them: one channel of 16 kHz, in windows that end in a pause."""

import math
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

signal: Any = import_module("scipy.signal")  # which has no types

SPEECH_RATE: Final = 16_000
"""Samples a second that speech models read."""

WINDOW_S: Final = 300.0
"""Longest window, seconds: models take some 0.4 MB a second beside themselves."""

PAUSE_WITHIN_S: Final = 30.0
"""At the end of a window the pause is looked for, seconds; people breathe more often."""

_PAUSE_FRAME_S: Final = 0.2
_CHUNK_S: Final = 4.0
_MARGIN_S: Final = 0.05
_COARSE_HZ: Final = 100


class Resampler:
    """Turns blocks of any rate into one channel of `SPEECH_RATE`."""

    def __init__(self, rate: int) -> None:
        # An odd rate would need a filter of its own length; so it is off by 0.6 % at most.
        coarse = max(_COARSE_HZ, round(rate / _COARSE_HZ) * _COARSE_HZ)
        common = math.gcd(coarse, SPEECH_RATE)
        self._up, self._down = SPEECH_RATE // common, coarse // common
        self._margin = self._down * max(1, math.ceil(_MARGIN_S * coarse / self._down))
        self._chunk = self._down * max(1, round(_CHUNK_S * coarse / self._down))
        self._waiting = np.zeros(self._margin, np.float32)

    def add(self, block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Take the next samples, `(channels, n)`; yield what is made, `(m,)`."""
        self._waiting = np.concatenate([self._waiting, block.mean(axis=0)])
        while len(self._waiting) >= self._chunk + 2 * self._margin:
            yield self._make(self._chunk)

    def finish(self) -> NDArray[np.float32]:
        """Return the rest."""
        left = len(self._waiting) - self._margin
        padding = np.zeros(self._margin, np.float32)
        self._waiting = np.concatenate([self._waiting, padding])
        return self._make(left)

    def _make(self, length: int) -> NDArray[np.float32]:
        part = self._waiting[: length + 2 * self._margin]
        self._waiting = self._waiting[length:]
        begin = self._margin * self._up // self._down
        made: NDArray[np.float32] = signal.resample_poly(part, self._up, self._down)
        return made[begin : begin + math.ceil(length * self._up / self._down)].astype(np.float32)


def cut_windows(
    blocks: Iterable[NDArray[np.float32]], rate: int, *, from_s: float = 0.0
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Yield windows of at most `WINDOW_S` from a time on: where each begins, seconds, and itself.

    A window that is followed by another ends where it is quietest in its last `PAUSE_WITHIN_S`.
    """
    resampler = Resampler(rate)
    skipped = round(from_s * SPEECH_RATE)
    begin, held, size = skipped, list[NDArray[np.float32]](), 0
    for part in _resample(resampler, blocks):
        left = part[min(skipped, len(part)) :]
        skipped -= len(part) - len(left)
        held.append(left)
        size += len(left)
        if size >= WINDOW_S * SPEECH_RATE:
            joined = np.concatenate(held)
            end = find_pause(joined)
            yield begin / SPEECH_RATE, joined[:end]
            begin, held, size = begin + end, [joined[end:].copy()], len(joined) - end
    if size:
        yield begin / SPEECH_RATE, np.concatenate(held)


def find_pause(samples: NDArray[np.float32]) -> int:
    """Return the place in the last `PAUSE_WITHIN_S` of some samples where it is quietest."""
    frame = round(_PAUSE_FRAME_S * SPEECH_RATE)
    count = min(round(PAUSE_WITHIN_S * SPEECH_RATE), len(samples)) // frame
    first = len(samples) - count * frame
    loudness = (samples[first:].reshape(count, frame) ** 2).mean(axis=1)
    # Of frames that are as quiet the last one, so that windows are long.
    quietest = count - 1 - int(np.argmin(loudness[::-1]))
    return first + quietest * frame + frame // 2


def _resample(
    resampler: Resampler, blocks: Iterable[NDArray[np.float32]]
) -> Iterator[NDArray[np.float32]]:
    for block in blocks:
        yield from resampler.add(block)
    yield resampler.finish()

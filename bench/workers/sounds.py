"""Recordings for the benches, by how long they play, written block by block."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

soundfile: Any = import_module("soundfile")  # which has no types

HARBOUR: Final = Path(__file__).parents[2] / "deployments/examples/media/harbour.ogg"
SPEECH_RATE: Final = 16_000
MUSIC_RATE: Final = 48_000

Make = Callable[[int], NDArray[np.float32]]
"""Makes the second of a number, `(n, channels)`."""


def write_music(path: Path, minutes: float) -> None:
    """Write beats over tones that change, stereo, 48 kHz, FLAC."""
    random = np.random.default_rng(5)
    times = np.arange(MUSIC_RATE) / MUSIC_RATE

    def make(second: int) -> NDArray[np.float32]:
        tone = 0.1 * np.sin(2 * np.pi * (220 + 20 * (second % 13)) * times)
        beat = np.exp(-12 * ((2 * times) % 1)) * 0.1 * random.standard_normal(MUSIC_RATE)
        mono = (tone + beat) * (0.1 if second % 60 > 50 else 1.0)
        return np.stack([mono, 0.8 * mono], axis=1).astype(np.float32)

    _write(path, MUSIC_RATE, 2, round(60 * minutes), make)


def write_speech(path: Path, minutes: float) -> None:
    """Write speech, the same ten seconds again and again, 16 kHz, FLAC."""
    spoken = read_harbour()
    length = len(spoken) // SPEECH_RATE * SPEECH_RATE

    def make(second: int) -> NDArray[np.float32]:
        begin = second * SPEECH_RATE % length
        return spoken[begin : begin + SPEECH_RATE, None]

    _write(path, SPEECH_RATE, 1, round(60 * minutes), make)


def read_harbour() -> NDArray[np.float32]:
    """Return the example's speech at 16 kHz."""
    sound, rate = soundfile.read(HARBOUR, dtype="float32")
    step = rate // SPEECH_RATE
    return sound[: len(sound) // step * step].reshape(-1, step).mean(axis=1)


def _write(path: Path, rate: int, channels: int, seconds: int, make: Make) -> None:
    with soundfile.SoundFile(path, "w", rate, channels, format="FLAC") as file:
        for second in range(seconds):
            file.write(make(second))

"""Loudness beside ffmpeg's `ebur128`: on the signals of EBU Tech 3341, and on made music."""

import io
import re
import shutil
import subprocess
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.audio.loudness import Loudness, LoudnessMeter
from bench.programs import BenchFailed

soundfile: Any = import_module("soundfile")  # which has no types

Sound = NDArray[np.float32]
"""`(channels, n)`, 1 being full scale."""

CASES: Final = (
    *(((20, -23),), ((20, -33),), ((10, -36), (60, -23), (10, -36))),
    *(((10, -72), (10, -36), (60, -23), (10, -36), (10, -72)), ((20, -26), (20.1, -20), (20, -26))),
)
"""Tones of 1 kHz of Tech 3341, cases 1 to 5: seconds and dBFS of their parts."""

RATES: Final = ((48_000, 2), (44_100, 2), (44_100, 1), (32_000, 2), (96_000, 2), (48_000, 6))
"""Rates and channels of made music."""


def measure() -> dict[str, float]:
    """Return how far we are from ffmpeg at most: LU, dB of the true peak, LU of the range.

    Raises:
        BenchFailed: ffmpeg is not installed.
    """
    if shutil.which("ffmpeg") is None:
        raise BenchFailed("ffmpeg, the judge, is not installed")
    sounds = [(make_tones(case), 48_000) for case in CASES]
    sounds += [(make_music(rate, channels), rate) for rate, channels in RATES]
    differences = [_differ(measure_ours(sound, rate), judge(sound, rate)) for sound, rate in sounds]
    loudness, peak, range_ = (max(column) for column in zip(*differences, strict=True))
    return {"loudness_lu": loudness, "true_peak_db": peak, "range_lu": range_}


def measure_ours(sound: Sound, rate: int) -> Loudness:
    """Return what we measure, in blocks of a second."""
    meter = LoudnessMeter(rate, sound.shape[0])
    for at in range(0, sound.shape[1], rate):
        meter.add(np.ascontiguousarray(sound[:, at : at + rate]))
    return meter.finish()


def judge(sound: Sound, rate: int) -> Loudness:
    """Return what ffmpeg measures."""
    wav = io.BytesIO()
    soundfile.write(wav, sound.T, rate, format="WAV", subtype="FLOAT")
    measured = "ebur128=peak=true:metadata=1,ametadata=print:file=-"
    command = ("ffmpeg", "-nostdin", "-i", "pipe:0", "-af", measured, "-f", "null", "/dev/null")
    done = subprocess.run(command, input=wav.getvalue(), capture_output=True, check=True)
    said, summary = done.stdout.decode(), done.stderr.decode()
    loudness, range_ = (
        float(re.findall(rf"r128\.{name}=(-?[\d.]+)", said)[-1]) for name in ("I", "LRA")
    )
    peak = re.findall(r"Peak:\s+(-?[\d.]+)", summary[summary.rindex("Summary:") :])
    return Loudness(loudness, range_, float(peak[0]))


def make_tones(parts: tuple[tuple[float, float], ...]) -> Sound:
    """Return tones of 1 kHz on two channels at 48 kHz, with the peaks that are asked for."""
    levels = [np.full(round(seconds * 48_000), 10 ** (db / 20)) for seconds, db in parts]
    level = np.concatenate(levels)
    tone = level * np.sin(2 * np.pi * 1000 * np.arange(len(level)) / 48_000)
    return np.stack([tone, tone]).astype(np.float32)


def make_music(rate: int, channels: int, seconds: int = 30) -> Sound:
    """Return beats over a tone with a quiet part, channels that differ."""
    random = np.random.default_rng(1)
    times = np.arange(seconds * rate) / rate
    beat = np.exp(-12 * ((times * 100 / 60) % 1)) * 0.1 * random.standard_normal(len(times))
    mono = 0.1 * np.sin(2 * np.pi * 220 * times) * (1 + 0.5 * np.sin(0.6 * times)) + beat
    shares = 1 - 0.1 * np.arange(channels)
    sound = shares[:, None] * mono
    sound[:, round(0.6 * len(times)) : round(0.8 * len(times))] *= 0.1
    return sound.astype(np.float32)


def _differ(ours: Loudness, theirs: Loudness) -> tuple[float, float, float]:
    pairs = (
        (ours.integrated, theirs.integrated),
        (ours.true_peak, theirs.true_peak),
        (ours.range, theirs.range),
    )
    found = [abs((mine or 0.0) - (other or 0.0)) for mine, other in pairs]
    return found[0], found[1], found[2]

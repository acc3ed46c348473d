"""Loudness: the cases of EBU Tech 3341 and 3342, and what ffmpeg measures."""

import re
import shutil
import subprocess
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from aletheia.adapters.audio.loudness import Loudness, LoudnessMeter
from tests.fakes.recordings import Sound, make_music, make_noise, make_tone, write_sound


def measure(sound: Sound, rate: int, block: int = 10_000) -> Loudness:
    meter = LoudnessMeter(rate, sound.shape[0])
    for at in range(0, sound.shape[1], block):
        meter.add(np.ascontiguousarray(sound[:, at : at + block]))
    return meter.finish()


def stereo(*parts: tuple[float, float]) -> Sound:
    """Tones of 1 kHz on two channels: seconds and dBFS of each part."""
    mono = np.concatenate([make_tone(s, level_db=db) for s, db in parts], axis=1)
    return np.concatenate([mono, mono])


@pytest.mark.parametrize(
    ("parts", "lufs"),
    [
        pytest.param([(20, -23)], -23.0, id="Tech 3341, case 1"),
        pytest.param([(20, -33)], -33.0, id="case 2"),
        pytest.param([(10, -36), (60, -23), (10, -36)], -23.0, id="case 3"),
        pytest.param([(10, -72), (10, -36), (60, -23), (10, -36), (10, -72)], -23.0, id="case 4"),
        pytest.param([(20, -26), (20.1, -20), (20, -26)], -23.0, id="case 5"),
    ],
)
def test_the_loudness_of_the_standards_signals_is_right(
    parts: list[tuple[float, float]], lufs: float
):
    assert measure(stereo(*parts), 48_000).integrated == pytest.approx(lufs, abs=0.1)


@pytest.mark.parametrize(
    ("parts", "lu"),
    [
        pytest.param([(20, -20), (20, -30)], 10.0, id="Tech 3342, case 1"),
        pytest.param([(20, -20), (20, -15)], 5.0, id="case 2"),
        pytest.param([(20, -40), (20, -20)], 20.0, id="case 3"),
        pytest.param([(20, db) for db in (-50, -35, -20, -35, -50)], 15.0, id="case 4"),
    ],
)
def test_the_range_of_the_standards_signals_is_right(parts: list[tuple[float, float]], lu: float):
    assert measure(stereo(*parts), 48_000).range == pytest.approx(lu, abs=1.0)


def test_surround_channels_count_more_and_low_effects_nothing():
    tones = [make_tone(20, level_db=db)[0] for db in (-28, -28, -24, -30, -30)]
    five = np.stack(tones)
    assert measure(five, 48_000).integrated == pytest.approx(-23.0, abs=0.1)  # case 6
    six = np.insert(five, 3, make_tone(20, level_db=-3)[0], axis=0)
    assert measure(six, 48_000).integrated == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize("phase", [0.0, 45.0, 60.0, 67.5])
def test_a_peak_between_samples_is_found(phase: float):
    # Tech 3341, cases 15 to 19: a tone of a fourth of the rate, whose samples miss its peaks.
    times = np.arange(48_000)
    tone = 0.5 * np.sin(np.pi / 2 * times + np.radians(phase))
    found = measure(tone.astype(np.float32)[None], 48_000).true_peak
    assert found == pytest.approx(-6.0, abs=0.4)


@pytest.mark.parametrize("block", [1, 997, 48_000, 10**6])
def test_blocks_of_any_length_give_the_same(block: int):
    sound = make_music(2 if block == 1 else 8, rate=8_000)
    whole, cut = measure(sound, 8_000, 10**7), measure(sound, 8_000, block)
    assert cut.integrated == pytest.approx(whole.integrated, abs=1e-3)
    assert cut.true_peak == pytest.approx(whole.true_peak, abs=1e-3)


def test_silence_has_no_loudness():
    assert measure(np.zeros((2, 200_000), np.float32), 48_000) == Loudness(None, None, None)
    quiet = measure(make_noise(5, level=1e-5), 48_000)
    assert (quiet.integrated, quiet.range) == (None, None)
    assert quiet.true_peak is not None


def test_what_is_shorter_than_a_block_has_a_peak_alone():
    short = measure(make_tone(0.3, level_db=-6), 48_000)
    assert (short.integrated, short.range) == (None, None)
    assert short.true_peak == pytest.approx(-6, abs=0.1)
    assert measure(make_tone(0.0), 48_000) == Loudness(None, None, None)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000])
def test_a_sound_at_a_low_rate_is_as_loud_as_at_a_high_one(rate: int):
    # The resampler by Fourier's sums neither leaves anything out nor adds anything.
    sound = make_music(10, rate=rate, channels=1)
    signal: Any = import_module("scipy.signal")  # which has no types
    high = signal.resample(sound, 480_000, axis=1).astype(np.float32)
    ours, expected = measure(sound, rate), measure(high, 48_000)
    assert ours.integrated == pytest.approx(expected.integrated, abs=0.05)
    assert ours.range == pytest.approx(expected.range, abs=0.1)
    assert ours.true_peak == pytest.approx(expected.true_peak, abs=0.2)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize(
    ("rate", "channels"),
    [(48_000, 2), (44_100, 1), (44_100, 2), (32_000, 2), (96_000, 2), (48_000, 4), (48_000, 6)],
)
def test_ffmpeg_measures_the_same(rate: int, channels: int):
    sound = make_music(25, rate=rate, channels=channels)
    ours, (lufs, lu, peak) = measure(sound, rate), judge(write_sound(sound, rate))
    assert ours.integrated == pytest.approx(lufs, abs=0.1)
    assert ours.range == pytest.approx(lu, abs=1.0)
    assert ours.true_peak == pytest.approx(peak, abs=0.3)


def judge(wav: bytes) -> tuple[float, float, float]:
    """Return what ffmpeg's `ebur128` says at last: LUFS, LU, dBTP."""
    measured = "ebur128=peak=true:metadata=1,ametadata=print:file=-"
    command = ("ffmpeg", "-nostdin", "-i", "pipe:0", "-af", measured, "-f", "null", "/dev/null")
    done = subprocess.run(command, input=wav, capture_output=True, check=True)
    said = done.stdout.decode()
    integrated = re.findall(r"r128\.I=(-?[\d.]+)", said)[-1]
    range_ = re.findall(r"r128\.LRA=(-?[\d.]+)", said)[-1]
    summary = done.stderr.decode()
    peak = re.search(r"Peak:\s+(-?[\d.]+)", summary[summary.rindex("Summary:") :])
    assert peak is not None
    return float(integrated), float(range_), float(peak[1])

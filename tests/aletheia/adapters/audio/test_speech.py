"""Recordings as speech models read them."""

import numpy as np
import pytest

from aletheia.adapters.audio.speech import (
    PAUSE_WITHIN_S,
    SPEECH_RATE,
    WINDOW_S,
    Resampler,
    cut_windows,
    find_pause,
)
from tests.fakes.recordings import Sound, make_noise, make_tone


def resample(sound: Sound, rate: int, block: int = 10_007) -> Sound:
    resampler = Resampler(rate)
    parts = [
        part
        for at in range(0, sound.shape[1], block)
        for part in resampler.add(sound[:, at : at + block])
    ]
    return np.concatenate([*parts, resampler.finish()])[None]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_stays_a_tone_at_every_rate(rate: int):
    made = resample(make_tone(10, rate=rate, hertz=440), rate)
    expected = make_tone(10, rate=SPEECH_RATE, hertz=440)
    assert made.shape[1] == pytest.approx(160_000, rel=0.007)
    within = slice(1000, min(made.shape[1], 160_000) - 2000)
    if rate % 100 == 0:
        assert np.abs(made[:, within] - expected[:, within]).max() < 0.01
    assert np.abs(made[:, within]).max() == pytest.approx(np.abs(expected).max(), rel=0.05)


def test_what_cannot_be_heard_at_16_khz_is_left_out():
    made = resample(make_tone(5, rate=48_000, hertz=12_000), 48_000)
    assert np.abs(made[:, 1000:-1000]).max() < 0.01


def test_channels_are_mixed():
    tone = make_tone(1, rate=16_000)
    mixed = resample(np.concatenate([tone, -tone]), 16_000)
    assert np.abs(mixed).max() < 1e-6


@pytest.mark.parametrize("seconds", [0.01, 1.0, 3.999, 4.0, 4.001])
def test_nothing_is_lost_at_the_end(seconds: float):
    made = resample(make_noise(seconds, rate=16_000), 16_000)
    assert made.shape[1] == round(seconds * 16_000)


def test_windows_follow_one_another_and_end_in_a_pause():
    sound = make_noise(2.5 * WINDOW_S, rate=16_000)[0]
    pause = round((WINDOW_S - 7) * 16_000)
    sound[pause : pause + 8000] = 0
    windows = list(cut_windows([sound[None]], 16_000))
    begin, first = windows[0]
    assert begin == 0
    assert pause <= len(first) <= pause + 8000
    ends = [round(begin * 16_000) + len(window) for begin, window in windows]
    assert [round(begin * 16_000) for begin, _ in windows[1:]] == ends[:-1]
    assert ends[-1] == len(sound)
    assert all(len(window) <= (WINDOW_S + 5) * SPEECH_RATE for _, window in windows)


@pytest.mark.parametrize("from_s", [0.5, 12.34, 59.9])
def test_what_was_done_is_skipped(from_s: float):
    sound = make_noise(60, rate=16_000)
    ((begin, window),) = cut_windows([sound], 16_000, from_s=from_s)
    assert begin == pytest.approx(from_s, abs=1e-4)
    assert np.abs(window[:1000] - sound[0, round(from_s * 16_000) :][:1000]).max() < 0.01
    assert len(window) == sound.shape[1] - round(from_s * 16_000)
    assert list(cut_windows([sound], 16_000, from_s=61)) == []


def test_a_window_without_a_pause_ends_as_late_as_it_can():
    quiet = np.zeros(round((PAUSE_WITHIN_S + 10) * SPEECH_RATE), np.float32)
    assert find_pause(quiet) > len(quiet) - SPEECH_RATE

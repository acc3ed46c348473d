"""Spectra of sounds whose spectrum is known."""

import numpy as np
import pytest

from aletheia.adapters.audio.spectrum import Spectrum, SpectrumMeter
from tests.fakes.recordings import Sound, make_noise, make_tone


def measure(sound: Sound, rate: int, block: int = 7_000) -> Spectrum | None:
    meter = SpectrumMeter(rate)
    for at in range(0, sound.shape[1], block):
        meter.add(sound[:, at : at + block])
    return meter.finish()


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
def test_a_tone_is_where_it_is(rate: int):
    found = measure(make_tone(3, rate=rate, hertz=1000), rate)
    assert found is not None
    assert found.centroid.mean == pytest.approx(1000, rel=0.02)
    assert found.rolloff.mean == pytest.approx(1000, abs=2 / 0.046)
    assert found.bandwidth.mean < 250
    assert found.flatness.mean < 1e-3
    assert found.zero_crossing_rate == pytest.approx(2000 / rate, rel=0.01)
    assert found.centroid.deviation < 10


def test_white_noise_is_everywhere():
    found = measure(make_noise(10, rate=44_100), 44_100)
    assert found is not None
    assert found.centroid.mean == pytest.approx(11_025, rel=0.02)
    assert found.bandwidth.mean == pytest.approx(22_050 / 12**0.5, rel=0.02)
    assert found.rolloff.mean == pytest.approx(0.85 * 22_050, rel=0.02)
    # The geometric mean of an exponential distribution is e^-0.5772 of its mean.
    assert found.flatness.mean == pytest.approx(0.5615, rel=0.02)
    assert found.zero_crossing_rate == pytest.approx(0.5, rel=0.02)


def test_silence_counts_for_nothing():
    tone = make_tone(2, rate=8_000)
    padded = np.concatenate([np.zeros((1, 80_000), np.float32), tone], axis=1)
    alone, within = measure(tone, 8_000), measure(padded, 8_000)
    assert alone is not None
    assert within is not None
    assert within.centroid.mean == pytest.approx(alone.centroid.mean, rel=0.05)
    assert measure(np.zeros((2, 80_000), np.float32), 8_000) is None
    assert measure(make_tone(0.0), 8_000) is None


@pytest.mark.parametrize("block", [1_000, 44_100, 10**6])
def test_blocks_of_any_length_give_the_same(block: int):
    sound = make_noise(2, rate=44_100)
    whole, cut = measure(sound, 44_100, 10**7), measure(sound, 44_100, block)
    assert whole is not None
    assert cut is not None
    assert cut.centroid.mean == pytest.approx(whole.centroid.mean, rel=1e-5)
    assert cut.zero_crossing_rate == pytest.approx(whole.zero_crossing_rate)


def test_what_begins_rises_and_what_goes_on_does_not():
    meter = SpectrumMeter(8_000)
    silence, tone = np.zeros((1, 8_000), np.float32), make_tone(1, rate=8_000)
    rises = meter.add(np.concatenate([silence, tone], axis=1))
    begin = round(1 / meter.hop_s)
    assert rises[: begin - 5].max() == pytest.approx(0, abs=1e-6)
    assert rises[begin - 5 : begin + 5].max() > 0.1
    assert rises[begin + 5 :].max() < 0.05

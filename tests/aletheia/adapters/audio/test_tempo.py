"""The tempo of sounds that have one, and of those that have none."""

import numpy as np
import pytest

from aletheia.adapters.audio.spectrum import SpectrumMeter
from aletheia.adapters.audio.tempo import Tempo, TempoMeter
from tests.fakes.recordings import Sound, make_beats, make_noise, make_tone


def find(sound: Sound, rate: int = 22_050) -> Tempo | None:
    spectrum = SpectrumMeter(rate)
    tempo = TempoMeter(spectrum.hop_s)
    for at in range(0, sound.shape[1], 20_000):
        tempo.add(spectrum.add(sound[:, at : at + 20_000]))
    return tempo.finish()


@pytest.mark.parametrize("bpm", [72.0, 90.0, 100.0, 120.0, 133.3, 160.0])
def test_the_tempo_of_beats_is_found(bpm: float):
    found = find(make_beats(30, bpm))
    assert found is not None
    assert found.bpm == pytest.approx(bpm, rel=0.01)
    assert found.certainty > 0.5


def test_a_short_recording_has_a_tempo_from_four_seconds_on():
    found = find(make_beats(6, 120))
    assert found is not None
    assert found.bpm == pytest.approx(120, rel=0.02)
    assert find(make_beats(3, 120)) is None


def test_what_does_not_beat_has_no_tempo_or_an_uncertain_one():
    assert find(make_tone(20, rate=22_050)) is None
    assert find(np.zeros((1, 400_000), np.float32)) is None
    noise = find(make_noise(30, rate=22_050))
    assert noise is None or noise.certainty < 0.2


def test_beats_at_random_are_less_certain_than_regular_ones():
    random = np.random.default_rng(3)
    sound = 0.001 * make_noise(30, rate=22_050, level=1)
    burst = make_beats(0.1, 600)
    for at in random.integers(0, sound.shape[1] - burst.shape[1], 60):
        sound[:, at : at + burst.shape[1]] += burst
    regular, irregular = find(make_beats(30, 120)), find(sound)
    assert regular is not None
    assert irregular is None or irregular.certainty < 0.5 * regular.certainty

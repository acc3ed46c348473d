"""What is measured of a recording survives the cache, which saves JSON."""

from dataclasses import asdict

import orjson

from aletheia.analysis.audio_analysis import load_measured
from aletheia.analysis.audio_ports import AudioHead, Measured, Spread

HEAD = AudioHead(48_000, 2, 3.5, "wav/pcm_16", "libsndfile", "1.2.2")


def test_a_head_is_the_same_after_json():
    assert AudioHead(**orjson.loads(orjson.dumps(asdict(HEAD)))) == HEAD


def test_what_was_measured_is_the_same_after_json():
    sound = Spread(1000.5, 2.25)
    figures = (-23.0, 4.0, -1.5, sound, sound, sound, sound, 0.1, 120.0, 0.5)
    for measured in (Measured(3.5, False, *figures), Measured(1.0, True, *(None,) * 10)):
        assert load_measured(orjson.loads(orjson.dumps(asdict(measured)))) == measured

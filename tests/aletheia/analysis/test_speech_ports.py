"""Segments survive the cache, which saves JSON."""

from dataclasses import asdict

import orjson
import pytest

from aletheia.analysis.speech_ports import SpeechSegment


@pytest.mark.parametrize("log_probability", [None, -0.25])
def test_a_segment_is_the_same_after_json(log_probability: float | None):
    segment = SpeechSegment(1.5, 2.25, "Grüße", log_probability, "de")
    assert SpeechSegment(**orjson.loads(orjson.dumps(asdict(segment)))) == segment

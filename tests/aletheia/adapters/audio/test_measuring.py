"""What a child says of a recording, piece by piece."""

import pytest

from aletheia.adapters.audio import measuring
from aletheia.adapters.audio.measuring import measure_recording
from tests.aletheia.adapters.audio.conftest import Open
from tests.fakes.recordings import make_music, write_sound


def test_a_head_comes_first_and_what_was_measured_last(
    opened: Open, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(measuring, "SAY_EVERY_S", 0.0)
    data = write_sound(make_music(6), 48_000)
    head, *progress, measured = measure_recording([opened(data)], max_seconds=60)
    assert (head["kind"], head["rate"], head["channels"]) == ("head", 48_000, 2)
    seconds = [piece["seconds"] for piece in progress]
    assert len(seconds) > 3
    assert seconds == sorted(seconds)
    assert (measured["kind"], measured["duration"]) == ("measured", 6.0)
    assert measured["loudness"]["integrated"] < 0

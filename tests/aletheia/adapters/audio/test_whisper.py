"""Whisper, in the process of the tests."""

from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from aletheia.adapters.audio import whisper
from aletheia.adapters.audio.models import find_packaged
from aletheia.adapters.audio.whisper import MAX_TEXT_CHARS, load_model, make_segment
from aletheia.errors import InvalidTask


def test_a_segment_has_the_times_of_its_recording():
    said = SimpleNamespace(start=1.5, end=2.25, text="  Hello. ", avg_logprob=-0.25)
    assert make_segment(said, 300.0, "en") == {
        "kind": "segment",
        "start": 301.5,
        "end": 302.25,
        "text": "Hello.",
        "log_probability": -0.25,
        "language": "en",
    }
    endless = SimpleNamespace(start=0, end=1, text="a" * 10**6, avg_logprob=0.5)
    found = make_segment(endless, 0.0, "en")
    assert (len(found["text"]), found["log_probability"]) == (MAX_TEXT_CHARS, 0.0)


def test_without_its_package_there_is_no_engine(monkeypatch: pytest.MonkeyPatch):
    def find_nothing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(whisper, "import_module", find_nothing)
    with pytest.raises(InvalidTask) as refused:
        load_model("/nowhere", 1)
    assert refused.value.code == "no_speech_engine"


@pytest.mark.skipif(
    find_packaged() is None or find_spec("faster_whisper") is None,
    reason="the extras `speech` and `offline` are not installed",
)
def test_a_model_is_loaded_once():
    directory = str(find_packaged())
    assert load_model(directory, 1) is load_model(directory, 1)

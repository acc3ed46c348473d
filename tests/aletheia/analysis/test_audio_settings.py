"""Settings of recordings and speech."""

import pytest
from pydantic import ValidationError

from aletheia.analysis.audio_settings import AudioSettings, SpeechSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_AUDIO_SECONDS", "86401"),
        ("AUDIO_MEMORY_MAX", "1000"),
        ("AUDIO_PROCESSOR_SECONDS", "0"),
    ],
)
def test_what_no_recording_can_be_read_with_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        AudioSettings()


def test_an_engine_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPEECH_ENGINE", "telephone")
    with pytest.raises(ValidationError):
        SpeechSettings()


def test_the_first_engine_that_is_there_is_the_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SPEECH_ENGINE", raising=False)
    assert (SpeechSettings().speech_engine, SpeechSettings().speech_model) == ("auto", "tiny.en")

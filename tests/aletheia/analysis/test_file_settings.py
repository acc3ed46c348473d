"""Settings of files and decoders."""

import pytest
from pydantic import ValidationError

from aletheia.analysis.file_settings import DecoderSettings, FileSettings


def test_hosts_stand_between_commas():
    assert FileSettings(file_allowed_hosts=" a.example ,b , ").allowed_hosts == ("a.example", "b")
    assert FileSettings(file_allowed_hosts="").allowed_hosts == ()


def test_no_directory_is_readable_unless_it_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FILES_DIR", "")
    assert FileSettings().files_dir is None


@pytest.mark.parametrize(
    "wrong", [{"decoder_memory_max": 1000}, {"decoder_processes": 0}, {"max_document_pages": 0}]
)
def test_a_decoder_without_memory_or_pages_is_refused(wrong: dict[str, int]):
    with pytest.raises(ValidationError):
        DecoderSettings(**wrong)  # pyright: ignore[reportArgumentType] - numbers of any name

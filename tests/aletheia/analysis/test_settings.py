"""The settings of workers."""

import pytest
from pydantic import ValidationError

from aletheia.analysis.settings import WorkerSettings
from aletheia.settings import EmbeddingSettings, IntakeSettings


def test_what_two_areas_read_is_the_same_in_both(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TASK_TIMEOUT", "7")
    monkeypatch.setenv("MAX_TEXT_BYTES", "99")
    workers = WorkerSettings()
    assert workers.task_timeout == EmbeddingSettings().task_timeout == 7
    assert workers.max_text_bytes == IntakeSettings().max_text_bytes == 99
    monkeypatch.delenv("TASK_TIMEOUT")
    monkeypatch.delenv("MAX_TEXT_BYTES")
    workers = WorkerSettings()
    assert workers.task_timeout == EmbeddingSettings().task_timeout
    assert workers.max_text_bytes == IntakeSettings().max_text_bytes


@pytest.mark.parametrize("name", ["LANE_MAX_WAITING", "LANE_MEDIA_CONCURRENCY", "TASK_TIMEOUT"])
def test_nothing_is_no_bound(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "0")
    with pytest.raises(ValidationError, match=name.lower()):
        WorkerSettings()

from pathlib import Path

import pytest

from deployments.environment import choose_server, read_environment
from deployments.local import Local


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".env").write_text("API_BASE_URL=http://file\napi_token=abc\nOAUTH2_SCOPE=\n")
    return tmp_path


def test_what_is_in_the_file_is_set(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("API_BASE_URL", raising=False)
    assert read_environment(root)["API_BASE_URL"] == "http://file"
    assert read_environment(root)["API_TOKEN"] == "abc"


def test_the_environment_wins_over_the_file(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_BASE_URL", "http://environment")
    assert read_environment(root)["API_BASE_URL"] == "http://environment"


def test_an_empty_variable_counts_as_not_set(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_BASE_URL", "")
    assert "API_BASE_URL" not in read_environment(root)
    assert "OAUTH2_SCOPE" not in read_environment(root)


def test_no_file_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_BASE_URL", "http://environment")
    assert read_environment(tmp_path)["API_BASE_URL"] == "http://environment"


def test_a_configured_server_is_meant_and_no_local_one(
    local: Local, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PREFECT_API_URL", "http://configured/api")
    choose_server(local)
    assert read_environment()["PREFECT_API_URL"] == "http://configured/api"

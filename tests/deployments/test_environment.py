from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.environment import choose_server, is_server_of, make_secrets, read_environment
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


def test_a_key_of_tokens_is_made_once_where_none_is_set(local: Local):
    local.directory.mkdir()
    made = make_secrets(local, {})
    assert make_secrets(local, {}) == made
    assert len(made["AUTH_JWT_SECRET"]) >= 32
    (file,) = local.directory.iterdir()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["AUTH_JWT_SECRET", "AUTH_JWKS_URL"])
def test_no_key_of_tokens_is_made_where_an_issuer_is_set(local: Local, name: str):
    assert make_secrets(local, {name: "something"}) == {}
    assert not local.directory.exists()


def test_only_a_server_that_runs_here_is_this_machines(local: Local):
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}):
        assert not is_server_of(local)


@pytest.mark.usefixtures("server")
def test_the_server_that_is_meant_is_known_to_be_this_machines(shared: Local, tmp_path: Path):
    assert is_server_of(shared)
    assert not is_server_of(Local(tmp_path))

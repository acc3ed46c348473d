from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALETHEIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")


def test_every_command_is_explained():
    output = CliRunner().invoke(app, ["--help"]).output
    for command in ("setup", "doctor", "up", "down", "demo"):
        assert f" {command} " in output


@pytest.mark.usefixtures("nowhere")
def test_what_is_not_set_is_said_without_a_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_BASE_URL", "")
    result = CliRunner().invoke(app, ["setup"])
    assert result.exit_code == 1
    assert result.output == "API_BASE_URL: is not set; put it into .env\n"


@pytest.mark.usefixtures("nowhere")
def test_a_setting_out_of_bounds_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PROCESSING_MODE", "psychic")
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 1
    assert result.output.startswith("PROCESSING_MODE: Input should be")


@pytest.mark.usefixtures("nowhere")
def test_stopping_what_does_not_run_is_no_fault():
    result = CliRunner().invoke(app, ["down"])
    assert result.exit_code == 0
    assert "Nothing is running" in result.output

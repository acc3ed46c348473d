from pathlib import Path

import pytest
import typer
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from deployments.cli import app
from deployments.gather import ProjectOrCommand


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALETHEIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")


def test_every_command_is_explained():
    output = CliRunner().invoke(app, ["--help"]).output
    for command in ("setup", "doctor", "reconcile", "up", "down", "demo"):
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


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["shop"], "start shop 50"),
        (["shop", "--limit", "3"], "start shop 3"),
        (["--limit", "3", "shop"], "start shop 3"),
        (["start", "shop"], "start shop 50"),
        (["undo", "shop"], "undo shop"),
        (["start", "undo"], "start undo 50"),
        (["start", "start"], "start start 50"),
        (["--", "undo"], "start undo 50"),
    ],
)
def test_a_first_word_that_is_no_command_is_a_project(words: list[str], output: str):
    group = typer.Typer(cls=ProjectOrCommand)

    @group.command()
    def start(project: str, limit: int = 50) -> None:
        typer.echo(f"start {project} {limit}")

    @group.command()
    def undo(project: str) -> None:
        typer.echo(f"undo {project}")

    assert (start.__name__, undo.__name__) == ("start", "undo")
    assert CliRunner().invoke(group, words).output == f"{output}\n"


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("words", [["not/one"], ["start", "not/one"], ["--user", "u", "not/one"]])
def test_gather_starts_a_run_of_the_project_that_is_named(words: list[str]):
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        result = CliRunner().invoke(app, ["gather", *words])
    assert result.exit_code == 1
    assert "'not/one'" in result.output


@pytest.mark.parametrize("words", [["gather"], ["gather", "--help"]])
def test_gather_says_what_it_can_do(words: list[str]):
    output = CliRunner().invoke(app, words).output
    assert "PROJECT | COMMAND" in output
    assert " start " in output

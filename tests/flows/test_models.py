"""The flow `manage_models` on a real Prefect server."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterType
from prefect.client.schemas.objects import FlowRun
from typer.testing import CliRunner

from aletheia.adapters.local.source import PACKAGED_MODEL
from aletheia.analysis.model_manager import ModelEvent, ModelRecords
from aletheia.errors import InvalidTask, Misconfigured, Unavailable
from blocks import StoreCredentials
from deployments.cli import app
from flows.models import manage_models
from tests.fakes.ollama import FakeOllama, Model, serve_fake_ollama
from tests.flows.conftest import artifacts, last_run


@pytest.fixture
async def records_are_kept(
    prefect_server: None,  # noqa: ARG001 - it only has to be there
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store in which the last shift wrote down what a model took."""
    monkeypatch.setenv("PROCESSING_MODE", "local")
    credentials = StoreCredentials(data_dir=tmp_path)
    await credentials.asave("default", overwrite=True)
    documents = credentials.get_client()
    await documents.open()
    event = ModelEvent("local", PACKAGED_MODEL, "loaded", 1.5, 200_000_000)
    await ModelRecords(documents).note(event)
    await documents.close()


@pytest.mark.usefixtures("records_are_kept")
async def test_a_run_lists_the_models_and_what_the_last_shift_wrote_down():
    (row,) = await manage_models()
    assert (row.model, row.state, row.loads) == (PACKAGED_MODEL, "installed", 1)
    assert (row.load_s, row.memory_bytes) == (1.5, 200_000_000)
    run = await last_run("manage_models")
    (table,) = await artifacts("models", run.id)
    assert isinstance(table.data, str)
    assert '"in memory": "200 MB"' in table.data
    assert table.description == "Models of **local**."


@pytest.mark.usefixtures("records_are_kept")
async def test_pulling_what_is_there_downloads_nothing():
    (row,) = await manage_models("pull", model=PACKAGED_MODEL)
    assert row.state == "installed"


@pytest.mark.usefixtures("records_are_kept")
async def test_what_makes_no_sense_is_said():
    with pytest.raises(Misconfigured, match="processes of a running shift"):
        await manage_models("unload", "local", PACKAGED_MODEL)
    with pytest.raises(Misconfigured, match="name the model"):
        await manage_models("load", "local")


@pytest.mark.usefixtures("records_are_kept")
async def test_a_mode_without_models_of_its_own_needs_a_provider(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("PROCESSING_MODE", "mock")
    with pytest.raises(Misconfigured, match="name local or ollama"):
        await manage_models()


@pytest.mark.usefixtures("records_are_kept")
def test_the_command_lists_without_a_run():
    words = ["models", "list", "--provider", "local", "--json"]
    (row,) = json.loads(CliRunner().invoke(app, words).stdout)
    assert (row["model"], row["loads"]) == (PACKAGED_MODEL, 1)


@pytest.fixture
async def ollama(
    records_are_kept: None,  # noqa: ARG001 - it only has to be there
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[FakeOllama]:
    async with serve_fake_ollama() as fake:
        monkeypatch.setenv("PROCESSING_MODE", "ollama")
        monkeypatch.setenv("OLLAMA_BASE_URL", fake.url)
        yield fake


async def test_a_model_is_pulled_with_a_bar_loaded_and_unloaded(ollama: FakeOllama):
    (row,) = await manage_models()
    assert (row.model, row.state) == ("nomic-embed-text", "available")

    (row,) = await manage_models("pull", model="nomic-embed-text")
    assert (row.state, row.size_bytes) == ("installed", 1000)
    assert await progress_of(await last_run("manage_models")) == 100

    (row,) = await manage_models("load", model="nomic-embed-text")
    assert (row.state, row.memory_bytes, row.loads) == ("loaded", 1000, 1)
    assert row.load_s is not None

    (row,) = await manage_models("unload", model="nomic-embed-text")
    assert (row.state, row.loads, ollama.loaded) == ("installed", 1, {})


async def test_a_models_name_stays_text_on_the_page_of_its_run(ollama: FakeOllama):
    ollama.models["![x](https://e.example/p.png)\x1b[2J"] = Model()
    await manage_models()
    (table,) = await artifacts("models", (await last_run("manage_models")).id)
    shown = [row["model"] for row in json.loads(str(table.data))]
    assert any(name.startswith(r"!\[x\](https\://e.example/p.png)␛\[2J") for name in shown)


async def test_a_pull_that_dies_half_way_fails_its_run_and_can_be_had_again(ollama: FakeOllama):
    ollama.pull_fault = "dies"
    with pytest.raises(Unavailable, match="broke off"):
        await manage_models("pull", "ollama", "nomic-embed-text")
    run = await last_run("manage_models")
    assert run.state is not None
    assert run.state.is_failed()
    assert (await progress_of(run)) < 100

    (row,) = await manage_models("pull", "ollama", "nomic-embed-text")
    assert row.state == "installed"


async def test_a_model_that_does_not_exist_fails_the_run(ollama: FakeOllama):
    for action in ("pull", "load", "unload"):
        with pytest.raises(InvalidTask) as raised:
            await manage_models(action, model="no-such-model")
        assert raised.value.code == "model_not_found"
    assert ollama.loads == []


async def progress_of(run: FlowRun) -> float:
    """How far the bar of a run is, percent."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(type=ArtifactFilterType(any_=["progress"]))
        )
    (bar,) = [artifact for artifact in found if artifact.flow_run_id == run.id]
    assert isinstance(bar.data, float | int)
    return bar.data

import sys
import threading
from collections.abc import Generator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.local.hub import HuggingFaceHub
from aletheia.adapters.local.model_manager import LocalModelManager
from aletheia.adapters.local.source import ModelFiles, ModelSources
from aletheia.analysis.model_manager import ModelEvent, PullProgress
from aletheia.errors import InvalidTask, Misconfigured, ModelUnavailable, Unavailable
from aletheia.settings import EmbeddingSettings
from tests.fakes.hub import FakeHub, running_hub

STAND_IN = (sys.executable, str(Path(__file__).parents[3] / "fakes/model_process.py"))
MODEL = "acme/first"
FILES = {"config.json": b"{}", "model.safetensors": bytes(2000), "pytorch_model.bin": bytes(9000)}


class SlowHub(HuggingFaceHub):
    """A hub whose download brings `come` bytes and then stops, until `may_continue` is set."""

    def __init__(self, directory: Path, come: int = 2002) -> None:
        self.directory = directory
        self.come = come
        self.is_there = False
        self.downloads = 0
        self.may_continue = threading.Event()

    def cached(self, model: str) -> Path | None:
        del model
        return self.directory if self.is_there else None

    def obstacle(self) -> str | None:
        return None

    def download(self, model: str) -> Path:
        self.downloads += 1
        if self.come < 2002:
            self.may_continue.wait(30)
            raise ConnectionError(f"{model}: the connection was lost")
        write(self.directory)
        self.is_there = True
        return self.directory

    def size_of(self, model: str) -> int:
        if model != MODEL:
            raise OSError("it does not say")
        return 2002

    def cached_bytes(self, model: str) -> int:
        del model
        return self.come


def write(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        (directory / name).write_bytes(content)


def build_embedder(events: list[ModelEvent] | None = None) -> LocalEmbedder:
    """An embedder with the stand-in for model processes, for which every model takes 70 bytes."""

    async def note(event: ModelEvent) -> None:
        if events is not None:
            events.append(event)

    return LocalEmbedder(
        EmbeddingSettings(
            default_embedding_model=MODEL,
            supported_models=("acme/second",),
            local_model_processes=1,
        ),
        command=STAND_IN,
        note=note,
        find=lambda model: ModelFiles(model, "packaged", Path("/models/takes-70")),
    )


def build_manager(
    hub: HuggingFaceHub,
    embedder: LocalEmbedder | None = None,
    directory: Path | None = None,
    **options: Any,
) -> LocalModelManager:
    sources = ModelSources(hub, directory, default_model=MODEL)
    manager = LocalModelManager(embedder or build_embedder(), sources)
    manager.measure_every_s = 0.01
    for name, value in options.items():
        setattr(manager, name, value)
    return manager


async def pull(build_manager: LocalModelManager, model: str = MODEL) -> list[PullProgress]:
    async with aclosing(build_manager.pull(model)) as steps:
        return [step async for step in steps]


@pytest.fixture
def hub() -> Generator[FakeHub]:
    with running_hub() as hub:
        hub.repositories[MODEL] = FILES
        yield hub


async def test_models_are_listed_by_where_they_are(tmp_path: Path):
    write(tmp_path / "acme__second")
    hub = SlowHub(tmp_path / "hub")

    first, second = await build_manager(hub, directory=tmp_path).rows()

    assert (first.model, first.state, first.size_bytes) == (MODEL, "available", None)
    assert "the hub's cache does not have it" in first.detail
    assert (second.model, second.state, second.size_bytes) == ("acme/second", "installed", 2000)
    assert second.detail == f"local_model_dir: {tmp_path / 'acme__second'}"
    assert hub.downloads == 0


async def test_a_model_is_pulled_from_the_hub_without_what_is_never_used(
    hub: FakeHub, tmp_path: Path
):
    real = HuggingFaceHub(endpoint=hub.endpoint, cache_dir=tmp_path)
    pulling = build_manager(real)

    steps = await pull(pulling)

    assert (steps[0], steps[-1]) == (
        PullProgress(MODEL, "downloading", 0, 2002),
        PullProgress(MODEL, "success", 2002, 2002),
    )
    assert sorted(hub.downloaded) == ["config.json", "model.safetensors"]
    assert real.cached_bytes(MODEL) == 2002
    assert (await pulling.rows())[0].state == "installed"
    assert await pull(pulling) == [PullProgress(MODEL, "success", 2000, 2000)]
    assert len(hub.downloaded) == 2


async def test_a_model_the_hub_does_not_have_cannot_be_pulled(hub: FakeHub, tmp_path: Path):
    pulling = build_manager(HuggingFaceHub(endpoint=hub.endpoint, cache_dir=tmp_path))
    with pytest.raises(InvalidTask) as raised:
        await pull(pulling, "acme/second")
    assert raised.value.code == "model_not_found"


async def test_a_hub_that_is_not_there_is_said(tmp_path: Path):
    pulling = build_manager(HuggingFaceHub(endpoint="http://127.0.0.1:1", cache_dir=tmp_path))
    with pytest.raises(ModelUnavailable, match="the hub is out of reach"):
        await pull(pulling)


async def test_a_model_that_is_too_large_is_not_downloaded(tmp_path: Path):
    hub = SlowHub(tmp_path)
    hub.max_bytes = 2001
    with pytest.raises(ModelUnavailable, match=r"2,002 bytes .* MAX_MODEL_SIZE is 2,001"):
        await pull(build_manager(hub))
    assert hub.downloads == 0


async def test_a_size_that_is_not_said_is_no_download(tmp_path: Path):
    with pytest.raises(ModelUnavailable, match="it does not say"):
        await pull(build_manager(SlowHub(tmp_path)), "acme/second")


async def test_a_pull_that_stalls_is_given_up(tmp_path: Path):
    hub = SlowHub(tmp_path, come=500)
    seen: list[int] = []
    with pytest.raises(Unavailable, match=r"500 of 2,002 bytes .* brought nothing for 0\.1 s"):
        async with aclosing(build_manager(hub, stall_s=0.1).pull(MODEL)) as steps:
            async for step in steps:
                seen += [step.completed_bytes]
    assert seen == [0, 500]
    hub.may_continue.set()


async def test_a_pull_has_to_end_in_time(tmp_path: Path):
    hub = SlowHub(tmp_path, come=500)
    with pytest.raises(Unavailable, match=r"is not complete within 0\.1 s"):
        await pull(build_manager(hub, pull_timeout_s=0.1))
    hub.may_continue.set()


async def test_a_pull_that_dies_half_way_can_be_had_again(tmp_path: Path):
    hub = SlowHub(tmp_path, come=500)
    hub.may_continue.set()
    pulling = build_manager(hub)
    with pytest.raises(ModelUnavailable, match="the connection was lost"):
        await pull(pulling)
    hub.come = 2002
    assert (await pull(pulling))[-1].status == "success"


async def test_a_model_is_loaded_on_trial_and_what_it_took_is_kept(tmp_path: Path):
    events: list[ModelEvent] = []
    embedder = build_embedder(events)
    trying = build_manager(SlowHub(tmp_path), embedder)
    await trying.load("acme/second")
    loaded, unloaded = events
    assert (loaded.kind, loaded.model, loaded.memory_bytes) == ("loaded", "acme/second", 70)
    assert unloaded.kind == "unloaded"
    assert embedder.pool.processes == []
    with pytest.raises(Misconfigured, match="processes of a running shift"):
        await trying.unload("acme/second")


async def test_in_a_running_shift_a_model_stays_until_it_is_unloaded(tmp_path: Path):
    embedder = build_embedder()
    running = build_manager(SlowHub(tmp_path), embedder)
    await embedder.open()
    await running.load(MODEL)
    assert (await running.rows())[0].state == "loaded"
    await running.unload(MODEL)
    assert (await running.rows())[0].state == "available"
    await embedder.close()


@pytest.mark.parametrize("action", ["load", "unload", "pull"])
async def test_a_model_that_is_not_served_is_refused(tmp_path: Path, action: str):
    refusing = build_manager(SlowHub(tmp_path))
    with pytest.raises(InvalidTask, match="acme/first") as raised:
        if action == "pull":
            await pull(refusing, "acme/third")
        else:
            await getattr(refusing, action)("acme/third")
    assert raised.value.code == "unsupported_model"


async def test_the_settings_describe_a_model_manager():
    settings = EmbeddingSettings(default_embedding_model="all-MiniLM-L6-v2", supported_models=())
    sources = ModelSources.from_settings(settings)
    described = LocalModelManager(LocalEmbedder(settings), sources)
    (row,) = await described.rows()
    assert (row.model, row.state) == ("sentence-transformers/all-MiniLM-L6-v2", "installed")

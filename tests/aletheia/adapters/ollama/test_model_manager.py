import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.ollama.client import OllamaClient
from aletheia.adapters.ollama.model_manager import OllamaModelManager
from aletheia.analysis.model_manager import ModelRecords, ModelRow, list_rows
from aletheia.analysis.model_uses import ModelUses
from aletheia.errors import InvalidTask, Misconfigured, ModelUnavailable, Unavailable
from tests.fakes.ollama import FakeOllama, serve_fake_ollama

Build: TypeAlias = Callable[..., Awaitable[OllamaModelManager]]


@pytest.fixture
async def ollama() -> AsyncGenerator[FakeOllama]:
    async with serve_fake_ollama() as fake:
        for name in ("a", "b", "c"):
            fake.install(name, layers=[20], memory=40)
        yield fake


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[EmbeddedDocuments]:
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    yield documents
    await documents.close()


@pytest.fixture
def records(store: EmbeddedDocuments) -> ModelRecords:
    return ModelRecords(store)


@pytest.fixture
async def build(ollama: FakeOllama, records: ModelRecords) -> AsyncGenerator[Build]:
    """Model managers, each with a client of its own, as two processes have."""
    async with AsyncExitStack() as closing:

        async def make(
            memory_max_bytes: int = 0, stall_s: float = 60, **options: Any
        ) -> OllamaModelManager:
            client = OllamaClient(ollama.url, timeout_s=5)
            client.stall_s = stall_s
            await client.open()
            closing.push_async_callback(client.close)
            return OllamaModelManager(client, records, memory_max_bytes=memory_max_bytes, **options)

        yield make


@pytest.fixture
async def others(ollama: FakeOllama) -> AsyncGenerator[OllamaClient]:
    """The client of somebody else."""
    client = OllamaClient(ollama.url)
    await client.open()
    yield client
    await client.close()


async def read(records: ModelRecords, model: str) -> ModelRow:
    (found,) = [record for record in await records.read("ollama") if record.model == model]
    return found


async def test_models_are_listed_with_what_is_missing(
    ollama: FakeOllama, build: Build, records: ModelRecords, others: OllamaClient
):
    manager = await build(supported_models=["a:latest", "A", "nomic-embed-text"])
    await manager.load("a")
    await others.embed("b", [])

    rows = await list_rows(manager, records)

    states = {row.model: (row.state, row.size_bytes, row.memory_bytes) for row in rows}
    assert states == {
        "a": ("loaded", 20, 40),
        "b": ("loaded", 20, 40),
        "c": ("installed", 20, None),
        "nomic-embed-text": ("available", None, None),
    }
    a, b = rows[:2]
    assert (a.loads, b.loads, b.detail, b.last_used) == (1, 0, "loaded by others", None)
    assert a.last_used is not None
    assert abs(a.last_used.timestamp() - time.time()) < 5
    assert a.load_s is not None
    assert ollama.loads == ["a", "b"]


async def test_the_least_recently_used_model_loaded_here_is_evicted(
    ollama: FakeOllama, build: Build, records: ModelRecords, others: OllamaClient
):
    manager = await build(memory_max_bytes=100)
    await manager.load("a")
    await manager.load("b")
    await asyncio.sleep(0.01)
    await others.embed("a", ["a call of somebody"])

    await (await build(memory_max_bytes=100)).load("c")

    assert set(ollama.loaded) == {"a", "c"}
    gone = await read(records, "b")
    assert (gone.state, gone.loads, gone.evictions) == ("installed", 1, 1)
    assert gone.memory_bytes == 40


async def test_what_others_loaded_is_left_alone(
    ollama: FakeOllama, build: Build, others: OllamaClient
):
    manager = await build(memory_max_bytes=50)
    await others.embed("a", [])

    await manager.load("b")
    await manager.load("c")

    assert set(ollama.loaded) == {"a", "c"}


async def test_what_the_server_unloaded_itself_is_not_ours_any_more(
    ollama: FakeOllama, build: Build, records: ModelRecords, others: OllamaClient
):
    manager = await build(memory_max_bytes=50)
    await manager.load("a")
    del ollama.loaded["a"]
    await manager.load("b")
    await others.embed("a", [])

    await manager.load("c")

    assert set(ollama.loaded) == {"a", "c"}
    assert (await read(records, "a")).evictions == 0


async def test_a_model_whose_files_are_larger_than_the_bound_is_not_loaded(
    ollama: FakeOllama, build: Build
):
    manager = await build(memory_max_bytes=19)
    with pytest.raises(ModelUnavailable, match=r"takes 20 bytes, MODEL_MEMORY_MAX is 19"):
        await manager.load("a")
    assert ollama.loads == []


async def test_a_model_that_turns_out_too_large_is_unloaded_and_not_tried_again(
    ollama: FakeOllama, build: Build
):
    manager = await build(memory_max_bytes=30)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match=r"takes 40 bytes, MODEL_MEMORY_MAX is 30"):
            await manager.load("a")
    assert ollama.loads == ["a"]
    assert ollama.loaded == {}


async def test_a_model_loaded_twice_at_once_is_loaded_once(
    ollama: FakeOllama, build: Build, records: ModelRecords
):
    ollama.load_s = 0.05
    manager = await build()
    await asyncio.gather(manager.load("a"), manager.load("a:latest"))
    assert ollama.loads == ["a"]
    assert (await read(records, "a")).loads == 1


async def test_unloading_is_written_down_and_loads_nothing(
    ollama: FakeOllama, build: Build, records: ModelRecords
):
    manager = await build()
    await manager.load("a")
    await manager.unload("a")
    await manager.unload("a")
    await manager.unload("b")
    assert (ollama.loads, ollama.loaded) == (["a"], {})
    record = await read(records, "a")
    assert (record.state, record.evictions) == ("installed", 0)
    assert [record.model for record in await records.read("ollama")] == ["a"]


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_a_model_that_is_not_installed_has_to_be_pulled(build: Build, action: str):
    manager = await build()
    with pytest.raises(InvalidTask, match="pull it first") as raised:
        await getattr(manager, action)("nomic-embed-text")
    assert raised.value.code == "model_not_found"


@pytest.mark.parametrize("endpoint", ["tags", "ps", "embed"])
async def test_a_busy_server_is_an_outage_and_leaves_no_trace(
    ollama: FakeOllama, build: Build, records: ModelRecords, endpoint: str
):
    manager = await build()
    ollama.fail_next(503, on=endpoint)
    with pytest.raises(Unavailable) as raised:
        await manager.load("a")
    assert raised.value.status == 503
    assert await records.read("ollama") == []
    await manager.load("a")
    assert (await read(records, "a")).state == "loaded"


async def test_a_pull_that_stalls_goes_on_when_it_is_asked_again(ollama: FakeOllama, build: Build):
    manager = await build(stall_s=0.15)
    ollama.pull_fault = "stalls"
    with pytest.raises(Unavailable, match="brought nothing"):
        async with aclosing(manager.pull("nomic-embed-text")) as steps:
            async for _ in steps:
                pass
    async with aclosing(manager.pull("nomic-embed-text")) as steps:
        done = [(step.completed_bytes, step.status) async for step in steps]
    assert (500 in [completed for completed, _ in done[:3]], done[-1][1]) == (True, "success")
    assert [row for row in await manager.rows() if row.model == "nomic-embed-text"] == [
        ModelRow("ollama", "nomic-embed-text", "installed", size_bytes=1000)
    ]


async def test_an_expiry_that_is_no_time_makes_a_model_the_first_to_go(
    ollama: FakeOllama, build: Build, records: ModelRecords
):
    manager = await build(memory_max_bytes=50)
    await manager.load("a")
    body = (
        b'{"models": [{"name": "a:latest", "size": 40, "size_vram": 0, "expires_at": "Forever"}]}'
    )
    ollama.answer_next(body, on="ps")
    await manager.load("b")
    assert (await read(records, "a")).evictions == 1


async def test_a_model_in_use_by_another_run_is_not_evicted_for_ours(
    ollama: FakeOllama, build: Build, store: EmbeddedDocuments
):
    ours, theirs = (ModelUses(store, owner=owner) for owner in ("run 1", "run 2"))
    manager = await build(memory_max_bytes=100, uses=ours)
    await manager.load("a")
    await manager.load("b")
    async with theirs.using("ollama", "a"), ours.using("ollama", "b"):
        await manager.load("c")
    assert set(ollama.loaded) == {"a", "c"}


async def test_a_model_is_unloaded_when_other_runs_have_ended_their_use(
    ollama: FakeOllama, build: Build, store: EmbeddedDocuments
):
    ours, theirs = (ModelUses(store, owner=owner) for owner in ("run 1", "run 2"))
    manager = await build(uses=ours)
    await manager.load("a")
    async with theirs.using("ollama", "a"):
        (row, *_) = [row for row in await manager.rows() if row.model == "a"]
        assert row.detail.endswith("in use by run 2")
        manager.unload_wait_s = 0
        with pytest.raises(Misconfigured, match="in use by run 2"):
            await manager.unload("a")
        manager.unload_wait_s = 10
        unloading = asyncio.create_task(manager.unload("a"))
        await asyncio.sleep(0.1)
        assert set(ollama.loaded) == {"a"}
    await unloading
    assert ollama.loaded == {}

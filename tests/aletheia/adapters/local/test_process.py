"""A model process seen from its parent; what becomes of texts is in test_embedder.py."""

import asyncio
import contextlib
import gc
import sys
from pathlib import Path

import pytest
import uvloop

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.local.process import ModelProcess
from aletheia.adapters.local.source import ModelFiles
from aletheia.settings import EmbeddingSettings

STAND_IN = (sys.executable, str(Path(__file__).parents[3] / "fakes" / "model_process.py"))


def find(model: str) -> ModelFiles:
    return ModelFiles(model, "local_model_dir", Path("/models/good"))


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def read_environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def close_after(turns: int, cancels: int) -> None:
    """Close an embedder whose processes have had some turns of the loop to start.

    `cancels`: how often the closing itself is cancelled, a turn each after its begin.
    """
    settings = EmbeddingSettings(default_embedding_model="a/b", local_model_processes=2)
    embedder = LocalEmbedder(settings, find=find, command=STAND_IN)
    await embedder.open()
    loading = asyncio.create_task(embedder.load("a/b"))
    for _ in range(turns):
        await asyncio.sleep(0)
    closing = asyncio.create_task(embedder.close())
    for _ in range(cancels):
        await asyncio.sleep(0)
        closing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await closing
    await embedder.close()
    with contextlib.suppress(Exception):
        await loading


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("cancels", [0, 2])
def test_whenever_it_is_ended_its_descriptors_are_closed_once(turns: int, cancels: int):
    """On the loop that runs work; Python 3.13 and later report a second close, too."""
    counts = set[int]()
    for _ in range(2):  # libuv keeps what it opens for the first loop of a process
        counts = {count_descriptors()}
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(close_after(turns, cancels))
        counts.add(count_descriptors())
    assert len(counts) == 1
    gc.collect()


async def test_a_model_process_gets_no_secret_of_our_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", "made-up-for-this-test")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "aletheia:made-up-for-this-test")
    monkeypatch.setenv("HUGGINGFACE_TOKEN", "made-up-for-this-test")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    process = await ModelProcess.start((*STAND_IN, "1"), asyncio.Event())
    try:
        environment = read_environment(process.pid)
    finally:
        await process.end(is_stuck=True)
    assert b"made-up-for-this-test" not in environment
    assert b"CUDA_VISIBLE_DEVICES=0" in environment
    assert b"PYTHONPATH=" in environment

"""A model process seen from its parent; what becomes of texts is in test_embedder.py."""

import asyncio
import contextlib
import gc
import sys
from pathlib import Path

import pytest
import uvloop

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.local.source import ModelFiles
from aletheia.settings import EmbeddingSettings

STAND_IN = (sys.executable, str(Path(__file__).parents[3] / "fakes" / "model_process.py"))


def find(model: str) -> ModelFiles:
    return ModelFiles(model, "local_model_dir", Path("/models/good"))


async def close_after(turns: int) -> None:
    """Close an embedder whose processes have had some turns of the loop to start."""
    settings = EmbeddingSettings(default_embedding_model="a/b", local_model_processes=2)
    embedder = LocalEmbedder(settings, find=find, command=STAND_IN)
    await embedder.open()
    loading = asyncio.create_task(embedder.load("a/b"))
    for _ in range(turns):
        await asyncio.sleep(0)
    await embedder.close()
    with contextlib.suppress(Exception):
        await loading


@pytest.mark.parametrize("turns", range(12))
def test_whenever_it_is_ended_its_descriptors_are_closed_once(turns: int):
    """On the loop that runs work; from Python 3.13 on a second close fails the test that did it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(close_after(turns))
    gc.collect()

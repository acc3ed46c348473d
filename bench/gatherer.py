"""The contender: a process that works gather runs, on the server that is configured.

    python -m bench.gatherer PAYLOAD_URL LLM_URL DATA_DIR

saves the blocks it needs first; an empty LLM_URL is the mock in this process. On standard input:

    {"op": "fill", "project", "items"}          have so many items of the application there
    {"op": "gather", "project", "iterations"}   work a run; say how long it took, and each iteration
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import orjson
from pydantic import SecretStr

from aletheia.adapters.embedding.items import embed_with, name_vectors_of
from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.events.log import EventLog
from aletheia.gather.progress import GatherReport
from aletheia.items.content import SavedItem, item_id
from aletheia.items.vector_cache import VectorCache
from aletheia.settings import EmbeddingSettings
from bench.programs import Message, answer_requests_async, say
from blocks import (
    BrainCredentials,
    EventCredentials,
    LLMCredentials,
    PayloadCredentials,
    StoreCredentials,
)
from flows.gather import automated_gather_creation

WORDS: Final = 40
"""Of an item that the application has."""

VOCABULARY: Final = 4000

AT_ONCE: Final = 2000


class Gatherer:
    """Works runs on one store."""

    def __init__(self, store: StoreCredentials) -> None:
        self._store = store

    async def answer(self, request: Message) -> Message:
        """Do what the bench asks for."""
        if request["op"] == "fill":
            return await self._fill(request["project"], request["items"])
        began = time.perf_counter()
        running = automated_gather_creation(request["project"], "bench", request["iterations"])
        report = await cast("Awaitable[object]", running)
        seconds = time.perf_counter() - began
        if not isinstance(report, GatherReport):
            return {"failed": f"the run ended as {report!r}"}
        return {
            "seconds": seconds,
            "iterations": report.iterations,
            "items": report.items_created,
            **await self._measure_iterations(request["project"]),
        }

    async def _measure_iterations(self, project: str) -> Message:
        """Measure, by the events of the run, how long it was at its departments.

        Returns:
            `worked_ms`, from the first event to that of the last department, and `iteration_ms`,
            the times between two iterations of a department.
        """
        documents = self._store.get_client()
        await documents.open()
        try:
            events = await EventLog(documents).read(project)
        finally:
            await documents.close()
        began = events[0].at
        ended, before, department = began, began, ""
        times: list[float] = []
        for event in events:
            said: dict[str, Any] = orjson.loads(event.body)
            if said["type"] == "department_complete":
                ended = event.at
            if said["type"] != "iteration_complete":
                continue
            if department == said["department"]:
                times.append(1000 * (event.at - before).total_seconds())
            before, department = event.at, said["department"]
        return {"worked_ms": 1000 * (ended - began).total_seconds(), "iteration_ms": times}

    async def _fill(self, project: str, items: int) -> Message:
        """Save items of the application's own, and their vectors, so that all are warm."""
        content = self._store.get_content_client(project)
        settings = EmbeddingSettings()
        embedder = MockEmbedder(default_model=settings.default_model)
        model = embedder.canonical_model(None)
        vectors = VectorCache(content, name_vectors_of(embedder, model))
        random = np.random.default_rng(7)
        await content.open()
        try:
            for first in range(0, items, AT_ONCE):
                picked = random.integers(0, VOCABULARY, (min(AT_ONCE, items - first), WORDS))
                texts = [" ".join(f"word{word}" for word in row) for row in picked.tolist()]
                await content.insert_items([SavedItem(item_id(text), text) for text in texts])
                await vectors.fill(texts, embed_with(embedder, model))
        finally:
            await content.close()
        return {"items": items}


async def main(payload_url: str, llm_url: str, data_dir: str) -> None:
    """Work runs until there are no more requests."""
    store = StoreCredentials(data_dir=Path(data_dir))
    await store.asave("default", overwrite=True)
    await PayloadCredentials(base_url=payload_url).asave("default", overwrite=True)
    llm = LLMCredentials()
    if llm_url:
        llm = LLMCredentials(openrouter_api_key=SecretStr("bench"), base_url=llm_url)
    await llm.asave("default", overwrite=True)
    await EventCredentials().asave("default", overwrite=True)
    await BrainCredentials(data_dir=Path(data_dir)).asave("default", overwrite=True)
    say(ready=True)
    await answer_requests_async(Gatherer(store).answer)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))

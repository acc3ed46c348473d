"""The models that run on this machine: listed, pulled, and loaded on trial."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.local.hub import TooLargeError
from aletheia.adapters.local.lifecycle import LOCAL
from aletheia.adapters.local.source import Found, ModelSources, start_search, weights_bytes
from aletheia.analysis.model_manager import ModelRow, PullProgress
from aletheia.errors import Misconfigured, ModelUnavailable, Unavailable

MAX_REASON: Final = 300
"""Characters of the reason why a model is not here."""


class LocalModelManager:
    """The models of this machine: in memory while `embedder` is open, and on disk by `sources`."""

    provider: str = LOCAL
    pull_timeout_s: float = 600.0  # for a download
    stall_s: float = 60.0  # how long a download may bring nothing
    measure_every_s: float = 0.5

    def __init__(self, embedder: LocalEmbedder, sources: ModelSources) -> None:
        self._embedder, self._sources = embedder, sources

    async def rows(self) -> list[ModelRow]:
        """List the models that tasks may name: in memory, on disk, or only at the hub."""
        held = {row.model: row for row in self._embedder.lifecycle.rows()}
        return [
            held.get(model) or await asyncio.to_thread(self._describe, model)
            for model in self._embedder.served
        ]

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Download a model into the hub's cache, unless it is on disk; see `ModelHolder.pull`.

        `Unavailable` if it stalled or is late; it then goes on while this process lives.
        """
        name = self._embedder.canonical_model(model)
        row = await asyncio.to_thread(self._describe, name)
        if row.state == "installed":
            size = row.size_bytes or 0
            yield PullProgress(name, "success", size, size)
            return
        total = await asyncio.to_thread(self._ask_size, name)
        yield PullProgress(name, "downloading", 0, total)
        download = start_search(self._sources.find, name)
        async for progress in self._watch(name, download, total):
            yield progress
        found = download.result()
        if isinstance(found, ModelUnavailable):
            raise found
        yield PullProgress(name, "success", total, total)

    async def load(self, model: str) -> None:
        """Load a model; on trial if no shift runs here: then only what it took is recorded."""
        name = self._embedder.canonical_model(model)
        is_trial = not self._embedder.is_open
        await self._embedder.open()
        try:
            await self._embedder.load(name)
        finally:
            if is_trial:
                await self._embedder.close()

    async def unload(self, model: str) -> None:
        """Unload a model from the processes of the shift that runs here; else `Misconfigured`."""
        name = self._embedder.canonical_model(model)
        if not self._embedder.is_open:
            raise Misconfigured(
                "unload",
                "a local model is in memory only in the processes of a running shift and ends with "
                "it; MODEL_MEMORY_MAX bounds what it keeps there",
            )
        await self._embedder.unload(name)

    def _describe(self, model: str) -> ModelRow:
        """Describe a model that is not in memory, without asking the hub."""
        try:
            files = self._sources.find(model, may_download=False)
        except ModelUnavailable as missing:
            return ModelRow(LOCAL, model, "available", detail=missing.reason[:MAX_REASON])
        size = weights_bytes(files.path)
        detail = f"{files.source}: {files.path}"
        return ModelRow(LOCAL, model, "installed", size_bytes=size, detail=detail)

    def _ask_size(self, model: str) -> int:
        if obstacle := self._sources.hub.obstacle():
            raise ModelUnavailable(model, f"the hub is out of reach ({obstacle})")
        try:
            return self._sources.hub.check_size(model)
        except TooLargeError as error:
            raise ModelUnavailable(model, str(error)) from error
        except OSError as error:
            reason = f"the hub does not say how large it is: {error}"
            raise ModelUnavailable(model, reason) from error

    async def _watch(
        self, model: str, download: "asyncio.Future[Found]", total: int
    ) -> AsyncGenerator[PullProgress]:
        """Yield the progress of a download until it ends."""
        loop = asyncio.get_running_loop()
        ends_at, moved_at, done = loop.time() + self.pull_timeout_s, loop.time(), 0
        while not (await asyncio.wait([download], timeout=self.measure_every_s))[0]:
            now = loop.time()
            there = min(total, await asyncio.to_thread(self._sources.hub.cached_bytes, model))
            if there > done:
                done, moved_at = there, now
                yield PullProgress(model, "downloading", done, total)
            shown = f"the download of {model!r}, {done:,} of {total:,} bytes complete,"
            if now >= ends_at:
                raise Unavailable(
                    "hub", f"{shown} is not complete within {self.pull_timeout_s:g} s"
                )
            if now - moved_at >= self.stall_s:
                raise Unavailable("hub", f"{shown} brought nothing for {self.stall_s:g} s")

"""The models that run on this machine: listed, pulled, and loaded on trial.

A local model is in memory only in the processes of a shift, and ends with them. Outside of one a
model can be downloaded, and loaded on trial: to see that it can be, and what that takes.
"""

import asyncio
import importlib
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self, cast

import httpx2

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.local.lifecycle import LOCAL
from aletheia.adapters.local.search import Found, start_search, weights_bytes
from aletheia.adapters.local.source import (
    FILES_UNWANTED,
    FILES_WANTED,
    Hub,
    HuggingFaceHub,
    ModelFiles,
    find_model,
    packaged_copy,
)
from aletheia.analysis.model_manager import ModelRow, PullProgress
from aletheia.errors import InvalidTask, Misconfigured, ModelUnavailable, Unavailable
from aletheia.settings import EmbeddingSettings

MAX_MODEL_SIZE: Final = 5 * 10**9
"""Largest model that is downloaded, bytes (SPEC §3)."""

MEASURE_EVERY_S: Final = 0.5
"""Between two measurements of a download, seconds."""

_MAX_REASON: Final = 300


class MeasurableHub(Hub, Protocol):
    """A hub that knows how much there is to download, and how much is in its cache."""

    def size_of(self, model: str) -> int:
        """Return the size of the files that would be downloaded, bytes.

        Raises:
            InvalidTask: `model_not_found`.
            OSError: it is not known; the text says why.
        """
        ...

    def cached_bytes(self, model: str) -> int:
        """Return the size of what is in the cache, finished or not, bytes."""
        ...


class LocalModelManager:
    """The models of this machine.

    Args:
        embedder: runs the models. While it is open `load` and `unload` act on its processes;
            otherwise `load` opens it for a trial.
        default_model: full name of the model that `model_dir` itself may hold.
        hub: where models are downloaded from.
        model_dir: `LOCAL_MODEL_DIR`.
        packaged: directory of the packaged copy, if it is installed.
        max_bytes: largest model that is downloaded; 0 is no bound.
        pull_timeout_s: bound on a download, seconds.
        stall_s: how long a download may bring nothing, seconds.
        measure_every_s: between two measurements, seconds.
    """

    provider: str = LOCAL

    def __init__(
        self,
        embedder: LocalEmbedder,
        *,
        default_model: str,
        hub: MeasurableHub,
        model_dir: Path | None = None,
        packaged: Path | None = None,
        max_bytes: int = MAX_MODEL_SIZE,
        pull_timeout_s: float = 600.0,
        stall_s: float = 60.0,
        measure_every_s: float = MEASURE_EVERY_S,
    ) -> None:
        self._embedder = embedder
        self._default_model = embedder.canonical_model(default_model)
        self._hub = hub
        self._model_dir = model_dir
        self._packaged = packaged
        self._max_bytes = max_bytes
        self._pull_timeout_s, self._stall_s, self._measure_every_s = (
            pull_timeout_s,
            stall_s,
            measure_every_s,
        )

    @classmethod
    def from_settings(cls, settings: EmbeddingSettings, embedder: LocalEmbedder) -> Self:
        """Build the manager that the settings describe."""
        return cls(
            embedder,
            default_model=settings.default_model,
            hub=MeasuredHub(),
            model_dir=settings.local_model_dir,
            packaged=packaged_copy(),
        )

    async def rows(self) -> list[ModelRow]:
        """List the models that tasks may name: in memory, on disk, or only at the hub."""
        held = {row.model: row for row in self._embedder.held()}
        return [
            held.get(model) or await asyncio.to_thread(self._describe, model)
            for model in self._embedder.served
        ]

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Download a model into the hub's cache, unless it is on disk.

        A download that is abandoned continues for as long as this process lives.

        Raises:
            InvalidTask: `unsupported_model`, `model_not_found`.
            ModelUnavailable: the hub is out of reach, or the model is too large or of a form that
                is refused.
            Unavailable: it stalled, or is not complete in time.
        """
        name = self._embedder.canonical_model(model)
        row = await asyncio.to_thread(self._describe, name)
        if row.state == "installed":
            size = row.size_bytes or 0
            yield PullProgress(name, "success", size, size)
            return
        total = await asyncio.to_thread(self._ask_size, name)
        yield PullProgress(name, "downloading", 0, total)
        download = start_search(self._finder(self._hub), name)
        async for progress in self._watch(name, download, total):
            yield progress
        found = download.result()
        if isinstance(found, ModelUnavailable):
            raise found
        yield PullProgress(name, "success", total, total)

    async def load(self, model: str) -> None:
        """Load a model; on trial if no shift runs here: then only what it took is recorded.

        Raises:
            InvalidTask: `unsupported_model`.
            ModelUnavailable: it cannot be found or loaded, or is larger than the bound on memory.
        """
        name = self._embedder.canonical_model(model)
        if self._embedder.is_open:
            await self._embedder.load(name)
            return
        await self._embedder.open()
        try:
            await self._embedder.load(name)
        finally:
            await self._embedder.close()

    async def unload(self, model: str) -> None:
        """Unload a model from the processes of the shift that runs here.

        Raises:
            InvalidTask: `unsupported_model`.
            Misconfigured: no shift runs here.
        """
        name = self._embedder.canonical_model(model)
        if not self._embedder.is_open:
            raise Misconfigured(
                "unload",
                "a local model is in memory only in the processes of a running shift and ends with "
                "it; MODEL_MEMORY_MAX bounds what it keeps there",
            )
        await self._embedder.unload(name)

    def _finder(self, hub: Hub) -> Callable[[str], ModelFiles]:
        return lambda model: find_model(
            model,
            hub=hub,
            model_dir=self._model_dir,
            is_default=model == self._default_model,
            packaged=self._packaged,
        )

    def _describe(self, model: str) -> ModelRow:
        """Describe a model that is not in memory, without asking the hub."""
        try:
            files = self._finder(_CacheOnly(self._hub))(model)
        except ModelUnavailable as missing:
            return ModelRow(LOCAL, model, "available", detail=missing.reason[:_MAX_REASON])
        size = weights_bytes(files.path)
        return ModelRow(
            LOCAL, model, "installed", size_bytes=size, detail=f"{files.source}: {files.path}"
        )

    def _ask_size(self, model: str) -> int:
        if obstacle := self._hub.obstacle():
            raise ModelUnavailable(model, f"the hub is out of reach ({obstacle})")
        try:
            size = self._hub.size_of(model)
        except OSError as error:
            raise ModelUnavailable(
                model, f"the hub does not say how large it is: {error}"
            ) from error
        if self._max_bytes and size > self._max_bytes:
            raise ModelUnavailable(
                model,
                f"there are {size:,} bytes to download, MAX_MODEL_SIZE is {self._max_bytes:,}",
            )
        return size

    async def _watch(
        self, model: str, download: "asyncio.Future[Found]", total: int
    ) -> AsyncGenerator[PullProgress]:
        """Yield the progress of a download until it ends."""
        loop = asyncio.get_running_loop()
        ends_at, moved_at, done = loop.time() + self._pull_timeout_s, loop.time(), 0
        while not (await asyncio.wait([download], timeout=self._measure_every_s))[0]:
            now = loop.time()
            there = min(total, await asyncio.to_thread(self._hub.cached_bytes, model))
            if there > done:
                done, moved_at = there, now
                yield PullProgress(model, "downloading", done, total)
            shown = f"the download of {model!r}, {done:,} of {total:,} bytes complete,"
            if now >= ends_at:
                reason = f"{shown} is not complete within {self._pull_timeout_s:g} s"
                raise Unavailable("hub", reason)
            if now - moved_at >= self._stall_s:
                raise Unavailable("hub", f"{shown} brought nothing for {self._stall_s:g} s")


@dataclass(frozen=True, slots=True)
class _CacheOnly:
    """A hub of which only the cache on this machine is used."""

    hub: Hub

    def cached(self, model: str) -> Path | None:
        return self.hub.cached(model)

    def obstacle(self) -> str | None:
        return "only a pull asks it"

    def download(self, model: str) -> Path:
        raise OSError(f"only a pull downloads {model}")


class MeasuredHub(HuggingFaceHub):
    """The Hugging Face hub, or a mirror of it, with the sizes of what it has."""

    def size_of(self, model: str) -> int:
        """Return the size of the files that would be downloaded, bytes.

        Raises:
            InvalidTask: `model_not_found`.
            OSError: it is not known; the text says why.
        """
        hub = importlib.import_module("huggingface_hub")
        errors = importlib.import_module("huggingface_hub.errors")
        try:
            tree = cast(
                "Iterable[Any]",
                hub.HfApi(endpoint=self._endpoint).list_repo_tree(model, recursive=True),
            )
            files = [entry for entry in tree if isinstance(entry, hub.hf_api.RepoFile)]
        except errors.RepositoryNotFoundError as error:
            raise InvalidTask("model_not_found", f"the hub has no model {model!r}") from error
        except (httpx2.HTTPError, ValueError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        sizes = {str(file.path): int(file.size) for file in files}
        wanted = cast(
            "Iterable[str]",
            hub.utils.filter_repo_objects(
                sizes, allow_patterns=list(FILES_WANTED), ignore_patterns=list(FILES_UNWANTED)
            ),
        )
        return sum(sizes[path] for path in wanted)

    def cached_bytes(self, model: str) -> int:
        """Return the size of what is in the cache, finished or not, bytes."""
        constants = importlib.import_module("huggingface_hub.constants")
        cache = self._cache_dir or Path(constants.HF_HUB_CACHE)
        blobs = cache / f"models--{model.replace('/', '--')}" / "blobs"
        sizes: list[int] = []
        for blob in blobs.glob("*"):
            try:
                sizes.append(blob.stat().st_size)
            except FileNotFoundError:  # it was renamed when it was complete
                continue
        return sum(sizes)

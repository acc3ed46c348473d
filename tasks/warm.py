"""What stays open while a flow runs: connections, sign-ins, models.

One registry for the process. A task fetches what it needs by name; nothing in here is ever an
argument or a result of a task. Opened on first use, closed when the outermost `kept_open` ends.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

from prefect.blocks.core import Block

from aletheia.adapters.local_embedder import LocalEmbedder
from aletheia.adapters.mock_embedder import MockEmbedder
from aletheia.adapters.upstream import HttpUpstream
from aletheia.analysis.ports import Embedder
from aletheia.analysis.processor import Processors
from aletheia.analysis.text_embedding import TASK_TYPE, TextEmbedding
from aletheia.documents import Documents
from aletheia.errors import Misconfigured
from aletheia.settings import EmbeddingSettings, IntakeSettings
from blocks import StoreCredentials, UpstreamCredentials

BLOCK = "default"
"""Name of the block documents that the set-up saves."""


class Openable(Protocol):
    """Something that is opened once and closed once."""

    async def open(self) -> None:
        """Get ready."""
        ...

    async def close(self) -> None:
        """Let go of every resource."""
        ...


T = TypeVar("T", bound=Openable)
B = TypeVar("B", bound=Block)

_open: dict[str, Any] = {}
_closing: contextlib.AsyncExitStack | None = None


@contextlib.asynccontextmanager
async def kept_open() -> AsyncGenerator[None]:
    """Keep whatever is fetched inside open until the end."""
    global _closing
    if _closing is not None:
        raise RuntimeError("kept_open() does not nest")
    async with contextlib.AsyncExitStack() as _closing:
        try:
            yield
        finally:
            _open.clear()
            closing, _closing = _closing, None
            await closing.aclose()


async def store() -> Documents:
    """Fetch the document store."""

    async def build() -> Documents:
        return (await _load(StoreCredentials)).get_client()

    return await _fetch("store", build)


async def upstream() -> HttpUpstream:
    """Fetch the client of the upstream API."""

    async def build() -> HttpUpstream:
        return (await _load(UpstreamCredentials)).get_client()

    return await _fetch("upstream", build)


async def processors() -> Processors:
    """Fetch everything that can be computed; a model is loaded when there is work for it."""
    if "processors" not in _open:
        limit = IntakeSettings().max_text_bytes
        embedding = TextEmbedding(await _embedder(), max_text_bytes=limit)
        _open["processors"] = Processors({TASK_TYPE: embedding})
    return cast("Processors", _open["processors"])


async def _embedder() -> Embedder:
    settings = EmbeddingSettings()
    if settings.processing_mode == "local":

        async def build() -> LocalEmbedder:
            return LocalEmbedder.from_settings(settings, max_retries=IntakeSettings().max_retries)

        return await _fetch("embedder", build)
    if settings.environment == "production":
        raise Misconfigured("PROCESSING_MODE", "'mock' is refused where ENVIRONMENT=production")
    return MockEmbedder(default_model=settings.default_embedding_model)


async def _load(block: type[B]) -> B:
    try:
        return await cast("Awaitable[B]", block.aload(BLOCK))
    except ValueError as missing:
        raise Misconfigured(
            f"block {block.get_block_type_slug()}/{BLOCK}",
            "is not saved; run `aletheia setup`",
        ) from missing


async def _fetch(name: str, build: Callable[[], Awaitable[T]]) -> T:
    if _closing is None:
        raise RuntimeError("nothing stays open outside kept_open()")
    if name not in _open:
        thing = await build()
        _closing.push_async_callback(thing.close)
        await thing.open()
        _open[name] = thing
    return cast("T", _open[name])

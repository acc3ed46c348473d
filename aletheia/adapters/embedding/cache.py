"""Embeddings that need not be paid for twice: kept by text, model and dimensions for a while."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from aletheia.analysis.ports import Embedded, Embedder, Embedding
from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import AletheiaError
from aletheia.store.clock import SYSTEM_CLOCK

log = logging.getLogger(__name__)

CACHE: Final = "aletheia_embedding_cache"
LOOKUPS: Final = "aletheia_embedding_lookups"

_PURGE_EVERY_S: Final = 60.0
_PURGED_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often the cache had a text for a provider and model, such as `openai: m`, since ever."""

    name: str
    hits: int
    misses: int

    @property
    def share(self) -> float:
        """Hits among all lookups, 0 to 1."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 0.0


class EmbeddingCache:
    """An embedder that asks another one only for what it was not asked within `ttl_s` seconds."""

    def __init__(
        self,
        inner: Embedder,
        documents: Documents,
        *,
        ttl_s: float,
        variant: str = "",  # whatever else the vectors depend on
        clock: Callable[[], float] = SYSTEM_CLOCK.unix_s,
    ) -> None:
        self._inner, self._documents = inner, documents
        self._ttl_s, self._variant, self._clock = ttl_s, variant, clock
        self._purged_at = 0.0
        self._prefixes: dict[str, Any] = {}
        self.provider, self.is_mock = inner.provider, inner.is_mock

    async def prepare(self) -> None:
        """Make purging fast."""
        await self._documents.ensure_index(CACHE, ["at"])

    def canonical_model(self, model: str | None) -> str:
        """See `aletheia.analysis.ports.Embedder.canonical_model`."""
        return self._inner.canonical_model(model)

    async def capacity(self, model: str, texts: Sequence[str]) -> int:
        """See `aletheia.analysis.ports.Embedder.capacity`; what is kept always has capacity."""
        with contextlib.suppress(AletheiaError):
            if await self._inner.capacity(model, texts) >= len(texts):
                return len(texts)
        found = await self._look_up(model, texts)
        missing = [index for index in range(len(texts)) if index not in found]
        if not missing:
            return len(texts)
        try:
            capacity = await self._inner.capacity(model, [texts[index] for index in missing])
        except AletheiaError:
            if missing[0] == 0:
                raise
            capacity = 0
        return len(texts) if capacity >= len(missing) else missing[capacity]

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """See `aletheia.analysis.ports.Embedder.embed`; what is kept comes first, for no tokens."""
        found = await self._look_up(model, texts)
        missing = [index for index in range(len(texts)) if index not in found]
        try:
            if found:
                yield [Embedded(index, embedding) for index, embedding in sorted(found.items())]
            if not missing:
                return
            asked = [texts[index] for index in missing]
            async with aclosing(self._inner.embed(model, asked)) as answers:
                async for answered in answers:
                    # Whoever waits for them need not wait until they are kept here, too.
                    keeping = asyncio.create_task(self._keep(model, asked, answered))
                    try:
                        yield [
                            Embedded(missing[answer.index], answer.result) for answer in answered
                        ]
                    finally:
                        await asyncio.shield(keeping)
        finally:
            await self._count(model, hits=len(found), misses=len(missing))

    async def _look_up(self, model: str, texts: Sequence[str]) -> dict[int, Embedding]:
        if self._ttl_s <= 0:
            return {}
        ids = [self._id(model, text) for text in texts]
        found: Mapping[str, Document] = {}
        with _noted("the cache of embeddings cannot be read"):
            found = await self._documents.get(CACHE, list(dict.fromkeys(ids)), with_payload=True)
        young = self._clock() - self._ttl_s
        return {
            index: _read(found[id_])
            for index, id_ in enumerate(ids)
            if id_ in found and found[id_]["at"] >= young
        }

    async def _keep(self, model: str, texts: Sequence[str], answered: Sequence[Embedded]) -> None:
        if self._ttl_s <= 0:
            return
        now = self._clock()
        changes = {
            self._id(model, texts[answer.index]): Change(set=_write(answer.result, now))
            for answer in answered
            if isinstance(answer.result, Embedding)
        }
        with _noted("embeddings could not be kept for later"):
            await self._documents.upsert(
                CACHE, [Update(i, change) for i, change in changes.items()]
            )
            if now - self._purged_at >= _PURGE_EVERY_S:
                self._purged_at = now
                old = {"at": {"$lt": now - self._ttl_s}}
                await self._documents.delete(CACHE, old, limit=_PURGED_AT_ONCE)

    async def _count(self, model: str, *, hits: int, misses: int) -> None:
        if self._ttl_s <= 0:
            return
        change = Change(increase={"hits": hits, "misses": misses})
        with _noted("lookups in the cache of embeddings could not be counted"):
            await self._documents.upsert(LOOKUPS, [Update(f"{self.provider}: {model}", change)])

    def _id(self, model: str, text: str) -> str:
        if model not in self._prefixes:
            prefix = hashlib.sha256()
            for part in (self.provider, model, self._variant):
                raw = part.encode(errors="surrogatepass")
                prefix.update(len(raw).to_bytes(8) + raw)
            self._prefixes[model] = prefix
        digest = self._prefixes[model].copy()
        digest.update(text.encode(errors="surrogatepass"))
        return digest.hexdigest()


async def read_hit_rates(documents: Documents) -> list[HitRate]:
    """Read how often caches in a store had what was asked for."""
    return [
        HitRate(document["_id"], int(document["hits"]), int(document["misses"]))
        for document in await documents.find(LOOKUPS, {})
    ]


@contextlib.contextmanager
def _noted(problem: str) -> Generator[None]:
    """Log what goes wrong, as it costs only time and money."""
    try:
        yield
    except AletheiaError as error:
        log.warning("%s: %s", problem, error)


def _write(embedding: Embedding, now: float) -> dict[str, Any]:
    return {
        "payload": embedding.vector.astype("<f4").tobytes(),
        "truncated": embedding.is_truncated,
        "at": now,
    }


def _read(document: Document) -> Embedding:
    vector = np.frombuffer(document["payload"], "<f4").astype(np.float32)
    return Embedding(vector, 0, is_truncated=document["truncated"], is_cached=True)

"""What stays open while a flow runs: connections, sign-ins, models.

One registry for the process. A task fetches what it needs by name; nothing in here is ever an
argument or a result of a task. Opened on first use, closed when the outermost `kept_open` ends.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from prefect.blocks.core import Block

from aletheia.adapters.brain.service import BrainService
from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.content.mongodb import MongoContent
from aletheia.adapters.embedding.cache import EmbeddingCache
from aletheia.adapters.embedding.hybrid import HybridEmbedder
from aletheia.adapters.embedding.items import ItemModel, embed_with, name_vectors_of
from aletheia.adapters.events.redis import REDIS, RedisEvents
from aletheia.adapters.events.webhook import WEBHOOK, Webhooks
from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.metering import Meter, Recorded
from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.adapters.mock.judge import WRITERS
from aletheia.adapters.ollama.client import OllamaClient
from aletheia.adapters.ollama.embedder import MAX_INPUTS as OLLAMA_MAX_INPUTS
from aletheia.adapters.ollama.embedder import OllamaEmbedder
from aletheia.adapters.payload_cms import PayloadDepartments
from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.guarded import GuardedUpstream
from aletheia.analysis.model_manager import ModelRecords
from aletheia.analysis.ports import Embedder
from aletheia.analysis.processor import Processors
from aletheia.analysis.text_embedding import TASK_TYPE, TextEmbedding
from aletheia.brain.access import BrainAccess
from aletheia.brain.index import IndexedBrain
from aletheia.brain.items import BrainItems
from aletheia.brain.outbox import Outbox
from aletheia.brain.ports import BrainGraph
from aletheia.documents import Documents
from aletheia.errors import InvalidTask, Misconfigured
from aletheia.events.delivery import EventSink
from aletheia.gather.catalogue import RunCatalogue
from aletheia.items.calibration import GREY_FROM, shipped_calibration
from aletheia.items.calibration_store import CalibrationStore
from aletheia.items.content import VectorCache
from aletheia.items.decisions import ProjectDecisions
from aletheia.llm.ports import ChatModel
from aletheia.llm.usage import Spending
from aletheia.resilience.breaker import PROBE_LEASE_S, CircuitBreaker
from aletheia.resilience.limits import RateLimiter
from aletheia.settings import (
    DEFAULT_MODELS,
    BreakerSettings,
    BudgetSettings,
    EmbeddingSettings,
    IntakeSettings,
    OllamaSettings,
    OpenAISettings,
    RateLimitSettings,
)
from blocks import (
    BrainCredentials,
    EventCredentials,
    LLMCredentials,
    OpenAICredentials,
    PayloadCredentials,
    StoreCredentials,
    UpstreamCredentials,
)
from tasks.prefect_events import PREFECT, PrefectEvents

if TYPE_CHECKING:
    from aletheia.adapters.openai.batches import OpenAIBatches
    from aletheia.adapters.openai.chat import OpenAIChat
    from aletheia.adapters.openai.embedder import OpenAIEmbedder

OPENAI_MAX_INPUTS = 2048
"""Most texts in a request to OpenAI; its client, which says it too, takes a second to import."""

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
K = TypeVar("K")

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


async def passing_store() -> Documents:
    """Fetch the store for what is written often and may be lost with the power."""

    async def build() -> Documents:
        return (await _load(StoreCredentials)).get_passing_client()

    return await _fetch("passing store", build)


async def breakers() -> CircuitBreaker:
    """Fetch the breakers of all dependencies."""
    longest = max(OllamaSettings().ollama_timeout, OpenAISettings().openai_timeout)
    return CircuitBreaker.from_settings(
        await store(), BreakerSettings(), probe_lease_s=max(PROBE_LEASE_S, 2 * longest)
    )


async def limiter() -> RateLimiter:
    """Fetch the limits of all providers."""

    async def build() -> RateLimiter:
        limiter = RateLimiter.from_settings(await passing_store(), RateLimitSettings())
        await limiter.prepare()
        return limiter

    return await _keep("limiter", build)


async def spending() -> Spending:
    """Fetch budgets and usage."""

    async def build() -> Spending:
        spending = Spending.from_settings(await store(), BudgetSettings())
        await spending.prepare()
        return spending

    return await _keep("spending", build)


async def meter(run_id: str | None) -> Meter:
    """Fetch what holds the requests of a run to breakers, limits and budgets."""

    async def build() -> Meter:
        intake = IntakeSettings()
        return Meter(
            await limiter(),
            await breakers(),
            await spending(),
            unit=RateLimitSettings().rate_limit_unit,
            run_id=run_id,
            max_retries=intake.max_retries,
            retry_base_s=intake.retry_base_seconds,
        )

    return await _keep("meter", build)


async def upstream() -> GuardedUpstream:
    """Fetch the client of the upstream API."""

    async def build() -> HttpUpstream:
        return (await _load(UpstreamCredentials)).get_client()

    return GuardedUpstream(await _fetch("upstream", build), await breakers())


async def ollama() -> OllamaClient:
    """Fetch the client of Ollama."""

    async def build() -> OllamaClient:
        settings = OllamaSettings()
        return OllamaClient(
            settings.ollama_base_url,
            timeout_s=settings.ollama_timeout,
            pull_timeout_s=settings.ollama_model_download_timeout,
        )

    return await _fetch("ollama", build)


async def processors(run_id: str | None = None) -> Processors:
    """Fetch everything that can be computed; a model is loaded when there is work for it.

    Args:
        run_id: the run that pays for it.
    """

    async def build() -> Processors:
        limit = IntakeSettings().max_text_bytes
        embedding = TextEmbedding(await embedder(run_id), max_text_bytes=limit)
        return Processors({TASK_TYPE: embedding})

    return await _keep("processors", build)


async def embedder(run_id: str | None = None) -> Embedder:
    """Fetch what embeds, as `PROCESSING_MODE` says.

    Args:
        run_id: the run that pays for it.

    Raises:
        Misconfigured: what the mode needs is missing, or production would be given the mock.
    """

    async def build() -> Embedder:
        settings = EmbeddingSettings()
        match settings.processing_mode:
            case "local":
                return await _local(settings, run_id)
            case "openai":
                account = await _load(OpenAICredentials)
                if account.is_placeholder:
                    return await _mock(settings, run_id, "OPENAI_API_KEY", "the placeholder")
                return await _openai(account, settings, run_id)
            case "ollama":
                address = OllamaSettings().ollama_base_url
                return await _cached(await ollama_embedder(run_id), settings, address)
            case "hybrid":
                return await _hybrid(settings, run_id)
            case "mock":
                return await _mock(settings, run_id, "PROCESSING_MODE", "'mock'")

    return await _keep("embedder", build)


async def ollama_embedder(run_id: str | None = None) -> OllamaEmbedder:
    """Fetch what embeds at Ollama, and can pull what it lacks."""

    async def build() -> OllamaEmbedder:
        settings, wrap = EmbeddingSettings(), await meter(run_id)
        return OllamaEmbedder(
            await ollama(),
            default_model=settings.default_model,
            supported_models=settings.supported_models,
            dimensions=settings.embedding_dimensions,
            long_text=settings.long_text or "truncate",
            concurrency=OllamaSettings().ollama_concurrency,
            max_inputs=wrap.max_texts(OLLAMA_MAX_INPUTS),
            around=wrap,
        )

    return await _keep("ollama embedder", build)


async def batches() -> "OpenAIBatches":
    """Fetch the client of OpenAI's Batch API."""

    async def build() -> "OpenAIBatches":
        return (await _load(OpenAICredentials)).get_batches()

    return await _fetch("batches", build)


async def _local(settings: EmbeddingSettings, run_id: str | None) -> Embedder:
    async def build() -> LocalEmbedder:
        # The store is opened first, and so closed after the embedder that writes to it.
        records = ModelRecords(await store())
        return LocalEmbedder.from_settings(
            settings,
            max_retries=IntakeSettings().max_retries,
            memory_max_bytes=settings.model_memory_max,
            note=records.note,
        )

    return Recorded(await _fetch("local embedder", build), await spending(), run_id)


async def _mock(settings: EmbeddingSettings, run_id: str | None, name: str, value: str) -> Embedder:
    if settings.environment == "production":
        reason = f"{value} means the mock, which is refused where ENVIRONMENT=production"
        raise Misconfigured(name, reason)
    mock = MockEmbedder(default_model=settings.default_model)
    return Recorded(mock, await spending(), run_id)


async def _openai(
    account: OpenAICredentials, settings: EmbeddingSettings, run_id: str | None
) -> Embedder:
    async def build() -> "OpenAIEmbedder":
        wrap = await meter(run_id)
        return account.get_client(around=wrap, max_inputs=wrap.max_texts(OPENAI_MAX_INPUTS))

    return await _cached(await _fetch("openai embedder", build), settings, account.base_url)


async def _hybrid(settings: EmbeddingSettings, run_id: str | None) -> Embedder:
    account = await _load(OpenAICredentials)
    address = OllamaSettings().ollama_base_url
    first = await _cached(await ollama_embedder(run_id), settings, address)
    try:
        return HybridEmbedder(
            first,
            await _openai(account, settings, run_id) if account.has_key else None,
            default_model=settings.default_model,
            default_stand_in=DEFAULT_MODELS["openai"],
            stand_ins=settings.hybrid_model_map,
        )
    except InvalidTask as unknown:
        raise Misconfigured("HYBRID_MODEL_MAP", f"{unknown}; add it to SUPPORTED_MODELS") from None


async def _cached(inner: Embedder, settings: EmbeddingSettings, address: str) -> Embedder:
    cache = EmbeddingCache(
        inner,
        await passing_store(),
        ttl_s=IntakeSettings().result_cache_ttl,
        variant=f"{address} {settings.embedding_dimensions or ''} {settings.long_text or ''}",
    )
    await cache.prepare()
    return cache


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


async def _keep(name: str, build: Callable[[], Awaitable[K]]) -> K:
    """Fetch what holds nothing itself that would have to be closed."""
    if name not in _open:
        _open[name] = await build()
    return cast("K", _open[name])


def _closed_in_the_end(thing: T) -> T:
    """Have something closed with everything else; whoever uses it opens it."""
    if _closing is None:
        raise RuntimeError("nothing stays open outside kept_open()")
    _closing.push_async_callback(thing.close)
    return thing


async def departments() -> PayloadDepartments:
    """Fetch the client of the application that has the departments."""

    async def build() -> PayloadDepartments:
        return (await _load(PayloadCredentials)).get_client()

    return await _fetch("departments", build)


async def content(project_id: str) -> EmbeddedContent | MongoContent:
    """Fetch the store of a project's items."""

    async def build() -> EmbeddedContent | MongoContent:
        return (await _load(StoreCredentials)).get_content_client(project_id)

    return await _fetch(f"content of {project_id}", build)


async def close_content(project_id: str) -> None:
    """Let go of a project's items, for whoever goes through many projects."""
    client = _open.pop(f"content of {project_id}", None)
    if client is not None:
        await client.close()


async def decisions(project_id: str) -> ProjectDecisions:
    """Fetch what is kept of what was dropped in a project."""

    async def build() -> ProjectDecisions:
        decisions = ProjectDecisions(await store(), project_id)
        await decisions.prepare()
        return decisions

    return await _keep(f"decisions of {project_id}", build)


async def calibrations() -> CalibrationStore:
    """Fetch the calibrations that are stored here."""
    return CalibrationStore(await store(), dimensions=EmbeddingSettings().embedding_dimensions)


async def brain(run_id: str) -> BrainService | IndexedBrain:
    """Fetch the Brain that is configured: a service, else what is kept here. Not open yet.

    Args:
        run_id: the run that pays for what is embedded.

    Raises:
        Misconfigured: an address or a key cannot be right, or see `item_embedder`.
    """

    async def build() -> BrainService | None:
        model = await item_model(run_id)
        service = (await _load(BrainCredentials)).get_service(model.vectors)
        return None if service is None else _closed_in_the_end(service)

    return await _keep("brain service", build) or await indexed_brain(run_id)


async def indexed_brain(run_id: str | None) -> IndexedBrain:
    """Fetch the Brain that is kept here, never a client of a service. Not open yet.

    Args:
        run_id: the run that pays for what is embedded.

    Raises:
        Misconfigured: the address of Neo4j cannot be right, or see `item_embedder`.
    """

    async def build() -> IndexedBrain:
        model = await item_model(run_id)
        known = await (await calibrations()).find(model.name) or shipped_calibration(model.name)
        return IndexedBrain(
            await brain_graph(),
            model.embed,
            model.vectors,
            catalogue=RunCatalogue(await store()),
            link_from=known.to_cosine(GREY_FROM),
        )

    return await _keep("indexed brain", build)


async def brain_graph() -> BrainGraph:
    """Fetch what keeps the Brain here. Not open yet: it may be out of reach.

    Raises:
        Misconfigured: the address of Neo4j cannot be right.
    """

    async def build() -> BrainGraph:
        return _closed_in_the_end((await _load(BrainCredentials)).get_graph())

    return await _keep("brain graph", build)


async def brain_access(run_id: str) -> BrainAccess:
    """Fetch the way to the Brain, which may be away.

    Args:
        run_id: the run that pays for what is embedded.
    """

    async def build() -> BrainAccess:
        return BrainAccess(lambda: brain(run_id), await breakers())

    return await _keep("brain access", build)


async def brain_items(project_id: str, run_id: str) -> BrainItems:
    """Fetch a project's items as the Brain is given them.

    Args:
        project_id: the project.
        run_id: the run that pays for what is embedded.
    """
    items, model = await content(project_id), await item_model(run_id)
    return BrainItems(items, VectorCache(items, model.vectors), model.embed)


async def outbox() -> Outbox:
    """Fetch what the Brain has still to be told."""

    async def build() -> Outbox:
        outbox = Outbox(await store())
        await outbox.prepare()
        return outbox

    return await _keep("outbox", build)


async def brain_key() -> str:
    """Fetch what callers of the Brain that is served have to send; empty if there is nothing."""
    return (await _load(BrainCredentials)).api_key


async def chat(run_id: str) -> ChatModel:
    """Fetch what writes and judges; without a key that is the mock.

    Args:
        run_id: the run that pays for it.

    Raises:
        Misconfigured: the key or the address cannot be right, or production would be given the
            mock.
    """

    async def build() -> ChatModel:
        account = await _load(LLMCredentials)
        if account.has_key:
            return await _fetch("llm client", lambda: _llm_client(account, run_id))
        if EmbeddingSettings().environment == "production":
            reason = "is not set, which means the mock, refused where ENVIRONMENT=production"
            raise Misconfigured("OPENROUTER_API_KEY", reason)
        return MockChat(writers=WRITERS)

    return await _keep("chat", build)


async def _llm_client(account: LLMCredentials, run_id: str) -> "OpenAIChat":
    return account.get_client(around=await meter(run_id))


async def item_embedder(run_id: str | None) -> Embedder:
    """Fetch what embeds items, full texts and each by the one model that was asked for.

    Args:
        run_id: the run that pays for it.

    Raises:
        Misconfigured: what the mode needs is missing, or production would be given the mock.
    """

    async def build() -> Embedder:
        settings = EmbeddingSettings()
        if settings.processing_mode == "local" and settings.long_text is None:
            return await _local(settings.model_copy(update={"long_text": "chunk"}), run_id)
        if settings.processing_mode == "hybrid":
            # What stands in has vectors of its own, that compare with no others.
            address = OllamaSettings().ollama_base_url
            return await _cached(await ollama_embedder(run_id), settings, address)
        return await embedder(run_id)

    return await _keep("item embedder", build)


async def item_model(run_id: str | None) -> ItemModel:
    """Fetch the model that embeds items.

    Args:
        run_id: the run that pays for it.

    Raises:
        Misconfigured: see `item_embedder`.
    """
    embedder, settings = await item_embedder(run_id), EmbeddingSettings()
    asked = embedder.canonical_model(None)
    # Vectors that mean nothing are never taken for those of the model itself.
    name = name_vectors_of(embedder, asked)
    parts = (name, settings.embedding_dimensions, settings.long_text)
    vectors = " ".join(str(part) for part in parts if part)
    return ItemModel(name, vectors, embed_with(embedder, asked))


async def event_sinks(webhook_url: str | None) -> dict[str, EventSink]:
    """Fetch what sends events, by kind: Prefect, Redis where there is one, webhooks where named.

    Raises:
        InvalidTask: `invalid_webhook_url`.
        Misconfigured: Redis's address cannot be right, or there is no key for signatures.
    """
    sinks: dict[str, EventSink] = {PREFECT: await prefect_events()}
    if (published := await redis_events()) is not None:
        sinks[REDIS] = published
    if webhook_url:
        sender = await webhooks()
        sender.check(webhook_url)
        sinks[WEBHOOK] = sender
    return sinks


async def prefect_events() -> PrefectEvents:
    """Fetch what makes events of Prefect of them."""

    async def build() -> PrefectEvents:
        return PrefectEvents()

    return await _fetch("prefect events", build)


async def redis_events() -> RedisEvents | None:
    """Fetch what publishes events on Redis, where there is one.

    Raises:
        Misconfigured: Redis's address cannot be right.
    """

    async def build() -> RedisEvents | None:
        client = (await _load(EventCredentials)).get_client()
        if client is not None and _closing is not None:
            _closing.push_async_callback(client.close)
        return client

    return await _keep("redis events", build)


async def webhooks() -> Webhooks:
    """Fetch what posts events to webhooks.

    Raises:
        Misconfigured: there is no key for signatures.
    """

    async def build() -> Webhooks:
        return (await _load(EventCredentials)).get_webhooks()

    return await _fetch("webhooks", build)

"""What embeds texts, as `PROCESSING_MODE` says."""

from aletheia.adapters.embedding.cache import EmbeddingCache, HitRate, read_hit_rates
from aletheia.adapters.embedding.hybrid import HybridEmbedder
from aletheia.adapters.embedding.input_limits import InputLimits
from aletheia.adapters.embedding.items import ItemModel, embed_with, name_vectors_of
from aletheia.adapters.embedding.remote import EmbedderPlan
from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.local.hub import HuggingFaceHub
from aletheia.adapters.local.source import ModelSources
from aletheia.adapters.metering import Recorded
from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.adapters.ollama.client import OllamaClient
from aletheia.adapters.ollama.embedder import MAX_INPUTS as OLLAMA_MAX_INPUTS
from aletheia.adapters.ollama.embedder import OllamaEmbedder
from aletheia.adapters.openai.embedder import MAX_INPUTS as OPENAI_MAX_INPUTS
from aletheia.analysis.model_manager import ModelRecords
from aletheia.analysis.model_uses import ModelUses
from aletheia.analysis.ports import Embedder
from aletheia.errors import InvalidTask, Misconfigured
from aletheia.items.word_vectors import Embed
from aletheia.settings import DEFAULT_MODELS, EmbeddingSettings
from blocks import HuggingFaceCredentials, OpenAICredentials
from tasks.clients.metering import get_meter, get_spending
from tasks.clients.store import get_store, get_volatile_store
from tasks.session import current_session, load_block, once


@once
async def choose_mode() -> tuple[EmbeddingSettings, str]:
    """Choose the provider for this session (SPEC §2); return the settings with it, and why."""
    try:
        account = await load_block(OpenAICredentials)
    except Misconfigured:
        account = OpenAICredentials()
    return account.choose_mode()


async def get_embedding_settings() -> EmbeddingSettings:
    """Return the settings of embedding, with the provider that was chosen."""
    return (await choose_mode())[0]


async def describe_mode() -> str:
    """Return which provider embeds, and why."""
    settings, why = await choose_mode()
    return f"{settings.processing_mode}: {why}"


@once
async def get_embedder() -> Embedder:
    """Return what embeds. Raises `Misconfigured`: it would be the mock in production."""
    settings = await get_embedding_settings()
    match settings.processing_mode:
        case "local":
            return await _get_local(settings.long_text)
        case "openai":
            if (await load_block(OpenAICredentials)).is_placeholder:
                return await _build_mock("OPENAI_API_KEY", "the placeholder")
            return await _get_openai()
        case "ollama":
            return await _get_cached_ollama()
        case "hybrid":
            return await _build_hybrid()
        case "mock":
            return await _build_mock("PROCESSING_MODE", "'mock'")


@once
async def get_item_embedder() -> Embedder:
    """Return what embeds items, full texts, by the one model asked for; see `get_embedder`."""
    settings = await get_embedding_settings()
    match settings.processing_mode:
        case "local":
            return await _get_local(settings.long_text or "chunk")
        case "hybrid":
            # What stands in has vectors of its own, that compare with no others.
            return await _get_cached_ollama()
        case _:
            return await get_embedder()


async def get_item_model() -> ItemModel:
    """Return the model that embeds items."""
    embedder, settings = await get_item_embedder(), await get_embedding_settings()
    asked = embedder.canonical_model(None)
    # Vectors that mean nothing are never taken for those of the model itself.
    name = name_vectors_of(embedder, asked)
    vectors_name = name
    if settings.processing_mode == "local":
        vectors_name = current_session().settings.models.name_vectors(name)
    parts = (vectors_name, settings.embedding_dimensions, settings.long_text)
    vectors = " ".join(str(part) for part in parts if part)
    return ItemModel(name, vectors, embed_with(embedder, asked), embedder.is_mock)


async def get_item_embedding(model: str) -> Embed:
    """Return what embeds items with one model, in the embedder's own words."""
    return embed_with(await get_item_embedder(), model)


async def get_hit_rates() -> list[HitRate]:
    """Read how often the cache of vectors had what was asked for."""
    return await read_hit_rates(await get_volatile_store())


@once
async def get_ollama() -> OllamaClient:
    """Return the client of Ollama."""
    session = current_session()
    settings = session.settings.ollama
    return await session.clients.open(
        OllamaClient(
            settings.ollama_base_url,
            timeout_s=settings.ollama_timeout,
            pull_timeout_s=settings.ollama_model_download_timeout,
        )
    )


@once
async def get_model_uses() -> ModelUses:
    """Return the record of who uses the models of a server; a run is one user."""
    return ModelUses(await get_store(), owner=f"run {current_session().run_id}")


@once
async def get_ollama_embedder() -> OllamaEmbedder:
    """Return what embeds at Ollama, and can pull what it lacks."""
    settings, ollama = await get_embedding_settings(), current_session().settings.ollama
    plan = EmbedderPlan(
        default_model=settings.default_model,
        dimensions=settings.embedding_dimensions,
        long_text=settings.long_text or "truncate",
        concurrency=ollama.ollama_concurrency,
        guard=await get_meter(),
        limits=await _get_limits(OLLAMA_MAX_INPUTS, f"ollama {ollama.ollama_base_url}"),
    )
    uses = await get_model_uses()
    return OllamaEmbedder(await get_ollama(), plan, settings.supported_models, uses=uses)


async def get_hub(kind: type[HuggingFaceHub] = HuggingFaceHub) -> HuggingFaceHub:
    """Return the hub that models come from, with the token of its block, if there is one."""
    try:
        account = await load_block(HuggingFaceCredentials)
    except Misconfigured:
        account = HuggingFaceCredentials()
    return account.get_client(kind)


async def get_model_sources(settings: EmbeddingSettings) -> ModelSources:
    """Return the places where local models are looked for."""
    return ModelSources.from_settings(settings, await get_hub())


@once
async def _get_local(long_text: str | None) -> Embedder:
    session = current_session()
    settings = (await get_embedding_settings()).model_copy(update={"long_text": long_text})
    # The store is opened first, and so closed after the embedder that writes to it.
    records = ModelRecords(await get_store())
    local = LocalEmbedder(
        settings,
        max_retries=session.settings.intake.max_retries,
        note=records.note,
        find=(await get_model_sources(settings)).find,
        models=session.settings.models,
    )
    return Recorded(await session.clients.open(local), await get_spending(), session.run_id)


async def _build_mock(name: str, value: str) -> Embedder:
    session, settings = current_session(), await get_embedding_settings()
    if settings.environment == "production":
        reason = f"{value} means the mock, which is refused where ENVIRONMENT=production"
        raise Misconfigured(name, reason)
    mock = MockEmbedder(default_model=settings.default_model)
    return Recorded(mock, await get_spending(), session.run_id)


async def _get_openai() -> Embedder:
    account = await load_block(OpenAICredentials)
    limits = await _get_limits(OPENAI_MAX_INPUTS, f"openai {account.base_url}")
    client = account.get_client(guard=await get_meter(), limits=limits)
    return await _build_cache(await current_session().clients.open(client), account.base_url)


async def _get_limits(max_inputs: int, server: str) -> InputLimits:
    """Return how many texts a request may have, as set, and as the server takes them."""
    meter, asked = await get_meter(), (await get_embedding_settings()).embedding_max_inputs
    max_inputs = min(meter.max_texts(max_inputs), asked or max_inputs)
    return InputLimits(max_inputs, await get_volatile_store(), server=server)


async def _get_cached_ollama() -> Embedder:
    address = current_session().settings.ollama.ollama_base_url
    return await _build_cache(await get_ollama_embedder(), address)


async def _build_hybrid() -> Embedder:
    settings, account = await get_embedding_settings(), await load_block(OpenAICredentials)
    first = await _get_cached_ollama()
    try:
        return HybridEmbedder(
            first,
            await _get_openai() if account.has_key else None,
            default_model=settings.default_model,
            default_stand_in=DEFAULT_MODELS["openai"],
            stand_ins=settings.hybrid_model_map,
        )
    except InvalidTask as unknown:
        raise Misconfigured("HYBRID_MODEL_MAP", f"{unknown}; add it to SUPPORTED_MODELS") from None


async def _build_cache(inner: Embedder, address: str) -> Embedder:
    embedding, intake = await get_embedding_settings(), current_session().settings.intake
    dimensions, long_text = embedding.embedding_dimensions, embedding.long_text
    cache = EmbeddingCache(
        inner,
        await get_volatile_store(),
        ttl_s=intake.result_cache_ttl,
        variant=f"{address} {dimensions or ''} {long_text or ''}",
    )
    await cache.prepare()
    return cache

"""The models of the providers that hold them."""

from typing import Final, Literal, TypeAlias

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.local.model_manager import LocalModelManager
from aletheia.adapters.ollama.model_manager import OllamaModelManager
from aletheia.analysis.model_manager import ModelHolder, ModelRecords, ModelRow, list_rows
from aletheia.settings import ProcessingMode
from tasks.clients.embedding import (
    get_embedding_settings,
    get_model_sources,
    get_model_uses,
    get_ollama,
)
from tasks.clients.store import get_store
from tasks.session import current_session

Provider: TypeAlias = Literal["local", "ollama"]
"""Providers that hold models themselves."""

HOLDERS: Final[dict[ProcessingMode, Provider]] = {
    "local": "local",
    "ollama": "ollama",
    "hybrid": "ollama",
}
"""Provider whose models the settings name, by PROCESSING_MODE."""


async def build_model_holder(provider: Provider) -> ModelHolder:
    """Build what holds a provider's models; it connects when it is first used."""
    settings = await get_embedding_settings()
    if HOLDERS.get(settings.processing_mode) != provider:
        # The settings name the models of another provider.
        nothing = {"default_embedding_model": None, "supported_models": ()}
        settings = settings.model_copy(update={"processing_mode": provider, **nothing})
    records = ModelRecords(await get_store())
    if provider == "ollama":
        wanted = (settings.default_model, *settings.supported_models)
        return OllamaModelManager(
            await get_ollama(),
            records,
            supported_models=wanted,
            memory_max_bytes=settings.model_memory_max,
            uses=await get_model_uses(),
        )
    sources = await get_model_sources(settings)
    embedder = LocalEmbedder(
        settings,
        note=records.note,
        find=sources.find,
        models=current_session().settings.models,
    )
    return LocalModelManager(embedder, sources)


async def read_models(provider: Provider) -> list[ModelRow]:
    """Read a provider's models, with what is recorded about them."""
    return await list_rows(await build_model_holder(provider), ModelRecords(await get_store()))

"""The models that a provider holds: list, pull, load and unload, as Prefect shows them."""

from contextlib import aclosing
from typing import Literal, TypeAlias

from prefect import get_run_logger, task
from prefect.artifacts import acreate_table_artifact

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.local.model_manager import LocalModelManager
from aletheia.adapters.ollama.model_manager import OllamaModelManager
from aletheia.analysis.model_manager import ModelHolder, ModelManager, ModelRecords, ModelRow
from aletheia.errors import Misconfigured
from aletheia.settings import ProcessingMode
from tasks import artifacts
from tasks.clients.embedding import get_ollama
from tasks.clients.store import get_store
from tasks.policies import STEP
from tasks.session import current_session

Provider: TypeAlias = Literal["local", "ollama"]
"""Providers that hold models themselves."""

HOLDERS: dict[ProcessingMode, Provider] = {
    "local": "local",
    "ollama": "ollama",
    "hybrid": "ollama",
}
"""Provider whose models the settings name, by PROCESSING_MODE."""


def choose_provider(provider: Provider | None) -> Provider:
    """Return the provider that was named, or by default the one that PROCESSING_MODE uses.

    Raises:
        Misconfigured: none was named, and the default one holds no models of its own.
    """
    if provider is not None:
        return provider
    mode = current_session().settings.embedding.processing_mode
    if mode in HOLDERS:
        return HOLDERS[mode]
    raise Misconfigured(
        "provider", f"PROCESSING_MODE={mode} holds no models of its own; name local or ollama"
    )


def require_model(model: str | None) -> str:
    """Return the model that was named.

    Raises:
        Misconfigured: none was.
    """
    if not model or not model.strip():
        raise Misconfigured("model", "is not given; name the model to act on")
    return model.strip()


async def build_model_manager(provider: Provider) -> ModelManager:
    """Build the manager of a provider's models; it connects when it is first used."""
    settings = current_session().settings.embedding
    if HOLDERS.get(settings.processing_mode) != provider:
        # The settings name the models of another provider.
        nothing = {"default_embedding_model": None, "supported_models": ()}
        settings = settings.model_copy(update={"processing_mode": provider, **nothing})
    records = ModelRecords(await get_store())
    holder: ModelHolder
    if provider == "ollama":
        wanted = (settings.default_model, *settings.supported_models)
        holder = OllamaModelManager(
            await get_ollama(),
            records,
            supported_models=wanted,
            memory_max_bytes=settings.model_memory_max,
        )
    else:
        embedder = LocalEmbedder.from_settings(
            settings, memory_max_bytes=settings.model_memory_max, note=records.note
        )
        holder = LocalModelManager.from_settings(settings, embedder)
    return ModelManager([holder], records)


@task(name="list_models", task_run_name="list-{provider}", **STEP)
async def list_models(provider: Provider) -> list[ModelRow]:
    """List a provider's models, also as a table artifact of the run."""
    rows = await (await build_model_manager(provider)).rows(provider)
    await acreate_table_artifact(
        key="models",
        table=[describe(row) for row in rows] or [{"model": "there are none"}],
        description=f"Models of **{provider}**.",
    )
    return rows


@task(name="pull_model", task_run_name="pull-{model}", **STEP)
async def pull_model(provider: Provider, model: str) -> None:
    """Download a model, with a progress bar on the page of the run."""
    manager = await build_model_manager(provider)
    async with aclosing(manager.pull(provider, model)) as steps:
        await artifacts.show_downloads(steps)
    get_run_logger().info("%s has %s", provider, model)


@task(name="load_model", task_run_name="load-{model}", **STEP)
async def load_model(provider: Provider, model: str) -> None:
    """Load a model into memory; a local one only to check it, as it ends with the run."""
    await (await build_model_manager(provider)).load(provider, model)
    get_run_logger().info("%s loaded %s", provider, model)


@task(name="unload_model", task_run_name="unload-{model}", **STEP)
async def unload_model(provider: Provider, model: str) -> None:
    """Unload a model from memory once its calls under way have ended."""
    await (await build_model_manager(provider)).unload(provider, model)
    get_run_logger().info("%s unloaded %s", provider, model)


def describe(row: ModelRow) -> dict[str, str | int]:
    """Return the cells of a model's row in the table."""
    return {
        "model": row.model,
        "state": row.state,
        "on disk": _megabytes(row.size_bytes),
        "in memory": _megabytes(row.memory_bytes),
        "load": "" if row.load_s is None else f"{row.load_s:.1f} s",
        "last used": "" if row.last_used is None else f"{row.last_used:%Y-%m-%d %H:%M} UTC",
        "loads": row.loads,
        "evictions": row.evictions,
        "where": row.detail,
    }


def _megabytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 1e6:,.0f} MB"

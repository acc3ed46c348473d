"""The models that a provider holds: list, pull, load and unload, as Prefect shows them."""

from contextlib import aclosing

from prefect import get_run_logger, task

from aletheia.analysis.model_manager import ModelRow
from aletheia.errors import Misconfigured
from tasks import artifacts
from tasks.clients.embedding import get_embedding_settings
from tasks.clients.models import HOLDERS, Provider, build_model_holder, read_models
from tasks.policies import STEP


async def choose_provider(provider: Provider | None) -> Provider:
    """Return the provider that was named, or else the one that `PROCESSING_MODE` uses."""
    if provider is not None:
        return provider
    mode = (await get_embedding_settings()).processing_mode
    if mode in HOLDERS:
        return HOLDERS[mode]
    raise Misconfigured(
        "provider", f"PROCESSING_MODE={mode} holds no models of its own; name local or ollama"
    )


def require_model(model: str | None) -> str:
    """Return the model that was named. Raises `Misconfigured`: none was."""
    if not model or not model.strip():
        raise Misconfigured("model", "is not given; name the model to act on")
    return model.strip()


@task(name="list_models", task_run_name="list-{provider}", **STEP)
async def list_models(provider: Provider) -> list[ModelRow]:
    """List a provider's models, also as a table artifact of the run."""
    rows = await read_models(provider)
    table = [describe(row) for row in rows] or [{"model": "there are none"}]
    await artifacts.save_table("models", table, f"Models of **{provider}**.")
    return rows


@task(name="pull_model", task_run_name="pull-{model}", **STEP)
async def pull_model(provider: Provider, model: str) -> None:
    """Download a model, with a progress bar on the page of the run."""
    async with aclosing((await build_model_holder(provider)).pull(model)) as steps:
        await artifacts.show_downloads(steps)
    get_run_logger().info("%s has %s", provider, model)


@task(name="load_model", task_run_name="load-{model}", **STEP)
async def load_model(provider: Provider, model: str) -> None:
    """Load a model into memory; a local one only to check it, as it ends with the run."""
    await (await build_model_holder(provider)).load(model)
    get_run_logger().info("%s loaded %s", provider, model)


@task(name="unload_model", task_run_name="unload-{model}", **STEP)
async def unload_model(provider: Provider, model: str) -> None:
    """Unload a model from memory once its calls under way have ended."""
    await (await build_model_holder(provider)).unload(model)
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
        "device": row.device,
        "int8": "" if row.loss is None else str(row.loss),
        "where": row.detail,
    }


def _megabytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 1e6:,.0f} MB"

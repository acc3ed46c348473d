"""The deployment `manage_models`: list, pull, load and unload models."""

from typing import Literal

from prefect import flow

from aletheia.analysis.model_manager import ModelRow
from tasks.clients.models import Provider
from tasks.models import (
    choose_provider,
    list_models,
    load_model,
    pull_model,
    require_model,
    unload_model,
)
from tasks.session import open_watched_session


@flow(name="manage_models", persist_result=False)
async def manage_models(
    action: Literal["list", "pull", "load", "unload"] = "list",
    provider: Provider | None = None,
    model: str | None = None,
) -> list[ModelRow]:
    """Pull, load or unload a model, then list the provider's models.

    The default provider is the one that PROCESSING_MODE uses. A local model stays in memory only
    in a running shift; here it is loaded to check that it can be and what it needs.
    """
    async with open_watched_session():
        holder = await choose_provider(provider)
        if action != "list":
            steps = {"pull": pull_model, "load": load_model, "unload": unload_model}
            await steps[action](holder, require_model(model))
        return await list_models(holder)

"""Commands about models: list them; pull, load or unload one."""

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import Final, Literal

from rich.console import Console
from rich.table import Table

from aletheia.analysis.model_manager import ModelRow
from deployments.runs import run_to_end
from tasks.clients.models import Provider, build_model_manager
from tasks.models import choose_provider, describe
from tasks.session import open_session

DEPLOYMENT: Final = "manage_models/manage_models"


def read_models(provider: Provider | None) -> list[ModelRow]:
    """List a provider's models; by default those of the provider in use."""

    async def read() -> list[ModelRow]:
        async with open_session():
            holder = await choose_provider(provider)
            return await (await build_model_manager(holder)).rows(holder)

    return asyncio.run(read())


def act_on_model(
    action: Literal["pull", "load", "unload"],
    model: str | None,
    provider: Provider | None,
    console: Console,
) -> list[ModelRow]:
    """Pull, load or unload a model, by a run at the workers; then list the provider's models."""
    wanted = {"action": action, "provider": provider, "model": model}
    asyncio.run(run_to_end(DEPLOYMENT, wanted, console))
    return read_models(provider)


def show_models(rows: Sequence[ModelRow], console: Console, *, as_json: bool) -> None:
    """Print the status of models."""
    if as_json:
        console.print_json(json.dumps([dataclasses.asdict(row) for row in rows], default=str))
        return
    table = Table("provider", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        described = describe(row)
        if not table.rows:
            for name in described:
                table.add_column(name, overflow="fold")
        table.add_row(row.provider, *(str(value) for value in described.values()))
    console.print(table if rows else "There are no models.")
    if any(row.provider == "local" for row in rows):
        console.print(
            "Local models are in memory only while a shift runs; memory, load and last use are "
            "what the last one wrote down.",
            style="dim",
        )

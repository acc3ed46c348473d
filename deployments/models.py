"""The command `models`: list them; pull, load or unload one."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

import typer
from rich.markup import escape

from aletheia.analysis.model_manager import ModelRow
from deployments.console import console
from deployments.explaining import JsonOption, plain_table
from deployments.runs import in_session, run_to_end
from tasks.clients.models import Provider, read_models
from tasks.models import choose_provider, describe

app = typer.Typer()


@app.command()
@in_session
async def models(
    action: Annotated[
        Literal["list", "pull", "load", "unload"], typer.Argument(help="What to do.")
    ] = "list",
    model: Annotated[str | None, typer.Argument(help="With which model.")] = None,
    provider: Annotated[
        Provider | None, typer.Option(help="Whose models; by default those of PROCESSING_MODE.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models that tasks may name, or pull, load or unload one."""
    if action != "list":
        wanted = {"action": action, "provider": provider, "model": model}
        await run_to_end("manage_models/manage_models", wanted)
    show_models(await read_models(await choose_provider(provider)), as_json=as_json)


def show_models(rows: Sequence[ModelRow], *, as_json: bool) -> None:
    """Print the status of models."""
    if as_json:
        console.print_json(data=[dataclasses.asdict(row) for row in rows], default=str)
        return
    if rows:
        table = plain_table("provider", *describe(rows[0]))
        for row in rows:
            table.add_row(row.provider, *(escape(str(cell)) for cell in describe(row).values()))
        console.print(table)
    else:
        console.print("There are no models.")
    if any(row.provider == "local" for row in rows):
        console.print(
            "Local models are in memory only while a shift runs; memory, load and last use are "
            "what the last one wrote down.",
            style="dim",
        )

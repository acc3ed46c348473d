"""Commands that read the ledger: dead letters, and all that is known of one task."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from aletheia.intake.dead_letters import DeadLetter
    from aletheia.intake.trace import Trace

# What needs Prefect is imported by the commands themselves, see `deployments.cli`.
# ruff: noqa: PLC0415 - slow to import


def register(
    app: typer.Typer, console: Console, on_server: Callable[[], AbstractContextManager[None]]
) -> None:
    """Add the commands to the command line."""

    @app.command("dead-letters")
    def list_dead_letters(  # pyright: ignore[reportUnusedFunction] - the decorator uses it
        code: Annotated[str | None, typer.Option(help="Only dead letters with this code.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="Maximum number.")] = 100,
        as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead.")] = False,
    ) -> None:
        """List tasks that failed for good, newest first: id, type, code, message, age."""
        with on_server():
            found = asyncio.run(_read_dead_letters(code, limit))
        if as_json:
            console.print_json(json.dumps([dead_letter.model_dump() for dead_letter in found]))
        elif not found:
            console.print("There are no dead letters.")
        else:
            table = Table(*found[0].as_row(), box=None, padding=(0, 2, 0, 0))
            for dead_letter in found:
                table.add_row(*map(escape, dead_letter.as_row().values()))
            console.print(table)

    @app.command()
    def trace(  # pyright: ignore[reportUnusedFunction] - the decorator uses it
        task_id: Annotated[str, typer.Argument(help="As the upstream lists it.")],
        as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead.")] = False,
    ) -> None:
        """Show what the ledger knows of one task, in order."""
        with on_server():
            found = asyncio.run(_read_traces(task_id))
        if as_json:
            console.print_json(json.dumps([trace.model_dump(mode="json") for trace in found]))
        for trace in [] if as_json else found:
            _show_trace(trace, console)
        if not found:
            if not as_json:
                console.print("The ledger knows no such task.")
            raise typer.Exit(1)


async def _read_dead_letters(code: str | None, limit: int) -> "list[DeadLetter]":
    from deployments.intake import open_ledger

    async with open_ledger() as ledger:
        return await ledger.dead_letters.newest(code=code, limit=limit)


async def _read_traces(task_id: str) -> "list[Trace]":
    from aletheia.intake.trace import read_traces
    from deployments.intake import open_ledger

    async with open_ledger() as ledger:
        return await read_traces(ledger.rows.documents, task_id)


def _show_trace(trace: "Trace", console: Console) -> None:
    console.print(f"{trace.task_id}: {trace.state}", style="bold", markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for event in trace.events:
        table.add_row(f"{event.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], event.what)
    for name, value in trace.facts.items():
        table.add_row(name, escape(value if isinstance(value, str) else json.dumps(value)))
    console.print(table)

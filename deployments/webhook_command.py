"""The command `webhooks`, as the command line has it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated

import typer
from rich.console import Console

# ruff: noqa: PLC0415 - slow to import, and Prefect is imported after its server is chosen


def register(
    app: typer.Typer, console: Console, on_server: Callable[[], AbstractContextManager[None]]
) -> None:
    """Add the command to the command line."""

    @app.command()
    def webhooks(  # pyright: ignore[reportUnusedFunction] - the decorator uses it
        replay: Annotated[
            list[str] | None,
            typer.Option(metavar="ID", help="Send this event once more; `all` sends all."),
        ] = None,
        project: Annotated[str | None, typer.Option(help="Of this project alone.")] = None,
        limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number.")] = 100,
        as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead.")] = False,
    ) -> None:
        """List events that webhooks and other receivers did not get, or send them once more."""
        with on_server():
            from deployments.dead_events import read_dead_events, show
            from deployments.dead_events import replay as send

            if replay:
                send(replay, Console(stderr=True))
                console.print("All of them were sent.")
                return
            events = read_dead_events(project, limit)
        show(events, console, as_json=as_json)

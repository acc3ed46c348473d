"""The command `workers`: who computes tasks."""

from collections.abc import Sequence

import typer
from rich.markup import escape

from aletheia.intake.workers import Worker, Workers
from deployments.console import console
from deployments.explaining import JsonOption, plain_table, say
from deployments.runs import in_session
from tasks.clients.store import get_store

app = typer.Typer()


@app.command()
@in_session
async def workers(as_json: JsonOption = False) -> None:
    """List the pollers and the workers of lanes: what each can compute, and what it does."""
    show_workers(await Workers(await get_store()).newest(), as_json=as_json)


def show_workers(found: Sequence[Worker], *, as_json: bool) -> None:
    """Print workers."""
    if as_json:
        console.print_json(data=[worker.model_dump(mode="json") for worker in found])
    elif not found:
        say("No worker was heard of during the last day.")
    else:
        table = plain_table("worker", "lane", "state", "seen", "done", "failed", "tasks", "types")
        for worker in found:
            table.add_row(*map(escape, _cells(worker)))
        console.print(table)


def _cells(worker: Worker) -> list[str]:
    return [
        worker.id,
        worker.lane,
        worker.state,
        f"{worker.seen_at:%Y-%m-%d %H:%M:%S}",
        f"{worker.succeeded:,}",
        f"{worker.failed:,}",
        ", ".join(worker.tasks),
        ", ".join(worker.types),
    ]

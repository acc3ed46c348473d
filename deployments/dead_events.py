"""The command `webhooks`: list events that receivers did not get, send them once more."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.markup import escape

from aletheia.adapters.events.named_webhooks import show_webhook
from aletheia.events.dead_events import DeadEvent, DeadEvents
from deployments.console import console
from deployments.explaining import JsonOption, plain_table, say
from deployments.runs import in_session, run_to_end
from tasks.clients.store import get_store

app = typer.Typer()


@app.command()
@in_session
async def webhooks(
    replay: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Send this event once more; `all` sends all."),
    ] = None,
    project: Annotated[str | None, typer.Option(help="Of this project alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List events that webhooks and other receivers did not get, or send them once more."""
    if replay:
        ids = None if "all" in replay else replay
        await run_to_end("replay_events/replay_events", {"ids": ids})
        say("All of them were sent.")
        return
    events = await DeadEvents(await get_store()).newest(project, limit=limit)
    rows = [_describe(event) for event in events]
    if as_json:
        console.print_json(data=rows)
    elif not rows:
        say("Receivers got all events, or are still tried.")
    else:
        table = plain_table("id", "type", "receiver", "code", "age", "why", whole="id")
        for row in rows:
            age = str(timedelta(seconds=round(row["age_s"])))
            cells = (row["id"], row["type"], row["receiver"], row["code"], age, row["why"])
            table.add_row(*map(escape, cells))
        console.print(table)


def _describe(event: DeadEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type or "(deleted)",
        "receiver": show_webhook(event.address) if event.address else event.kind,
        "code": event.code,
        "age_s": max(0.0, (datetime.now(UTC) - event.at).total_seconds()),
        "at": event.at.isoformat(),
        "why": event.reason,
    }

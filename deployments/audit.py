"""The command `audit`: what people did about the system."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape

from aletheia.audit_trail import Act, list_acts
from deployments.console import console
from deployments.explaining import JsonOption, plain_table, say
from deployments.runs import in_session
from tasks.clients.store import get_store

app = typer.Typer()


@app.command()
@in_session
async def audit(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List what people did, newest first: when, who, from where, what."""
    show_acts(await list_acts(await get_store(), limit), as_json=as_json)


def show_acts(acts: Sequence[Act], *, as_json: bool) -> None:
    """Print what people did."""
    if as_json:
        console.print_json(
            data=[
                {
                    "at": act.at.isoformat(),
                    "who": act.who,
                    "from": act.source,
                    "action": act.action,
                    "details": dict(act.details),
                }
                for act in acts
            ],
            default=str,
        )
    elif not acts:
        say("Nobody has done anything yet.")
    else:
        table = plain_table("at", "who", "from", "what", "with", whole="at")
        for act in acts:
            given = {name: value for name, value in act.details.items() if value is not None}
            written = json.dumps(given, ensure_ascii=False, default=str) if given else ""
            cells = (f"{act.at:%Y-%m-%d %H:%M:%S}", act.who, act.source, act.action, written)
            table.add_row(*map(escape, cells))
        console.print(table)

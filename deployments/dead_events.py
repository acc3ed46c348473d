"""The command `webhooks`: list events that receivers did not get, send them once more."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aletheia.adapters.events.webhook import redact
from aletheia.events.dead_events import DeadEvent, DeadEvents
from aletheia.events.log import EventLog
from deployments.runs import run_to_end
from tasks.clients.store import get_store
from tasks.session import open_session

DEPLOYMENT: Final = "replay_events/replay_events"

_COLUMNS: Final = ("id", "type", "receiver", "code", "age", "why")


def read_dead_events(project_id: str | None, limit: int) -> list[DeadEvent]:
    """List the newest events (of a project) that receivers did not get, newest first."""

    async def read() -> list[DeadEvent]:
        async with open_session():
            store = await get_store()
            return await DeadEvents(store, EventLog(store)).newest(project_id, limit=limit)

    return asyncio.run(read())


def replay(ids: Sequence[str], console: Console) -> None:
    """Send events once more at the workers; `all` for all of them."""
    wanted = None if "all" in ids else list(ids)
    asyncio.run(run_to_end(DEPLOYMENT, {"ids": wanted}, console))


def show(events: Sequence[DeadEvent], console: Console, *, as_json: bool) -> None:
    """Print events that receivers did not get."""
    rows = [_describe(event) for event in events]
    if as_json:
        console.print_json(json.dumps(rows))
        return
    if not rows:
        console.print("Receivers got all events, or are still tried.")
        return
    table = Table(*_COLUMNS, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(escape(str(row[name])) for name in _COLUMNS))
    console.print(table)


def _describe(event: DeadEvent) -> dict[str, Any]:
    age_s = (datetime.now(UTC) - event.at).total_seconds()
    days, hours = divmod(round(age_s / 3600), 24)
    return {
        "id": event.id,
        "type": event.type or "(deleted)",
        "receiver": redact(event.address) if event.address else event.kind,
        "code": event.code,
        "age": f"{days} d {hours} h" if days else f"{round(age_s / 60)} min",
        "at": event.at.isoformat(),
        "why": event.reason,
    }

"""Commands about intake: its status, pause and resume, replay."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Sequence

from prefect.client.orchestration import get_client
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aletheia.intake.ledger import Ledger
from aletheia.intake.models import ShiftReport
from aletheia.settings import IntakeSettings
from aletheia.status import SystemStatus
from deployments.setup import check_server
from flows.replay import replay_dead_letters
from tasks.clients.store import get_store
from tasks.session import open_session
from tasks.status import read_system_status

STATES = {
    "claimed": "ours; `processing` not acknowledged yet",
    "processing": "being computed",
    "waiting": "deferred after `processing`",
    "kept": "computed; the report is not acknowledged yet",
    "reported": "done",
    "conflict": "settled elsewhere",
    "dead": "the upstream refuses the claim or the report",
    "superseded": "the upstream changed the task meanwhile",
    "rejected": "entries that have no usable id, or cannot be worked on",
}


def read_status() -> SystemStatus:
    """Read the status of everything, from the saved store."""

    async def read() -> SystemStatus:
        async with open_ledger() as ledger:
            return await read_system_status(ledger.overview)

    return asyncio.run(read())


def set_paused(*, is_paused: bool) -> None:
    """Pause or resume intake as a whole; every shift obeys within one tick."""

    async def write() -> None:
        async with open_ledger() as ledger:
            await ledger.set_paused(is_paused=is_paused)

    asyncio.run(write())


def replay(ids: Sequence[str] | None, code: str | None, limit: int) -> ShiftReport:
    """Send dead letters through once more, here and now."""

    async def send() -> ShiftReport:
        async with get_client() as client:
            await check_server(client)
        return await replay_dead_letters(ids=None if not ids else list(ids), code=code, limit=limit)

    return asyncio.run(send())


def show_status(status: SystemStatus, console: Console, *, as_json: bool) -> None:
    """Print the status of everything."""
    if as_json:
        console.print_json(json.dumps(status.as_json()))
        return
    overview = status.intake
    state = "[yellow]paused[/]: `aletheia intake resume`" if overview.is_paused else "open"
    console.print(f"Intake is {state}.")
    table = Table("tasks", "state", "", box=None, padding=(0, 2, 0, 0))
    for name, meaning in STATES.items():
        if count := overview.states.get(name):
            table.add_row(f"{count:,}", name, f"[dim]{meaning}[/]")
    if not overview.states:
        table.add_row("0", "", "[dim]the ledger is empty[/]")
    console.print(table)
    for warning in overview.warnings():
        console.print(f"[yellow]Warning:[/] {escape(warning)}")
    console.print(f"Leases: {overview.held:,} held, {overview.expired:,} run out.")
    console.print(f"Dead letters: {sum(overview.dead.values()):,}.")
    for code, count in sorted(overview.dead.items()):
        console.print(f"  {count:,} {code}", markup=False)
    if rows := status.rows():
        table = Table("what", "state", "", box=None, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(
                escape(row["what"]), escape(row["state"]), f"[dim]{escape(row['note'])}[/]"
            )
        console.print()
        console.print(table)


@contextlib.asynccontextmanager
async def open_ledger() -> AsyncGenerator[Ledger]:
    """Open the ledger in the saved store, for a command."""
    async with open_session():
        yield Ledger(await get_store(), IntakeSettings(), owner="the command line")

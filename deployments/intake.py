"""What an operator asks of intake: how it stands, stop, go on, once more."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, Sequence

from prefect.client.orchestration import get_client
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aletheia.intake.ledger import Ledger, Overview
from aletheia.intake.models import ShiftReport
from aletheia.settings import IntakeSettings
from deployments.setup import check_server
from flows.replay import replay_dead_letters
from tasks.clients.store import get_store
from tasks.providers import ProviderStatus, read_standing
from tasks.session import open_session

STATES = {
    "claimed": "ours; `processing` not acknowledged yet",
    "processing": "being computed",
    "waiting": "held up after `processing`",
    "kept": "computed; the report is not acknowledged yet",
    "reported": "done",
    "conflict": "settled elsewhere",
    "dead": "the upstream refuses the claim or the report",
    "superseded": "the upstream changed the task meanwhile",
    "rejected": "entries without a usable id",
}


def read_status() -> tuple[Overview, ProviderStatus]:
    """Count what is in the ledger of the saved store, and read what may hold up a request."""

    async def read() -> tuple[Overview, ProviderStatus]:
        async with _ledger() as ledger:
            return await ledger.overview(), await read_standing()

    return asyncio.run(read())


def set_paused(*, is_paused: bool) -> None:
    """Stop intake as a whole, or let it go on; every shift obeys within one tick."""

    async def write() -> None:
        async with _ledger() as ledger:
            await ledger.set_paused(is_paused=is_paused)

    asyncio.run(write())


def replay(ids: Sequence[str] | None, code: str | None, limit: int) -> ShiftReport:
    """Send dead letters through once more, here and now."""

    async def send() -> ShiftReport:
        async with get_client() as client:
            await check_server(client)
        return await replay_dead_letters(ids=None if not ids else list(ids), code=code, limit=limit)

    return asyncio.run(send())


def show_status(
    overview: Overview, standing: ProviderStatus, console: Console, *, as_json: bool
) -> None:
    """Print how intake and the providers stand."""
    if as_json:
        console.print_json(json.dumps(dataclasses.asdict(overview) | standing.as_json()))
        return
    state = "[yellow]paused[/]: `aletheia intake resume`" if overview.is_paused else "open"
    console.print(f"Intake is {state}.", highlight=False)
    table = Table("tasks", "state", "", box=None, padding=(0, 2, 0, 0))
    for name, meaning in STATES.items():
        if count := overview.states.get(name):
            table.add_row(f"{count:,}", name, f"[dim]{meaning}[/]")
    if not overview.states:
        table.add_row("0", "", "[dim]the ledger is empty[/]")
    console.print(table)
    console.print(f"Leases: {overview.held:,} held, {overview.expired:,} run out.", highlight=False)
    letters = sum(overview.dead.values())
    console.print(f"Dead letters: {letters:,}.", highlight=False)
    for code, count in sorted(overview.dead.items()):
        console.print(f"  {count:,} {code}", highlight=False, markup=False)
    if rows := standing.rows():
        table = Table("what", "state", "", box=None, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(
                escape(row["what"]), escape(row["state"]), f"[dim]{escape(row['note'])}[/]"
            )
        console.print()
        console.print(table)


@contextlib.asynccontextmanager
async def _ledger() -> AsyncGenerator[Ledger]:
    async with open_session():
        yield Ledger.from_settings(await get_store(), IntakeSettings(), owner="the command line")

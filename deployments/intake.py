"""Commands about intake: its status, pause and resume, dead letters and what became of a task."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from aletheia.analysis.processor import Lane
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import IntakeStatus
from aletheia.intake.trace import ModelCall, Trace, read_traces
from aletheia.status import SystemStatus
from deployments.console import console
from deployments.explaining import JsonOption, plain_table, say
from deployments.runs import in_session, run_to_end
from tasks.auditing import record_command
from tasks.clients.store import get_store
from tasks.session import current_session
from tasks.status import read_system_status

app = typer.Typer()
intake = typer.Typer(
    help="Pause or resume intake: all of it, a lane, or a task type.", no_args_is_help=True
)
app.add_typer(intake, name="intake")

CodeOption = Annotated[str | None, typer.Option(help="Only dead letters with this code.")]
LaneOption = Annotated[Lane | None, typer.Option(help="Only this lane.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Only this task type.")]
LimitOption = Annotated[int, typer.Option(min=1, help="Maximum number.")]

STATES = {
    "claimed": "ours; `processing` not acknowledged yet",
    "processing": "being computed",
    "queued": "handed over to a lane; waits for a worker",
    "waiting": "deferred after `processing`",
    "kept": "computed; the report is not acknowledged yet",
    "reported": "done",
    "conflict": "settled elsewhere",
    "dead": "the upstream refuses the claim or the report",
    "superseded": "the upstream changed the task meanwhile",
    "rejected": "entries that have no usable id, or cannot be worked on",
}


async def _get_ledger() -> Ledger:
    return Ledger(await get_store(), current_session().settings.intake, owner="the command line")


@app.command()
@in_session
async def status(as_json: JsonOption = False) -> None:
    """Show queue, leases, dead letters, breakers, limits, budgets, and what waits for the Brain."""
    found = await read_system_status(await (await _get_ledger()).overview())
    if as_json:
        console.print_json(data=found.as_json())
    else:
        _show_status(found)


@intake.command()
@in_session
async def pause(lane: LaneOption = None, task_type: TypeOption = None) -> None:
    """Claim nothing more, of a lane or type where one is named; what is begun is finished.

    Every shift obeys within one tick.
    """
    await record_command(await get_store(), "intake pause", _name_scope(lane, task_type))
    await (await _get_ledger()).set_paused(is_paused=True, lane=lane, task_type=task_type)
    if lane or task_type:
        named = f"Lane {lane}" if lane else f"The type {(task_type or '').lower()}"
        say(f"{named} is paused: its tasks stay where they are until it is resumed.")
    else:
        say("Intake is paused. Shifts claim nothing until `aletheia intake resume`.")


@intake.command()
@in_session
async def resume(lane: LaneOption = None, task_type: TypeOption = None) -> None:
    """Allow shifts to claim tasks again, of a lane or type where one is named."""
    await record_command(await get_store(), "intake resume", _name_scope(lane, task_type))
    ledger = await _get_ledger()
    await ledger.set_paused(is_paused=False, lane=lane, task_type=task_type)
    left = await ledger.pauses()
    still = [*sorted(left.lanes), *sorted(left.types)]
    state = "paused" if left.is_all else "open"
    say(f"Intake is {state}{', but for ' + ', '.join(still) if still and not left.is_all else ''}.")


def _name_scope(lane: Lane | None, task_type: str | None) -> dict[str, str]:
    """Name what a pause is about, for the audit log; all of intake where nothing is named."""
    scope = {"lane": lane, "type": task_type}
    return {name: value for name, value in scope.items() if value is not None}


@intake.command()
@in_session
async def release(
    older_than: Annotated[
        float, typer.Option(min=1, metavar="MINUTES", help="Claims that were taken before that.")
    ],
) -> None:
    """End leases of processes that are gone, so that the next tick takes their claims over.

    A process that lives after all notices, and leaves what was taken from it alone.
    """
    details = {"older_than_minutes": older_than}
    await record_command(await get_store(), "intake release", details)
    count = await (await _get_ledger()).waking.release(older_than_s=older_than * 60)
    say(f"{count:,} claims are released; the next tick takes them over.")


@app.command()
@in_session
async def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Tasks; without any: all.")] = None,
    code: CodeOption = None,
    limit: LimitOption = 1000,
) -> None:
    """Send dead letters through once more."""
    choice = {"ids": ids or None, "code": code, "limit": limit}
    say(await run_to_end("replay_dead_letters/replay_dead_letters", choice))


@app.command()
@in_session
async def dead_letters(
    code: CodeOption = None, limit: LimitOption = 100, as_json: JsonOption = False
) -> None:
    """List tasks that failed for good, newest first: id, type, code, message, age."""
    found = await (await _get_ledger()).dead_letters.newest(code=code, limit=limit)
    if as_json:
        console.print_json(data=[dead_letter.model_dump() for dead_letter in found])
    elif not found:
        say("There are no dead letters.")
    else:
        table = plain_table(*found[0].as_row())
        for dead_letter in found:
            table.add_row(*map(escape, dead_letter.as_row().values()))
        console.print(table)


@app.command()
@in_session
async def trace(
    task_id: Annotated[str, typer.Argument(help="As the upstream lists it.")],
    as_json: JsonOption = False,
) -> None:
    """Show what the ledger knows of one task, in order."""
    found = await read_traces((await _get_ledger()).rows.documents, task_id)
    if as_json:
        console.print_json(data=[trace.model_dump(mode="json") for trace in found])
    elif not found:
        say("The ledger knows no such task.")
    else:
        for known in found:
            _show_trace(known)
    if not found:
        raise typer.Exit(1)


def _show_status(status: SystemStatus) -> None:
    overview = status.intake
    state = "[yellow]paused[/]: `aletheia intake resume`" if overview.is_paused else "open"
    console.print(f"Intake is {state}.")
    for kind, names in (("lane", overview.paused_lanes), ("type", overview.paused_types)):
        for name in names:
            console.print(f"The {kind} {name} is [yellow]paused[/].")
    table = plain_table("tasks", "state", "")
    for name, meaning in STATES.items():
        if count := overview.states.get(name):
            table.add_row(f"{count:,}", name, f"[dim]{meaning}[/]")
    if not overview.states:
        table.add_row("0", "", "[dim]the ledger is empty[/]")
    console.print(table)
    for finding in status.findings:
        console.print(f"[yellow]Finding:[/] {escape(str(finding))}")
    show_leases(overview)
    console.print(f"Dead letters: {sum(overview.dead.values()):,}.")
    for code, count in sorted(overview.dead.items()):
        console.print(f"  {count:,} {code}", markup=False)
    if rows := status.rows():
        table = plain_table("what", "state", "")
        for row in rows:
            table.add_row(
                escape(row["what"]), escape(row["state"]), f"[dim]{escape(row['note'])}[/]"
            )
        console.print()
        console.print(table)


def show_leases(overview: IntakeStatus) -> None:
    """Print who holds claims until when, and when tasks that wait go on."""
    console.print(f"Leases: {overview.held:,} held, {overview.expired:,} run out.")
    for holder in overview.holders:
        until = _write_time(holder.until_s)
        console.print(f"  {holder.claims:,} by {holder.owner}, until {until}", markup=False)
    if overview.holders:
        console.print("  [dim]`aletheia intake release` ends those of processes that are gone[/]")
    if overview.waiting_until_s is not None:
        console.print(f"Waiting tasks go on from {_write_time(overview.waiting_until_s)} on.")


def _write_time(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _show_trace(trace: Trace) -> None:
    console.print(f"{trace.task_id}: {trace.state}", style="bold", markup=False)
    table = plain_table("", "")
    table.show_header = False
    for event in trace.events:
        table.add_row(f"{event.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], escape(event.what))
    for call in trace.calls:
        table.add_row(f"{call.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], escape(_describe_call(call)))
    for name, value in trace.facts.items():
        table.add_row(name, escape(value if isinstance(value, str) else json.dumps(value)))
    console.print(table)


def _describe_call(call: ModelCall) -> str:
    used = f"{call.tokens_in + call.tokens_out:,} tokens, {call.usd} USD"
    together = f", {call.tasks:,} tasks together" if call.tasks > 1 else ""
    return f"{call.kind} by {call.model} of {call.provider}, {call.state}: {used}{together}"

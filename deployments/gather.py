"""Commands about gather runs: start and follow one, resume one."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final

import orjson
import typer
from typer.core import TyperGroup

from aletheia.errors import InvalidTask
from aletheia.events.log import EventLog, SavedEvent
from aletheia.gather.progress import Run, find_unreadable
from aletheia.gather.runs import GatherRuns
from aletheia.store.project_id import check_project_id
from deployments.console import console
from deployments.decisions import (
    drop_possible_repetition,
    list_duplicates,
    undo_duplicate,
)
from deployments.event_lines import describe
from deployments.explaining import ProjectArgument, UserOption, say
from deployments.runs import explain_end, in_session, run_to_end, start_recorded, wait_for_run
from tasks.clients.store import get_store

POLL_EVERY_S: Final = 0.5
"""Between two polls for new events, seconds."""

STRAGGLER_S: Final = 3.0
"""For the last event of a run that is over, seconds."""


class ProjectOrCommand(TyperGroup):
    """A group that passes a first word which names no command to `start`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `start` before arguments that name no command and ask for no help."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["start", *args]
        return super().parse_args(ctx, args)


app = typer.Typer()
group = typer.Typer(
    cls=ProjectOrCommand,
    help="Fill the departments of a project with items: `gather PROJECT`, short for `gather start "
    "PROJECT`, starts a run and follows it.",
    no_args_is_help=True,
    subcommand_metavar="PROJECT | COMMAND [ARGS]...",
)
app.add_typer(group, name="gather")


@group.command()
@in_session
async def start(
    project: ProjectArgument,
    user: UserOption = "operator",
    max_iterations: Annotated[int, typer.Option(min=1, help="Of the whole run.")] = 50,
    evaluate: Annotated[
        bool, typer.Option(help="Evaluate departments that reach their threshold.")
    ] = True,
    webhook: Annotated[
        str | None,
        typer.Option(help="Where its events go too: https://… or block:NAME of a Secret block."),
    ] = None,
) -> None:
    """Start a run, and follow it to its end; also for a project that is named like a command."""
    check_project_id(project)
    parameters = {
        "project_id": project,
        "user_id": user,
        "max_iterations": max_iterations,
        "enable_auto_evaluation": evaluate,
        "webhook_url": webhook,
    }
    log = EventLog(await get_store())
    before = await log.end(project)
    run = await start_recorded("automated_gather_creation/automated_gather_creation", parameters)
    console.print(f"Run {run.name}, {run.id}", markup=False)
    following = asyncio.create_task(_follow(log, project, before, str(run.id)))
    ending = asyncio.create_task(wait_for_run(run.id))
    try:
        await asyncio.wait({following, ending}, return_when=asyncio.FIRST_COMPLETED)
        # The last event of a run that is over may have been added since the log was read.
        await asyncio.wait({following}, timeout=STRAGGLER_S)
        if not following.done():
            raise explain_end(run.id, ending.result())
        last = following.result()
    finally:
        following.cancel()
        ending.cancel()
        await asyncio.gather(following, ending, return_exceptions=True)
    ended = await GatherRuns(await get_store()).load(str(run.id))
    if not show_end(last, ended):
        raise typer.Exit(1)


@group.command()
@in_session
async def resume(
    run: Annotated[str, typer.Argument(help="Id of the flow run.")],
    max_iterations: Annotated[
        int | None, typer.Option(min=1, help="Of the whole run, those that are done included.")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="DEPARTMENT=X", help="Quality at which a department is done; 0..100."),
    ] = None,
) -> None:
    """Resume a run that is suspended, failed or lost its process; change its bounds."""
    thresholds = read_thresholds(threshold or [])
    changes = {"run_id": run, "max_iterations": max_iterations, "thresholds": thresholds}
    say(await run_to_end("resume_gather/resume_gather", changes))


group.command("duplicates")(list_duplicates)
group.command("drop")(drop_possible_repetition)
group.command("undo")(undo_duplicate)


def read_thresholds(words: Sequence[str]) -> dict[str, float]:
    """Read thresholds from words such as `legal=85`."""
    thresholds: dict[str, float] = {}
    for word in words:
        slug, is_given, number = word.rpartition("=")
        try:
            thresholds[slug] = float(number)
        except ValueError:
            is_given = ""
        if not slug or not is_given:
            raise InvalidTask("invalid_override", f"--threshold takes DEPARTMENT=X, not {word!r}")
    return thresholds


def show_end(last: SavedEvent, run: Run) -> bool:
    """Print the last event and the warnings of a run; return whether it completed.

    One that fails, as no answer could be read, has the last event of one that completes.
    """
    unreadable = find_unreadable(run.progress)
    if not unreadable:
        console.print(describe(last))
    for warning in filter(None, (*run.warnings, unreadable)):
        console.print(warning, style="yellow", markup=False)
    return orjson.loads(last.body)["type"] == "automation_complete" and not unreadable


async def _follow(log: EventLog, project_id: str, after: int, run_id: str) -> SavedEvent:
    """Print the events of a run but the last one, which is returned."""
    following = log.follow(project_id, after=after, interval_s=POLL_EVERY_S)
    async with aclosing(following):
        async for event in following:
            if event.run_id != run_id:
                continue
            if event.is_last:
                return event
            console.print(describe(event))
    raise AssertionError

"""Commands about gather runs: start and follow one, resume one."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final
from uuid import UUID

import orjson
from prefect.client.orchestration import get_client
from rich.console import Console

from aletheia.errors import InvalidTask
from aletheia.events.log import EventLog, SavedEvent
from aletheia.gather.models import Run
from aletheia.gather.progress import find_unreadable
from aletheia.gather.runs import GatherRuns
from aletheia.store.project_id import check_project_id
from deployments.event_lines import describe
from deployments.runs import explain_end, run_to_end
from tasks.clients.store import get_store
from tasks.runs import start_run
from tasks.session import open_session

DEPLOYMENT: Final = "automated_gather_creation/automated_gather_creation"
RESUME: Final = "resume_gather/resume_gather"

LOOK_EVERY_S: Final = 0.5
"""Between two looks for new events, seconds."""

STATE_EVERY_S: Final = 3.0
"""Between two looks at the run itself, seconds."""


def gather(
    project_id: str,
    user_id: str,
    console: Console,
    *,
    max_iterations: int,
    is_evaluated: bool,
    webhook_url: str | None,
) -> bool:
    """Start a run at the workers, print its events; return whether it completed."""
    check_project_id(project_id)
    parameters = {
        "project_id": project_id,
        "user_id": user_id,
        "max_iterations": max_iterations,
        "enable_auto_evaluation": is_evaluated,
        "webhook_url": webhook_url,
    }

    async def start_and_follow() -> bool:
        async with open_session():
            log = EventLog(await get_store())
            before = await log.end(project_id)
            run = await start_run(DEPLOYMENT, parameters)
            console.print(f"Run {run.name}, {run.id}", markup=False)
            following = asyncio.create_task(_follow(log, project_id, before, str(run.id), console))
            try:
                last = await _await_end(following, run.id)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            ended = await GatherRuns(await get_store()).load(str(run.id))
            return show_end(last, ended, console)

    return asyncio.run(start_and_follow())


def resume(
    run_id: str, max_iterations: int | None, thresholds: Mapping[str, float], console: Console
) -> str:
    """Resume a run, by a run at the workers; return what becomes of it, in words.

    `max_iterations` are those of the whole run, `thresholds` qualities by a department's slug.
    """
    changes = {"max_iterations": max_iterations, "thresholds": dict(thresholds)}
    state = asyncio.run(run_to_end(RESUME, {"run_id": run_id, **changes}, console))
    return state.message or ""


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


def show_end(last: SavedEvent, run: Run, console: Console) -> bool:
    """Print the last event and the warnings of a run; return whether it completed.

    One that fails, as no answer could be read, has the last event of one that completes.
    """
    unreadable = find_unreadable(run.progress)
    if not unreadable:
        console.print(describe(last))
    for warning in filter(None, (*run.warnings, unreadable)):
        console.print(warning, style="yellow", highlight=False, markup=False)
    return orjson.loads(last.body)["type"] == "automation_complete" and not unreadable


async def _follow(
    log: EventLog, project_id: str, after: int, run_id: str, console: Console
) -> SavedEvent:
    """Print the events of a run but the last one, which is returned."""
    following = log.follow(project_id, after=after, interval_s=LOOK_EVERY_S)
    async with aclosing(following):
        async for event in following:
            if event.run_id != run_id:
                continue
            if event.is_last:
                return event
            console.print(describe(event))
    raise AssertionError


async def _await_end(following: asyncio.Task[SavedEvent], run_id: UUID) -> SavedEvent:
    """Wait for a run's last event, and check now and then that it may still come."""
    async with get_client() as client:
        while not following.done():
            state = (await client.read_flow_run(run_id)).state
            # The last event of a run that is over may have been added since the log was read.
            await asyncio.wait({following}, timeout=STATE_EVERY_S)
            if not following.done() and state is not None and state.is_final():
                raise explain_end(run_id, state)
    return following.result()

"""Commands about gather runs: start and follow one, resume one."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final
from uuid import UUID

import orjson
from prefect.client.orchestration import get_client
from rich.console import Console

from aletheia.errors import AletheiaError, InvalidTask
from aletheia.events.log import EventLog
from aletheia.store.project_id import check_project_id
from deployments.event_lines import describe
from tasks.clients.store import get_store
from tasks.gather_resuming import resume_gather_run
from tasks.runs import start_run
from tasks.session import open_session

DEPLOYMENT: Final = "automated_gather_creation/automated_gather_creation"

LOOK_EVERY_S: Final = 0.5
"""Between two looks for new events, seconds."""

STATE_EVERY_S: Final = 3.0
"""Between two looks at the run itself, seconds."""


class GatherEnded(AletheiaError):
    """A gather run ended without a report.

    Args:
        run_id: the run.
        state: how it ended.
        reason: what Prefect says about it.
    """

    code = "gather_ended"

    def __init__(self, run_id: str, state: str, reason: str) -> None:
        super().__init__(run_id, state, reason)
        self.run_id, self.state, self.reason = run_id, state, reason

    def __str__(self) -> str:
        return f"run {self.run_id} is {self.state}: {self.reason}"


def gather(
    project_id: str,
    user_id: str,
    console: Console,
    *,
    max_iterations: int,
    is_evaluated: bool,
    webhook_url: str | None,
) -> bool:
    """Start a run at the workers and print its events until its end; return whether it completed.

    Raises:
        InvalidTask: `invalid_project_id`.
        Misconfigured: the flow is not deployed.
        Unavailable: Prefect does not take the run.
        GatherEnded: the run ended without a report.
    """
    check_project_id(project_id)
    parameters = {
        "project_id": project_id,
        "user_id": user_id,
        "max_iterations": max_iterations,
        "enable_auto_evaluation": is_evaluated,
        "webhook_url": webhook_url,
    }
    return asyncio.run(_start_and_follow(project_id, parameters, console))


def resume(run_id: str, max_iterations: int | None, thresholds: Mapping[str, float]) -> str:
    """Resume a run from this process; return what becomes of it, in words.

    Args:
        run_id: of the flow run.
        max_iterations: of the whole run; `None` leaves them.
        thresholds: quality, 0 to 100, by a department's slug.

    Raises:
        AletheiaError: it cannot go on, or not with these.
    """
    return asyncio.run(resume_gather_run(run_id, max_iterations, thresholds))


def read_thresholds(words: Sequence[str]) -> dict[str, float]:
    """Read thresholds from words such as `legal=85`.

    Raises:
        InvalidTask: `invalid_override`.
    """
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


async def _start_and_follow(
    project_id: str, parameters: Mapping[str, Any], console: Console
) -> bool:
    async with open_session():
        log = EventLog(await get_store())
        before = await log.end(project_id)
        run = await start_run(DEPLOYMENT, parameters)
        console.print(f"Run {run.name}, {run.id}", highlight=False, markup=False)
        following = asyncio.create_task(_follow(log, project_id, before, str(run.id), console))
        try:
            return await _await_end(following, run.id)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _follow(
    log: EventLog, project_id: str, after: int, run_id: str, console: Console
) -> bool:
    """Print the events of a run; return at the last one whether it completed."""
    following = log.follow(project_id, after=after, interval_s=LOOK_EVERY_S)
    async with aclosing(following):
        async for event in following:
            if event.run_id != run_id:
                continue
            console.print(describe(event), highlight=False)
            if event.is_last:
                return orjson.loads(event.body)["type"] == "automation_complete"
    raise AssertionError


async def _await_end(following: asyncio.Task[bool], run_id: UUID) -> bool:
    """Wait for a run's last event, and check now and then that it may still come."""
    began = time.monotonic()
    async with get_client() as client:
        while True:
            done, _ = await asyncio.wait({following}, timeout=STATE_EVERY_S)
            if done:
                return following.result()
            state = (await client.read_flow_run(run_id)).state
            if state is None or not state.is_final():
                continue
            # The last event may have been added since the log was read.
            done, _ = await asyncio.wait({following}, timeout=STATE_EVERY_S)
            if done:
                return following.result()
            seconds = time.monotonic() - began
            reason = state.message or f"no reason was given; it took {seconds:.0f} s"
            raise GatherEnded(str(run_id), state.type.value.lower(), reason)

"""What an operator asks of gathering: to start a run, and to see how it goes."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final, cast
from uuid import UUID

import orjson
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from rich.console import Console
from rich.markup import escape

from aletheia.errors import AletheiaError, Misconfigured
from aletheia.gather.events import EventLog, KeptEvent, check_project_id
from tasks import warm

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
    """Start a run at the workers and print its events until its end; say whether it completed.

    Raises:
        InvalidTask: `invalid_project_id`.
        Misconfigured: the flow is not deployed.
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


async def _start_and_follow(
    project_id: str, parameters: Mapping[str, Any], console: Console
) -> bool:
    async with warm.kept_open():
        log = EventLog(await warm.store())
        before = await log.end(project_id)
        try:
            started = await cast("Any", run_deployment)(
                DEPLOYMENT, parameters=dict(parameters), timeout=0, as_subflow=False
            )
        except ObjectNotFound:
            raise Misconfigured(DEPLOYMENT, "is not deployed; run `aletheia setup`") from None
        run: FlowRun = started
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
    """Print the events of a run; say at its last one whether it completed."""
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
    """Wait for a run's last event, and see now and then that the run may still have one."""
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


def describe(event: KeptEvent) -> str:
    """Write an event as a line for a terminal."""
    said = orjson.loads(event.body)
    name = escape(str(said.get("department_name") or said.get("department") or ""))
    match said["type"]:
        case "department_started":
            line = f"[bold]{name}[/]  to {said['threshold']:g}, by {escape(said['model'])}"
        case "deduplicating":
            line = f"  [dim]{name}: comparing a batch with what is saved[/]"
        case "iteration_complete":
            line = (
                f"  iteration {said['iteration']} ({said['total_iterations']} in all): "
                f"{said['items_created']} items, quality {said['quality_score']:.1f}"
            )
        case "max_iterations_reached":
            line = f"  [yellow]its iterations are spent[/] at {said['final_quality_score']:.1f}"
        case "department_complete":
            iterations = said["iterations_used"]
            line = f"  done at {said['quality_score']:.1f} after {iterations} iterations"
        case "automation_complete":
            line = (
                f"[green]Complete[/]: {said['items_created']} items in "
                f"{said['total_iterations']} iterations"
            )
        case _:
            line = f"[yellow]Cancelled[/]: {said['items_created_so_far']} items stay"
    return line

"""How a gather run is opened, and what goes on beside its steps until it ends."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Final

from prefect import get_run_logger, task
from prefect.client.schemas.objects import StateType
from prefect.exceptions import Abort
from prefect.runtime import flow_run

from aletheia.gather.attempt import Attempt
from aletheia.gather.errors import LockLost, ProjectBusy, RunOver
from aletheia.gather.progress import Run, RunOrder, share_done
from aletheia.gather.project_lock import HolderState
from aletheia.gather.runs import GatherRuns
from aletheia.items.departments import DepartmentList
from aletheia.store.project_id import check_project_id
from tasks import cancelling
from tasks.artifacts import Progress, moving_bar
from tasks.clients.brain import feeding_brain
from tasks.clients.content import get_departments
from tasks.clients.events import get_event_sinks
from tasks.clients.gather import build_emitter, build_gather_deps
from tasks.clients.store import get_store
from tasks.gather_artifacts import show_run
from tasks.gather_closing import close_if_cancelled, subscribe
from tasks.policies import STEP
from tasks.runs import plan_retry, read_run
from tasks.session import open_session

_HOLDER_STATES: Final[Mapping[StateType, HolderState]] = {
    StateType.RUNNING: "running",
    StateType.CANCELLING: "running",
    StateType.PAUSED: "suspended",
    StateType.SCHEDULED: "waiting",
    StateType.PENDING: "waiting",
}


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run that was opened, or may not begin."""

    id: str
    project_id: str
    refusal: str = ""  # why it may not begin


@contextlib.asynccontextmanager
async def open_run(
    project_id: str, user_id: str, max_iterations: int, webhook_url: str | None
) -> AsyncGenerator[OpenedRun]:
    """Open a run, or resume it; while it is open, its events are sent and its items indexed.

    A run that is cancelled is closed; one that is suspended, or fails, keeps its project.

    `webhook_url`: where its events are posted; `None` posts none.

    Yields:
        The run, which may be refused: another one works on the project, or it was cancelled.
    """
    async with cancelling.watching() as watch:
        try:
            run_id = str(flow_run.id)
            order = RunOrder(run_id, check_project_id(project_id), user_id, max_iterations)
            async with open_session(watch=watch) as session, _abandoning(run_id):
                sinks = await get_event_sinks(webhook_url)
                deps = await build_gather_deps(order)
                try:
                    run = await deps.runs.open(order, list_departments, _settle)
                except ProjectBusy as busy:
                    yield OpenedRun(run_id, project_id, str(busy))
                    return
                fan_out = await subscribe(run, sinks, webhook_url)
                attempt = Attempt(deps, run, await build_emitter(fan_out.nudge))
                holding = _holding(deps.runs, run, attempt)
                async with fan_out.feeding(project_id), feeding_brain(project_id), holding:
                    await attempt.emit()
                    session.clients.share(attempt, run_id)
                    yield OpenedRun(run_id, project_id, _refusal_of(run))
        except Exception as error:
            await plan_retry(error)
            raise


def _refusal_of(run: Run) -> str:
    """Return why a run that was opened does nothing: it was cancelled, and another one followed."""
    if run.report is None or run.report.status != "cancelled":
        return ""
    said = "was cancelled, and its project was another run's since; start another one"
    return f"Run {run.id} {said}."


@contextlib.asynccontextmanager
async def _abandoning(run_id: str) -> AsyncGenerator[None]:
    """Leave the state of the run alone if another attempt has it, or somebody has closed it."""
    try:
        yield
    except LockLost as lost:
        with contextlib.suppress(RunOver):
            await GatherRuns(await get_store()).load_open(run_id)
        raise Abort(str(lost)) from lost


@contextlib.asynccontextmanager
async def _holding(runs: GatherRuns, run: Run, attempt: Attempt) -> AsyncGenerator[None]:
    """Keep the project for the run, and close the run if it is cancelled."""
    if run.report is not None:
        yield
        return
    bar = Progress("Departments that are done, and iterations of the next one.")
    async with (
        runs.holding(run),
        moving_bar(bar, lambda: (100 * share_done(attempt.run.progress), "")),
    ):
        try:
            yield
        except asyncio.CancelledError:
            await cancelling.finish(_close_if_cancelled(attempt))
            raise


async def _close_if_cancelled(attempt: Attempt) -> None:
    """Close a run that was cancelled; one that is out of time continues in its next attempt."""
    try:
        found = await read_run(attempt.run.id)
        state = None if found is None else found.state
        if state is not None and cancelling.is_cancelled(state):
            await attempt.close_cancelled()
            await show_run(attempt.run, is_mock=attempt.is_mock)
    except Exception:  # noqa: BLE001 - it ends as cancelled, and whoever takes the project closes it
        get_run_logger().exception("the cancelled run could not be closed")


@task(name="list_departments", task_run_name="list-departments", **STEP)
async def list_departments() -> DepartmentList:
    """Read the departments that take part, in the order of their numbers."""
    return await (await get_departments()).list_departments()


async def _settle(run_id: str) -> HolderState:
    """Return the state of the run that has the project; close it if it was cancelled."""
    run = await read_run(run_id)
    if run is None or run.state is None:
        return "unknown"
    state: HolderState = _HOLDER_STATES.get(run.state.type, "ended")
    if state == "ended":
        await close_if_cancelled(run_id)
    return state

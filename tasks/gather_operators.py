"""What is done to gather runs from outside: they are let go on, or closed after their process."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from prefect import task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.logging import get_logger
from prefect.states import AwaitingRetry

from aletheia.adapters.events.webhook import WEBHOOK
from aletheia.errors import AletheiaError, InvalidTask
from aletheia.events.delivery import FanOut
from aletheia.events.log import EventLog
from aletheia.events.ports import EventSink
from aletheia.gather.errors import RunSuperseded, UnknownRun
from aletheia.gather.models import Run
from aletheia.gather.overrides import Overrides
from aletheia.gather.resumption import NotResumable, Step, choose_step, describe_step
from aletheia.gather.runs import GatherRuns
from tasks.clients.chat import get_chat
from tasks.clients.content import get_content
from tasks.clients.events import get_event_sinks
from tasks.clients.gather import build_emitter
from tasks.clients.store import get_store
from tasks.gather_views import show_run
from tasks.policies import STEP
from tasks.session import open_session

log = get_logger(__name__)

UNTOLD_AFTER_S: Final = 60.0
"""A run that ended before that and has not said so has no process any more, seconds."""


@task(name="resume_run", task_run_name="resume-{run_id}", **STEP)
async def resume_run(
    run_id: str, max_iterations: int | None, thresholds: dict[str, float] | None
) -> str:
    """Change what a run may do and have it go on; return what becomes of it, in some sentences."""
    return await let_go_on(run_id, max_iterations, thresholds)


async def let_go_on(
    run_id: str, max_iterations: int | None, thresholds: Mapping[str, float] | None
) -> str:
    """Change what a run may do and have it go on; return what becomes of it, in some sentences.

    Args:
        run_id: of the flow run.
        max_iterations: of the whole run; `None` leaves them.
        thresholds: quality, 0 to 100, by a department's slug.

    Raises:
        UnknownRun: there is none.
        RunOver: it is over.
        RunSuperseded: another run has taken its project over.
        NotResumable: Prefect cannot have it go on.
        InvalidTask: `invalid_override`.
    """
    overrides = _read_overrides(max_iterations, thresholds or {})
    async with open_session(), get_client() as client:
        runs = GatherRuns(await get_store())
        run = await runs.load(run_id)
        found = await _read_run(client, run_id)
        if found is None or found.state is None:
            raise NotResumable(run_id, "Prefect does not know it any more; start another one")
        state = found.state
        is_abandoned = await runs.is_abandoned(run_id)
        is_lost = state.is_running() and is_abandoned
        # One that lost its process at its very end has only to say so.
        is_unsaid = run.report is not None and (state.is_failed() or state.is_crashed() or is_lost)
        if not is_unsaid or overrides != Overrides():
            await runs.load_open(run_id)
        step = choose_step(run_id, state.type.value, is_abandoned=is_abandoned)
        await _override(runs, run_id, overrides)
        await _take(client, found, step)
        name = "lost" if is_lost else str(state.name).lower()
        return describe_step(await runs.load(run_id), step, overrides, state=name)


async def close_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Close a run that was cancelled, unless it has done so itself.

    A hook of its flow, which Prefect calls once the run's process has ended, in another process.
    """
    del flow, state
    run_id = str(flow_run.id)
    # A worker calls this for every run that it watches, several at a time.
    async with open_session(run_id):
        await _close(run_id, flow_run.parameters.get("webhook_url"))


async def close_cancelled_runs() -> list[str]:
    """Close the runs that Prefect says are cancelled and the store has open; return their ids.

    To be called while the store is kept open.
    """
    listed = await GatherRuns(await get_store()).list_open()
    return [run_id for run_id in listed if await close_if_cancelled(run_id)]


async def close_if_cancelled(run_id: str) -> bool:
    """Close a run if Prefect says that it is cancelled; tell whether the store had it open.

    To be called while the store is kept open.
    """
    async with get_client() as client:
        found = await _read_run(client, run_id)
    if found is None or found.state is None or not found.state.is_cancelled():
        return False
    try:
        return await _close(run_id, found.parameters.get("webhook_url"))
    except AletheiaError as error:
        log.warning("the cancelled run %s could not be closed: %s", run_id, error)
        return False


async def emit_ended_runs() -> list[str]:
    """Emit the events that runs which are over had no time to emit; return their ids.

    To be called while the store is kept open.
    """
    runs = GatherRuns(await get_store())
    listed = await runs.list_untold(UNTOLD_AFTER_S)
    for run_id in listed:
        await (await build_emitter()).emit(await runs.load(run_id))
        await runs.mark_told(run_id)
    return listed


async def _close(run_id: str, webhook_url: str | None) -> bool:
    """Close a run as cancelled and say all that it has not said; tell whether it was open."""
    store = await get_store()
    runs = GatherRuns(store)
    try:
        run = await runs.overtake(run_id)
    except (UnknownRun, RunSuperseded) as nothing:
        log.info("there is nothing to close: %s", nothing)
        return False
    content = await get_content(run.project_id)
    was_open = run.report is None
    if was_open:
        report = await runs.close(run, "cancelled", await content.count_created(run_id))
        run = replace(run, report=report)
    # The run itself may have been killed after it was closed and before it said so.
    sinks = await get_event_sinks(webhook_url)
    fan_out = FanOut(store, EventLog(store), sinks)
    if was_open:
        # Or even before anybody was to be told of it.
        await subscribe(fan_out, run, sinks, webhook_url)
    async with fan_out.feeding(run.project_id):
        await (await build_emitter()).emit(run)
    await runs.mark_told(run_id)
    if was_open:
        await show_run(run, content, is_mock=(await get_chat()).is_mock)
    return was_open


async def subscribe(
    fan_out: FanOut, run: Run, sinks: Mapping[str, EventSink], webhook_url: str | None
) -> None:
    """See that whoever wants a run's events gets them, from the first on. Idempotent."""
    for kind in sinks:
        address = webhook_url if kind == WEBHOOK else None
        await fan_out.subscribe(run.project_id, run.id, kind, address or "")


def _read_overrides(max_iterations: int | None, thresholds: Mapping[str, float]) -> Overrides:
    try:
        return Overrides(max_iterations, thresholds)
    except ValueError as wrong:
        raise InvalidTask("invalid_override", str(wrong)) from None


async def _override(runs: GatherRuns, run_id: str, overrides: Overrides) -> None:
    if overrides == Overrides():
        return
    try:
        await runs.override(run_id, overrides)
    except ValueError as wrong:
        raise InvalidTask("invalid_override", str(wrong)) from None


async def _read_run(client: PrefectClient, run_id: str) -> FlowRun | None:
    try:
        return await client.read_flow_run(UUID(run_id))
    except (ObjectNotFound, ValueError):
        return None


async def _take(client: PrefectClient, found: FlowRun, step: Step) -> None:
    """Make Prefect do what a run needs in order to resume.

    Raises:
        NotResumable: it does not.
    """
    run_id = str(found.id)
    if step is Step.RESTART:
        if found.deployment_id is None:
            raise NotResumable(run_id, "it is not of a deployment; start another one")
        await client.set_flow_run_state(found.id, AwaitingRetry(), force=True)
    elif step is Step.RESUME:
        result = await client.resume_flow_run(found.id)
        if result.status is not SetStateStatus.ACCEPT:
            reason = getattr(result.details, "reason", None)
            raise NotResumable(run_id, reason or "Prefect gave no reason")

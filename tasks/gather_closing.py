"""How gather runs are closed, and their ends emitted, when their own process did not do it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging import get_logger

from aletheia.errors import AletheiaError
from aletheia.events.delivery import FanOut
from aletheia.events.ports import WEBHOOK, EventSink
from aletheia.gather.errors import RunSuperseded, UnknownRun
from aletheia.gather.progress import Run
from aletheia.gather.runs import GatherRuns
from aletheia.store.patience import Patience
from tasks import cancelling
from tasks.clients.chat import get_chat
from tasks.clients.content import get_content
from tasks.clients.events import get_event_sinks
from tasks.clients.gather import build_emitter
from tasks.clients.store import get_store
from tasks.gather_artifacts import show_run
from tasks.runs import read_run
from tasks.session import open_session

log = get_logger(__name__)

NO_PROCESS_AFTER_S: Final = 60.0
"""A run that ended before that and has not emitted its end has no process any more, seconds."""


async def close_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Close a cancelled run: a hook, which Prefect calls in another process after the run's own."""
    del flow, state
    run_id = str(flow_run.id)
    found = await read_run(run_id)
    if found is not None and found.state is not None and not cancelling.is_cancelled(found.state):
        return  # it was started again
    patience = Patience(max_wait_s=0)
    patience.end()  # others wait for their hooks
    # A worker calls this for every run that it watches, several at a time.
    async with open_session(run_id, patience=patience):
        await _close(run_id, flow_run.parameters.get("webhook_url"))


async def close_cancelled_runs() -> list[str]:
    """Close, in a session, open runs that Prefect has cancelled; return their ids."""
    listed = await GatherRuns(await get_store()).list_open()
    return [run_id for run_id in listed if await close_if_cancelled(run_id)]


async def close_if_cancelled(run_id: str) -> bool:
    """Close, in a session, a run that Prefect has cancelled; return whether it was open."""
    found = await read_run(run_id)
    if found is None or found.state is None or not found.state.is_cancelled():
        return False
    try:
        return await _close(run_id, found.parameters.get("webhook_url"))
    except AletheiaError as error:
        log.warning("the cancelled run %s could not be closed: %s", run_id, error)
        return False


async def emit_ended_runs() -> list[str]:
    """Emit, in a session, the ends of runs whose process did not; return the ids of the runs."""
    runs = GatherRuns(await get_store())
    listed = await runs.list_unemitted(NO_PROCESS_AFTER_S)
    for run_id in listed:
        await (await build_emitter()).emit(await runs.load(run_id))
        await runs.mark_emitted(run_id)
    return listed


async def _close(run_id: str, webhook_url: str | None) -> bool:
    """Close a run as cancelled and emit what it has not emitted; return whether it was open."""
    runs = GatherRuns(await get_store())
    try:
        run = await runs.overtake(run_id)
    except (UnknownRun, RunSuperseded) as nothing:
        log.info("there is nothing to close: %s", nothing)
        return False
    report = run.report
    if report is None:
        created = await (await get_content(run.project_id)).count_created(run_id)
        report = await runs.close(run, "cancelled", created)
    # The run may have been killed after it was closed and before it had emitted its end, or even
    # before its receivers were subscribed.
    fan_out = await subscribe(run, await get_event_sinks(webhook_url), webhook_url)
    was_open, run = run.report is None, replace(run, report=report)
    async with fan_out.feeding(run.project_id):
        await (await build_emitter()).emit(run)
    await runs.mark_emitted(run_id)
    if was_open:
        await show_run(run, is_mock=(await get_chat()).is_mock)
    return was_open


async def subscribe(run: Run, sinks: Mapping[str, EventSink], webhook_url: str | None) -> FanOut:
    """Subscribe all receivers to the events of a run, from the first on, unless it is over."""
    fan_out = FanOut(await get_store(), sinks)
    await fan_out.prepare()
    if run.report is None:
        for kind in sinks:
            address = webhook_url if kind == WEBHOOK else None
            await fan_out.subscribe(run.project_id, run.id, kind, address or "")
    return fan_out

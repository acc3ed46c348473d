"""What is done to gather runs from outside: they are let go on, or closed after their process."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from prefect import task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.logging import get_logger
from prefect.states import AwaitingRetry

from aletheia.adapters.mock_llm import MOCK_MODEL
from aletheia.errors import AletheiaError, InvalidTask
from aletheia.gather.chronicle import Chronicle
from aletheia.gather.events import EventLog
from aletheia.gather.fanout import FanOut
from aletheia.gather.progress import Overrides
from aletheia.gather.resumption import NotResumable, Step, choose_step, describe_step
from aletheia.gather.runs import GatherRuns, RunSuperseded, UnknownRun
from aletheia.settings import LLMSettings
from tasks import warm
from tasks.gather_views import leave_views
from tasks.policies import STEP

log = get_logger(__name__)


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
    async with warm.kept_open(), get_client() as client:
        runs = GatherRuns(await warm.store())
        run = await runs.load(run_id)
        found = await _read_run(client, run_id)
        if found is None or found.state is None:
            raise NotResumable(run_id, "Prefect does not know it any more; start another one")
        state = found.state
        # One that lost its process at its very end has only to say so.
        is_unsaid = run.report is not None and (state.is_failed() or state.is_crashed())
        if not is_unsaid or overrides != Overrides():
            await runs.load_open(run_id)
        is_abandoned = await runs.is_abandoned(run_id)
        step = choose_step(run_id, state.type.value, is_abandoned=is_abandoned)
        await _override(runs, run_id, overrides)
        await _take(client, found, step)
        is_lost = step is Step.RESTART and state.is_running()
        name = "lost" if is_lost else str(state.name).lower()
        return describe_step(await runs.load(run_id), step, overrides, state=name)


async def close_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Close a run that was cancelled, unless it has done so itself.

    A hook of its flow, which Prefect calls once the run's process has ended, in another process.
    """
    del flow, state
    async with warm.kept_open():
        await _close(str(flow_run.id), flow_run.parameters.get("webhook_url"))


async def close_cancelled_runs() -> list[str]:
    """Close the runs that Prefect says are cancelled and the store has open; return their ids.

    To be called while the store is kept open.
    """
    closed: list[str] = []
    async with get_client() as client:
        for run_id in await GatherRuns(await warm.store()).list_open():
            found = await _read_run(client, run_id)
            if found is None or found.state is None or not found.state.is_cancelled():
                continue
            try:
                if await _close(run_id, found.parameters.get("webhook_url")):
                    closed.append(run_id)
            except AletheiaError as error:
                log.warning("the cancelled run %s could not be closed: %s", run_id, error)
    return closed


async def _close(run_id: str, webhook_url: str | None) -> bool:
    """Close a run as cancelled and say all that it has not said; tell whether it was open."""
    store = await warm.store()
    runs = GatherRuns(store)
    try:
        run = await runs.overtake(run_id)
    except (UnknownRun, RunSuperseded) as nothing:
        log.info("there is nothing to close: %s", nothing)
        return False
    content = await warm.content(run.project_id)
    was_open = run.report is None
    if was_open:
        report = await runs.close(run, "cancelled", await content.count_created(run_id))
        run = replace(run, report=report)
    # The run itself may have been killed after it was closed and before it said so.
    events = EventLog(store)
    mock = MOCK_MODEL if (await warm.chat(run_id)).is_mock else None
    fan_out = FanOut(store, events, await warm.event_sinks(webhook_url))
    async with fan_out.feeding(run.project_id):
        await Chronicle(events, LLMSettings().default_llm_model, mock=mock).tell(run)
    if was_open:
        await leave_views(run, content, is_mock=mock is not None)
    return was_open


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
    """Have Prefect do what a run needs in order to go on.

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

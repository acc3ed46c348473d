"""What operators do about gather: resume runs, drop items, undo that, send dead events again.

SPEC §4.
"""

from prefect import get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import AwaitingRetry

from aletheia.brain.index import IndexedBrain
from aletheia.brain.ports import BrainDepartment
from aletheia.brain.reconciliation import CALL_TIMEOUT_S
from aletheia.errors import AletheiaError
from aletheia.events.dead_events import DeadEvents, Replayed
from aletheia.gather.errors import NotResumable
from aletheia.gather.resumption import Overrides, Step, choose_step, describe_step
from aletheia.gather.runs import GatherRuns
from aletheia.items.decisions import KeptDecision
from tasks.auditing import record_this_run
from tasks.clients.brain import get_brain_access, get_outbox
from tasks.clients.content import get_content, get_decisions
from tasks.clients.events import get_event_sink
from tasks.clients.store import get_store
from tasks.policies import STEP, PartsFailed
from tasks.runs import read_run


class EventsStayDead(PartsFailed):
    """Some events could not be sent this time either; the others were."""

    code = "events_stay_dead"


@task(name="resume_run", task_run_name="resume-{run_id}", **STEP)
async def resume_run(
    run_id: str, max_iterations: int | None, thresholds: dict[str, float] | None
) -> str:
    """Resume a gather run, with changes (`Overrides`); return in sentences what becomes of it.

    Raises:
        NotResumable: Prefect cannot resume it.
        InvalidTask: `invalid_override`.
    """
    overrides = Overrides(max_iterations, thresholds or {})
    await record_this_run()
    runs = GatherRuns(await get_store())
    run = await runs.load(run_id)
    found = await read_run(run_id)
    if found is None or found.state is None:
        raise NotResumable(run_id, "Prefect does not know it any more; start another one")
    state = found.state
    is_abandoned = await runs.is_abandoned(run_id)
    is_lost = state.is_running() and is_abandoned
    # A run that lost its process at its very end has only to emit its end.
    is_unsaid = run.report is not None and (state.is_failed() or state.is_crashed() or is_lost)
    if not is_unsaid or overrides != Overrides():
        await runs.load_open(run_id)
    step = choose_step(run_id, state.type.value, is_abandoned=is_abandoned)
    if overrides != Overrides():
        await runs.override(run_id, overrides)
    await _take(found, step)
    name = "lost" if is_lost else str(state.name).lower()
    return describe_step(await runs.load(run_id), step, overrides, state=name)


async def _take(found: FlowRun, step: Step) -> None:
    """Take the step at Prefect that resumes a run."""
    run_id = str(found.id)
    async with get_client() as client:
        if step == "restart":
            if found.deployment_id is None:
                raise NotResumable(run_id, "it is not of a deployment; start another one")
            await client.set_flow_run_state(found.id, AwaitingRetry(), force=True)
        elif step == "resume":
            result = await client.resume_flow_run(found.id)
            if result.status is not SetStateStatus.ACCEPT:
                reason = getattr(result.details, "reason", None)
                raise NotResumable(run_id, reason or "Prefect gave no reason")


@task(name="undo_decision", task_run_name="undo-{decision_id}", **STEP)
async def undo_decision(project_id: str, decision_id: str, user_id: str) -> KeptDecision:
    """Save an item that was dropped, and announce it; see `ProjectDecisions.undo`."""
    await record_this_run()
    decisions, content = await get_decisions(project_id), await get_content(project_id)
    undone = await decisions.undo(decision_id, user_id, content)
    department = BrainDepartment(
        undone.department, undone.department_name, undone.department_number
    )
    outbox = await get_outbox()
    await outbox.intents.announce(project_id, f"undo:{undone.id}", department, [undone.item.id])
    get_run_logger().info("item %s of %s is saved", undone.item.id, undone.department)
    return undone


@task(name="drop_possible", task_run_name="drop-{pair_id}", **STEP)
async def drop_possible(project_id: str, pair_id: str, user_id: str) -> KeptDecision:
    """Delete an item that may repeat another one, also from the Brain; see `ProjectDecisions.drop`.

    A Brain that is away keeps it until it is reconciled.
    """
    await record_this_run()
    decisions, content = await get_decisions(project_id), await get_content(project_id)
    dropped = await decisions.drop(pair_id, user_id, content)
    log = get_run_logger()
    log.info("item %s of %s is dropped", dropped.item.id, dropped.department)
    try:
        async with (await get_brain_access()).using(timeout_s=CALL_TIMEOUT_S) as brain:
            if isinstance(brain, IndexedBrain):
                await brain.graph.delete(project_id, [dropped.item.id])
    except AletheiaError as error:
        log.warning("the Brain has it still, until `reconcile` runs: %s", error)
    return dropped


@task(name="replay_dead_events", task_run_name="replay", **STEP)
async def replay_dead_events(ids: list[str] | None) -> Replayed:
    """Send dead events once more, all or those with these ids. Raises `EventsStayDead`."""
    await record_this_run()
    replayed = await DeadEvents(await get_store()).replay(ids, get_event_sink)
    if replayed.failures:
        raise EventsStayDead((f"{replayed.sent} were sent", *replayed.failures))
    return replayed

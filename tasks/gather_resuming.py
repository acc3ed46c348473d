"""How an operator resumes a gather run, with changes to what it may do (SPEC §4)."""

from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import AwaitingRetry

from aletheia.gather.errors import NotResumable
from aletheia.gather.resumption import Overrides, Step, choose_step, describe_step
from aletheia.gather.runs import GatherRuns
from tasks.clients.store import get_store
from tasks.policies import STEP
from tasks.runs import read_run
from tasks.session import open_session


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
    async with open_session():
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

"""The steps of carrying out a plan: approval, dry run, a run for each automated step (SPEC §5)."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final
from uuid import UUID

import httpx
from prefect import get_run_logger, task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import BaseModel, Field

from aletheia import telemetry
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask
from aletheia.escaping import escape_markdown as escape
from aletheia.reasoning.actions import Start, describe_dry_run, plan_start
from aletheia.reasoning.approvals import AuditRecord
from aletheia.reasoning.engine import CurrentPlan
from aletheia.reasoning.models import AIActionPlan, PlanStep
from aletheia.reasoning.plans import automated_steps
from aletheia.store.clock import SYSTEM_CLOCK, moment
from aletheia.system_events import describe_plan_event
from tasks.announcing import announce
from tasks.artifacts import code, save_markdown, save_table
from tasks.clients.reasoning import get_reasoner
from tasks.policies import STEP
from tasks.runs import start_run
from tasks.session import current_session, open_watched_session

POLL_EVERY_S: Final = 2.0
"""Between two reads of the state of a step's run, seconds."""

BY_PREFECT: Final = "prefect-ui"
"""The role of whoever approves in the Prefect UI, which knows no roles of ours."""


class PlanApproval(RunInput):
    """What a person says in the Prefect UI to a plan that waits for approval."""

    approved: bool = Field(default=False, description="Whether the steps are carried out.")
    approver: str = Field(min_length=1, max_length=200, description="Who approves, for the record.")


class StepReport(BaseModel, frozen=True):
    """What became of a step."""

    step: int
    action: str
    said: str  # what it would do, or the run that did it
    state: str  # `planned`, `done`, `skipped`


class PlanReport(BaseModel, frozen=True):
    """What became of a plan."""

    plan_id: str
    approval_id: str  # empty for a dry run, or where it was refused
    steps: tuple[StepReport, ...]
    ended: str


class StepFailed(ComputeFailed):
    """A step of a plan failed; the ones behind it are not carried out."""

    retryable = False


@contextlib.asynccontextmanager
async def open_plan() -> AsyncGenerator[None]:
    """Open the session of a run that carries out a plan."""
    async with open_watched_session():
        yield


@task(name="rehearse_plan", task_run_name="dry-run", **STEP)
async def rehearse_plan(plan_id: str) -> PlanReport:
    """Show what each step of a plan would do; nothing is done."""
    current = await (await get_reasoner()).current_plan(plan_id)
    report = PlanReport(
        plan_id=plan_id, approval_id="", steps=tuple(_rehearse(current)), ended="dry run"
    )
    await _show(current.plan, report)
    return report


async def obtain_approval(plan_id: str) -> str | None:
    """Return the id of an approval of a plan; without one the run is suspended and asks for it.

    Whoever resumes it in the Prefect UI approves exactly the plan that it shows. `None`: refused.
    """
    run_id = str(flow_run.id)
    found = await find_approval(plan_id, run_id)
    if found is not None:
        return found
    ttl_s = current_session().settings.reasoning.approval_ttl_seconds
    digest, description = await describe_plan(plan_id)
    form = PlanApproval.with_initial_data(description=description)
    said = await asuspend_flow_run(
        wait_for_input=form, timeout=round(ttl_s), key=f"plan-{digest[:16]}"
    )
    if not said.approved:
        return None
    return await approve_plan(plan_id, digest, said.approver)


@task(name="find_approval", task_run_name="find-approval", **STEP)
async def find_approval(plan_id: str, run_id: str) -> str | None:
    """Return the approval that this run uses already, or one that can be used now."""
    approvals = (await get_reasoner()).deps.approvals
    found = await approvals.find_of_run(run_id) or await approvals.find_unused(plan_id)
    return None if found is None else found.id


@task(name="describe_plan", task_run_name="describe", **STEP)
async def describe_plan(plan_id: str) -> tuple[str, str]:
    """Return the digest of a plan and its description for whoever approves it."""
    current = await (await get_reasoner()).current_plan(plan_id)
    report = PlanReport(
        plan_id=plan_id,
        approval_id="",
        steps=tuple(_rehearse(current)),
        ended="waits for approval",
    )
    await _show(current.plan, report)
    return current.plan.digest, describe(current.plan, report)


@task(name="approve_plan", task_run_name="approve", **STEP)
async def approve_plan(plan_id: str, digest: str, who: str) -> str:
    """Write a person's approval of a plan; a plan that changed meanwhile asks again."""
    reasoner = await get_reasoner()
    current = await reasoner.current_plan(plan_id)
    approval = await reasoner.deps.approvals.approve(
        current.plan,
        current.findings,
        digest,
        planned_at=current.planned_at,
        who=who,
        role=BY_PREFECT,
        traceparent=current.traceparent,
    )
    return approval.id


@task(name="begin_plan", task_run_name="begin", **STEP)
async def begin_plan(plan_id: str, approval_id: str) -> list[PlanStep]:
    """Use the approval up for this run, and return the steps that are carried out."""
    reasoner, run_id = await get_reasoner(), str(flow_run.id)
    approvals = reasoner.deps.approvals
    known = await approvals.find(approval_id)
    if known is None or known.run_id != run_id:
        current = await reasoner.current_plan(plan_id)
        await approvals.consume(approval_id, current.plan, current.findings, run_id=run_id)
    plan = await approvals.read_plan(approval_id)
    if plan.plan_id != plan_id:
        raise InvalidTask("plan_changed", f"the approval is of {plan.plan_id}, not of {plan_id}")
    await approvals.begin(approval_id, run_id=run_id)
    await _announce("begun", plan_id, approval_id)
    return automated_steps(plan)


@task(name="carry_out_step", task_run_name="step-{step.step}-{step.action}", **STEP)
async def carry_out_step(approval_id: str, step: PlanStep) -> StepReport:
    """Start the run of a step and wait for its end; one that was done before is left out.

    The run has the approval's id as idempotency key, so that a second start is the first one.

    Raises:
        StepFailed: the run failed, or did not end in time.
    """
    approvals = (await get_reasoner()).deps.approvals
    if await _is_done(approval_id, step):
        return _report(step, "it was done before", "skipped")
    start = plan_start(step.action, step.payload)
    details: dict[str, Any] = {"step": step.step, "action": step.action}
    await approvals.note(
        approval_id,
        f"{step.step}:started",
        "step_started",
        {**details, "deployment": start.deployment, "parameters": dict(start.parameters)},
    )
    state, message, run_id = await _run_step(start, f"plan:{approval_id}:{step.step}")
    details |= {"state": state, "message": message[:300], "run_id": run_id}
    if state != "completed":
        at = SYSTEM_CLOCK.now()
        await approvals.note(approval_id, f"{step.step}:failed:{at}", "step_failed", details)
        raise StepFailed("step_failed", f"step {step.step}, {step.action}: {state}: {message}")
    await approvals.note(approval_id, f"{step.step}:done", "step_done", details)
    return _report(step, message or f"run {run_id}", "done")


async def _run_step(start: Start, key: str) -> tuple[str, str, str | None]:
    """Start a run and wait for its end; return its state, its message and its id."""
    run_id: str | None = None
    try:
        with telemetry.span(telemetry.PLAN_STEP) as span:
            run = await start_run(start.deployment, start.parameters, idempotency_key=key)
            run_id = str(run.id)
            span.set_attribute(telemetry.RUN_ID, run_id)
            return *await _await_end(run.id), run_id
    except AletheiaError as error:
        return "failed", str(error), run_id


@task(name="close_plan", task_run_name="close", **STEP)
async def close_plan(plan_id: str, approval_id: str, steps: list[StepReport]) -> PlanReport:
    """Note that all steps are done, and which recommendations were carried out by them."""
    reasoner, run_id = await get_reasoner(), str(flow_run.id)
    plan = await reasoner.deps.approvals.read_plan(approval_id)
    carried_out = [step.recommendation for step in automated_steps(plan)]
    await reasoner.deps.recommendations.note_executed(carried_out, approval_id)
    await reasoner.deps.approvals.end(approval_id, run_id=run_id, state="done")
    await _announce("done", plan_id, approval_id)
    report = PlanReport(
        plan_id=plan_id, approval_id=approval_id, steps=tuple(steps), ended="all steps are done"
    )
    await _show(plan, report)
    await save_table(
        "plan-audit",
        _rows(await reasoner.deps.approvals.records(approval_id)),
        "What was done in the name of the approval.",
    )
    return report


@task(name="fail_plan", task_run_name="fail", **STEP)
async def fail_plan(plan_id: str, approval_id: str) -> None:
    """Note that a step failed: the approval is used up, and the rest is not carried out."""
    approvals = (await get_reasoner()).deps.approvals
    await approvals.end(approval_id, run_id=str(flow_run.id), state="failed")
    await _announce("failed", plan_id, approval_id)
    await save_table(
        "plan-audit",
        _rows(await approvals.records(approval_id)),
        "**A step failed**; the ones behind it were not carried out.",
    )


@contextlib.asynccontextmanager
async def carrying_out(approval_id: str) -> AsyncGenerator[None]:
    """Trace what is done in the name of an approval, from the finding on, and note a failure.

    A step's failure is noted before it fails the run; an interrupted run can go on instead.
    """
    approval = await (await get_reasoner()).deps.approvals.find(approval_id)
    trace, plan_id = (approval.traceparent, approval.plan_id) if approval else (None, "")
    try:
        attributes = {telemetry.PLAN_ID: plan_id}
        with telemetry.span(telemetry.PLAN, parent=trace, attributes=attributes):
            yield
    except StepFailed as failure:
        get_run_logger().error("%s", failure)
        await fail_plan(plan_id, approval_id)
        raise


async def _announce(what: str, plan_id: str, approval_id: str) -> None:
    at = moment(SYSTEM_CLOCK.now())
    await announce(describe_plan_event(what, plan_id, approval_id, at))


def refuse_plan(plan_id: str) -> PlanReport:
    """Return the report of a plan that was not approved."""
    return PlanReport(plan_id=plan_id, approval_id="", steps=(), ended="not approved")


async def _is_done(approval_id: str, step: PlanStep) -> bool:
    records = await (await get_reasoner()).deps.approvals.records(approval_id)
    return any(
        record.event == "step_done" and record.details.get("step") == step.step
        for record in records
    )


async def _await_end(run_id: UUID) -> tuple[str, str]:
    """Wait for the end of a run; return its state, in small letters, and its message."""
    limit_s = current_session().settings.reasoning.plan_step_timeout_seconds
    async with get_client() as client:
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    state = await _read_state(client, run_id)
                    if state is not None and state.is_final():
                        return state.type.value.lower(), state.message or ""
                    await asyncio.sleep(POLL_EVERY_S)
        except TimeoutError:
            return "late", f"it has not ended within {limit_s:g} s"
        except ObjectNotFound:
            return "missing", "Prefect has no such run any more"


async def _read_state(client: PrefectClient, run_id: UUID) -> State[Any] | None:
    """Read the state of a run; `None` while Prefect is away, which says nothing of the run."""
    try:
        return (await client.read_flow_run(run_id)).state
    except httpx.HTTPError as outage:
        get_run_logger().warning("the state of run %s could not be read: %s", run_id, outage)
        return None


def _rehearse(current: CurrentPlan) -> list[StepReport]:
    view = current.snapshot.view
    return [
        _report(
            step,
            describe_dry_run(step.action, step.payload, view)
            if step.automated
            else "a person does this",
            "planned" if step.automated else "skipped",
        )
        for step in current.plan.steps
    ]


def _report(step: PlanStep, said: str, state: str) -> StepReport:
    return StepReport(step=step.step, action=step.action, said=said, state=state)


async def _show(plan: AIActionPlan, report: PlanReport) -> None:
    await save_markdown("action-plan", describe(plan, report), f"{plan.plan_id}: {report.ended}.")


def describe(plan: AIActionPlan, report: PlanReport) -> str:
    """Describe a plan, and what its steps do or did, as markdown."""
    about = (
        f"Plan {code(plan.plan_id)}, digest {code(plan.digest)}, risk {escape(plan.risk_level)}, "
        f"{escape(plan.estimated_duration)}: {escape(report.ended)}."
    )
    lines = [
        f"# {escape(plan.title)}",
        "",
        escape(plan.objective),
        "",
        about,
        "",
        "| step | action | state | what it does |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {step.step} | {escape(step.action)} | {step.state} | {escape(step.said)} |"
        for step in report.steps
    ]
    return "\n".join(lines)


def _rows(records: Sequence[AuditRecord]) -> list[dict[str, Any]]:
    return [
        {
            "at": f"{record.at:%Y-%m-%d %H:%M:%S} UTC",
            "event": record.event,
            **record.details,
        }
        for record in records
    ]

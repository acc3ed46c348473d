"""Shifts of system reasoning, and plans that are carried out, on a real Prefect server."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow_async
from prefect.states import Completed, Failed

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.errors import InvalidTask
from aletheia.events.dead_events import DEAD_EVENTS
from aletheia.reasoning.approvals import Approvals
from aletheia.reasoning.history import History
from aletheia.reasoning.models import AIReasoningOutput
from blocks import BrainCredentials, LLMCredentials
from flows.plan import carry_out_plan
from flows.reasoning import system_reasoning
from tasks.plans import PlanReport, StepFailed
from tasks.reasoning import ReasoningReport
from tests.fakes.upstream import FakeUpstream
from tests.flows.conftest import artifacts, await_event, last_run
from tests.flows.evaluation_setup import ROOT, started_runs


@pytest.fixture
async def documents(upstream: FakeUpstream, tmp_path: Path) -> AsyncGenerator[EmbeddedDocuments]:
    """The store that the flows write, with a mock that explains."""
    del upstream
    await LLMCredentials(provider="mock").asave("default", overwrite=True)
    await BrainCredentials(data_dir=tmp_path).asave("default", overwrite=True)
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    yield documents
    await documents.close()


async def reason(**parameters: Any) -> ReasoningReport:
    report = await cast("Awaitable[object]", system_reasoning(**{"shift_seconds": 0, **parameters}))
    assert isinstance(report, ReasoningReport)
    return report


async def newest(documents: EmbeddedDocuments) -> AIReasoningOutput:
    output = await History(documents).newest()
    assert output is not None
    return output


async def with_plan(documents: EmbeddedDocuments) -> AIReasoningOutput:
    """Make a plan whose one automated step is a sweep."""
    await documents.insert(DEAD_EVENTS, [{"_id": "p:1", "project": "p", "at": 1}])
    await reason()
    output = await newest(documents)
    actions = [step.action for step in output.action_plan.steps if step.automated]
    assert actions == ["sweep"]
    return output


async def approve(documents: EmbeddedDocuments, output: AIReasoningOutput) -> str:
    plan = output.action_plan
    findings = [it for it in output.found if it.id in {r.finding for r in output.recommendations}]
    approvals = Approvals(documents, ttl_s=3600)
    await approvals.prepare()
    approval = await approvals.approve(
        plan, findings, plan.digest, planned_at=output.timestamp, who="ada", role="admin"
    )
    return approval.id


@contextlib.asynccontextmanager
async def deployed(flow: str, entrypoint: str) -> AsyncGenerator[UUID]:
    """Deploy a flow, for as long as the block lasts."""
    async with get_client() as client:
        deployment = await client.create_deployment(
            flow_id=await client.create_flow_from_name(flow),
            name=flow,
            entrypoint=entrypoint,
            pull_steps=[
                {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
            ],
        )
        try:
            yield deployment
        finally:
            await client.delete_deployment(deployment)


@contextlib.asynccontextmanager
async def worker(end: Callable[[], State]) -> AsyncGenerator[UUID]:
    """End every run of `sweep` that is started, as a worker's process would."""
    async with deployed("sweep", "flows/sweep.py:sweep") as deployment:

        async def work() -> None:
            async with get_client() as client:
                while True:
                    for run in await started_runs(deployment):
                        if run.state is not None and not run.state.is_final():
                            await client.set_flow_run_state(run.id, end(), force=True)
                    await asyncio.sleep(0.2)

        working = asyncio.create_task(work())
        try:
            yield deployment
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def test_a_run_reads_the_system_and_leaves_a_page(documents: EmbeddedDocuments):
    report = await reason()
    assert (report.runs, report.ended) == (1, "once")
    output = await newest(documents)
    assert output.snapshot.failed_sources == {}
    assert output.snapshot.queue_success == 0
    assert output.snapshot.orchestrator_running is True
    assert output.mock
    run = await last_run("system_reasoning")
    (page,) = await artifacts("system-reasoning", run.id)
    said = cast("str", page.data)
    assert said.index("first reasoning run") < said.index("Going well")


async def test_what_reasoning_finds_anew_is_an_event_of_prefect(documents: EmbeddedDocuments):
    output = await with_plan(documents)
    run = await last_run("system_reasoning")
    changed = await await_event(
        "aletheia.reasoning.health_changed", reasoning_id=output.reasoning_id
    )
    assert changed["payload"]["health"] == output.summary.overall_health
    assert [it["prefect.resource.id"] for it in changed["related"]] == [
        f"prefect.flow-run.{run.id}"
    ]
    opened = await await_event("aletheia.reasoning.finding_opened", finding="events_given_up")
    assert opened["resource"]["prefect.resource.id"] == "aletheia.finding.events_given_up"
    plan_id = output.action_plan.plan_id
    await await_event("aletheia.reasoning.plan_proposed", plan_id=plan_id)


async def test_a_shift_reasons_again_and_again(
    documents: EmbeddedDocuments, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AI_WORKER_INTERVAL_SECONDS", "1")
    report = await reason(shift_seconds=2.5)
    assert 2 <= report.runs <= 3
    assert report.ended == "time_over"
    assert len(await History(documents).list_newest()) == report.runs


async def test_a_worker_that_is_switched_off_does_nothing(
    documents: EmbeddedDocuments, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AI_WORKER_ENABLED", "false")
    report = await reason()
    assert (report.runs, report.ended) == (0, "disabled")
    assert await History(documents).newest() is None


async def test_a_dry_run_says_what_each_step_would_do_and_does_nothing(
    documents: EmbeddedDocuments,
):
    plan = (await with_plan(documents)).action_plan
    async with worker(Completed) as deployment:
        report = cast(
            "PlanReport",
            await cast("Awaitable[object]", carry_out_plan(plan.plan_id, dry_run=True)),
        )
        assert await started_runs(deployment) == []
    assert report.ended == "dry run"
    assert [step.state for step in report.steps if step.action == "sweep"] == ["planned"]
    assert "delete what is old" in " ".join(step.said for step in report.steps)


async def test_an_approved_plan_is_carried_out_once_and_recorded(documents: EmbeddedDocuments):
    output = await with_plan(documents)
    approval = await approve(documents, output)
    async with worker(lambda: Completed(message="swept")) as deployment:
        running = carry_out_plan(output.action_plan.plan_id, approval)
        report = cast("PlanReport", await cast("Awaitable[object]", running))
        with pytest.raises(InvalidTask, match="another run"):
            await cast("Awaitable[object]", carry_out_plan(output.action_plan.plan_id, approval))
        (run,) = await started_runs(deployment)
    (step,) = [it for it in output.action_plan.steps if it.automated]
    assert run.idempotency_key == f"plan:{approval}:{step.step}"
    assert [(step.action, step.state) for step in report.steps] == [("sweep", "done")]
    events = [record.event for record in await Approvals(documents, ttl_s=1).records(approval)]
    assert events == ["approved", "consumed", "step_started", "step_done"]
    for what in ("begun", "done"):
        await await_event(f"aletheia.reasoning.plan_{what}", approval_id=approval)
    await reason()
    insights = (await newest(documents)).summary.key_insights
    assert any("was carried out, its finding is still there" in said for said in insights)


async def test_prefect_may_be_away_while_a_step_is_waited_for(
    documents: EmbeddedDocuments, monkeypatch: pytest.MonkeyPatch
):
    output = await with_plan(documents)
    approval = await approve(documents, output)
    refused: list[UUID] = []
    read = PrefectClient.read_flow_run

    async def read_badly(client: PrefectClient, flow_run_id: UUID) -> FlowRun:
        steps = {run.id for run in await started_runs(deployment)}
        if flow_run_id in steps and len(refused) < 2:
            refused.append(flow_run_id)
            raise httpx.ConnectError("connection refused")
        return await read(client, flow_run_id)

    monkeypatch.setattr("tasks.plans.POLL_EVERY_S", 0.05)
    async with worker(lambda: Completed(message="swept")) as deployment:
        monkeypatch.setattr(PrefectClient, "read_flow_run", read_badly)
        running = carry_out_plan(output.action_plan.plan_id, approval)
        report = cast("PlanReport", await cast("Awaitable[object]", running))
    assert [(step.action, step.state) for step in report.steps] == [("sweep", "done")]
    assert len(refused) == 2


async def test_a_step_that_fails_fails_the_run_with_its_reason(documents: EmbeddedDocuments):
    output = await with_plan(documents)
    approval = await approve(documents, output)
    async with worker(lambda: Failed(message="the store is full")):
        with pytest.raises(StepFailed, match="the store is full"):
            await cast("Awaitable[object]", carry_out_plan(output.action_plan.plan_id, approval))
    known = await Approvals(documents, ttl_s=1).find(approval)
    assert known is not None
    assert known.state == "failed"
    await await_event("aletheia.reasoning.plan_failed", approval_id=approval)


async def execute(run: FlowRun) -> Any:
    """Do what a worker does with a run that was started."""
    running = run_flow_async(
        cast("Any", carry_out_plan), flow_run=run, parameters=run.parameters, return_type="state"
    )
    return await cast("Awaitable[object]", running)


async def test_a_suspended_run_asks_for_approval_in_the_ui(documents: EmbeddedDocuments):
    plan = (await with_plan(documents)).action_plan
    async with (
        deployed("carry_out_plan", "flows/plan.py:carry_out_plan") as deployment,
        worker(Completed) as sweeps,
        get_client() as client,
    ):
        run = await client.create_flow_run_from_deployment(
            deployment, parameters={"plan_id": plan.plan_id}
        )
        with pytest.raises(Pause):
            await execute(run)
        state = (await client.read_flow_run(run.id)).state
        assert state is not None
        assert state.name == "Suspended"
        assert await started_runs(sweeps) == []
        said = {"approved": True, "approver": "ada"}
        await client.resume_flow_run(run.id, run_input=said)
        state = await execute(await client.read_flow_run(run.id))
        assert state.is_completed(), state
        assert len(await started_runs(sweeps)) == 1
    found = await documents.find("aletheia_approvals", {"plan_id": plan.plan_id})
    assert [(it["who"], it["role"], it["state"]) for it in found] == [("ada", "prefect-ui", "done")]


async def test_a_plan_that_is_not_approved_in_the_ui_is_not_carried_out(
    documents: EmbeddedDocuments,
):
    plan = (await with_plan(documents)).action_plan
    async with (
        deployed("carry_out_plan", "flows/plan.py:carry_out_plan") as deployment,
        get_client() as client,
    ):
        run = await client.create_flow_run_from_deployment(
            deployment, parameters={"plan_id": plan.plan_id}
        )
        with pytest.raises(Pause):
            await execute(run)
        said = {"approved": False, "approver": "ada"}
        await client.resume_flow_run(run.id, run_input=said)
        state = await execute(await client.read_flow_run(run.id))
        assert state.is_completed(), state
    assert await documents.find("aletheia_approvals", {}) == []

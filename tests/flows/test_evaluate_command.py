"""`aletheia evaluate`, with somebody in a worker's place."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Crashed

from aletheia.errors import InvalidTask, Misconfigured
from aletheia.llm.asking import AskPlan
from aletheia.quality.embedding import QualityCounter
from aletheia.quality.evaluation import EvaluationReport, evaluate_items
from aletheia.quality.scores import PARTS
from deployments.evaluation import evaluate
from deployments.runs import RunEnded
from tests.fakes.chat import MemoryAnswers, ScriptedChat
from tests.flows.evaluation_setup import EvaluationSetup, deployed, setup, started_runs

__all__ = ["setup"]

SCORES = json.dumps({part: {"score": 85, "reason": "So."} for part in PARTS})
REMARKS = json.dumps({"findings": [], "suggestions": []})
TEXT = "The counsel checks every licence within 5 days and notes the risk in the register."


async def command(
    setup: EvaluationSetup, number: int | None = 1, **options: Any
) -> EvaluationReport:
    return await asyncio.to_thread(evaluate, setup.project_id, number, **options)


async def next_run(deployment: UUID, count: int) -> FlowRun:
    """Wait until so many runs were started, and give the last."""
    async with asyncio.timeout(30):
        while len(runs := await started_runs(deployment)) < count:
            await asyncio.sleep(0.05)
    return runs[-1]


async def end(run: FlowRun, state: State[Any]) -> None:
    async with get_client() as client:
        await client.set_flow_run_state(run.id, state, force=True)


async def do_work(setup: EvaluationSetup, run: FlowRun) -> None:
    order = await setup.store().find_order(str(run.idempotency_key))
    assert order is not None
    evaluation = await evaluate_items(
        ScriptedChat(SCORES, SCORES, SCORES, REMARKS),
        MemoryAnswers(),
        order.department,
        [],
        counter=QualityCounter(None),
        project_id=setup.project_id,
        plan=AskPlan("m"),
        version=order.request.version,
    )
    await setup.store().save(order.request, evaluation)
    await end(run, Completed())


async def test_a_run_is_started_and_waited_for_and_later_the_result_is_there(
    setup: EvaluationSetup,
):
    await setup.add_items("legal", TEXT)
    async with deployed() as deployment:
        waiting = asyncio.create_task(command(setup))
        run = await next_run(deployment, 1)
        assert run.parameters["department_number"] == 1
        assert run.parameters["auto_triggered"] is False
        assert not waiting.done()
        await do_work(setup, run)
        first = await waiting
        assert (first.department, first.user_id) == ("legal", "operator")
        assert not first.was_stored
        assert (await command(setup, None, department="legal")).was_stored
        assert len(await started_runs(deployment)) == 1
        waiting = asyncio.create_task(command(setup, force=True))
        await do_work(setup, await next_run(deployment, 2))
        assert (await waiting).attempt == 2


async def test_a_run_that_ends_without_a_result_is_said_and_can_be_forced(setup: EvaluationSetup):
    async with deployed() as deployment:
        waiting = asyncio.create_task(command(setup))
        await end(await next_run(deployment, 1), Crashed(message="it was killed"))
        with pytest.raises(RunEnded, match=r"crashed .*it was killed; `--force`"):
            await waiting
        with pytest.raises(RunEnded):
            await command(setup)
        assert len(await started_runs(deployment)) == 1
        waiting = asyncio.create_task(command(setup, force=True))
        await do_work(setup, await next_run(deployment, 2))
        assert (await waiting).attempt == 2


async def test_what_cannot_be_started_is_said(setup: EvaluationSetup):
    with pytest.raises(Misconfigured, match="run `aletheia setup`"):
        await command(setup)
    with pytest.raises(InvalidTask, match="no department has number 9"):
        await command(setup, 9)

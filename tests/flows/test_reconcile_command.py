"""`aletheia reconcile`, with somebody in a worker's place."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow_async
from prefect.states import Crashed
from typer.testing import CliRunner, Result

from deployments.cli import app
from flows.reconcile import reconcile
from tests.flows.evaluation_studio import started_runs
from tests.flows.test_gather import Shop, shop
from tests.flows.test_reconcile import lose_the_brain, use_embedded

__all__ = ["shop"]


@contextlib.asynccontextmanager
async def deployed() -> AsyncGenerator[UUID]:
    """Have the flow deployed, for as long as the block lasts."""
    async with get_client() as client:
        flow_id = await client.create_flow_from_name("reconcile")
        deployment = await client.create_deployment(flow_id=flow_id, name="reconcile")
        try:
            yield deployment
        finally:
            await client.delete_deployment(deployment)


def command(*words: str) -> Awaitable[Result]:
    return asyncio.create_task(asyncio.to_thread(CliRunner().invoke, app, ["reconcile", *words]))


async def next_run(deployment: UUID, count: int) -> FlowRun:
    """Wait until so many runs were started, and give the last."""
    async with asyncio.timeout(30):
        while len(runs := await started_runs(deployment)) < count:
            await asyncio.sleep(0.05)
    return runs[-1]


async def work(run: FlowRun) -> None:
    """Do what a worker does with a run, whatever becomes of it."""
    running = run_flow_async(
        cast("Any", reconcile), flow_run=run, parameters=run.parameters, return_type="state"
    )
    await cast("Awaitable[object]", running)


async def test_what_differed_is_printed_and_it_is_a_failure_if_it_could_not_be_mended(
    shop: Shop, tmp_path: Path
):
    await lose_the_brain()
    report = await shop.gather(max_iterations=2)
    async with deployed() as deployment:
        waiting = command("shop")
        run = await next_run(deployment, 1)
        assert run.parameters == {"project_id": "shop"}
        await work(run)
        result = await waiting
        assert result.exit_code == 1, result.output
        assert f"Run {run.id} is failed" in result.stdout
        assert "brain is unavailable" in result.stdout

        await use_embedded(tmp_path)
        await shop.documents.delete("aletheia_breakers", {})
        waiting = command()
        run = await next_run(deployment, 2)
        assert run.parameters == {"project_id": None}
        await work(run)
        result = await waiting
        assert result.exit_code == 0, result.output
        said = f"{report.items_created} differences between the Brain and the store were found"
        assert result.stdout.startswith(said)
        lines = [line.split() for line in result.stdout.splitlines()]
        assert ["shop", "missing", str(report.items_created), "0"] in [line[:4] for line in lines]

        waiting = command("shop", "--json")
        run = await next_run(deployment, 3)
        await work(run)
        end = json.loads((await waiting).stdout)
        assert (end["run_id"], end["state"]) == (str(run.id), "completed")
        assert [row["what"] for row in end["rows"]] == ["nothing differs"]


async def test_a_run_that_comes_to_no_table_is_a_failure(shop: Shop):
    del shop
    async with deployed() as deployment:
        waiting = command("shop")
        run = await next_run(deployment, 1)
        async with get_client() as client:
            killed = Crashed(message="it was killed")
            await client.set_flow_run_state(run.id, killed, force=True)
        result = await waiting
    assert result.exit_code == 1
    assert f"Run {run.id} is crashed: it was killed" in result.stdout


async def test_what_cannot_be_started_is_said(shop: Shop):
    del shop
    result = await command("shop")
    assert (result.exit_code, "run `aletheia setup`" in result.output) == (1, True)
    result = await command("not/one")
    assert (result.exit_code, "'not/one'" in result.output) == (1, True)

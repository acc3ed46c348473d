"""The command line, with somebody in a worker's place."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow_async
from prefect.flows import Flow
from typer.testing import CliRunner, Result

from deployments.cli import app
from tests.flows.evaluation_setup import started_runs


@contextlib.asynccontextmanager
async def deployed(name: str) -> AsyncGenerator[UUID]:
    """Deploy a flow, for as long as the block lasts."""
    async with get_client() as client:
        flow_id = await client.create_flow_from_name(name)
        deployment = await client.create_deployment(flow_id=flow_id, name=name)
        try:
            yield deployment
        finally:
            await client.delete_deployment(deployment)


def command(*words: str) -> asyncio.Task[Result]:
    """Run a command beside the test."""
    return asyncio.create_task(asyncio.to_thread(CliRunner().invoke, app, words))


async def next_run(deployment: UUID, count: int) -> FlowRun:
    """Wait until so many runs were started, and return the last."""
    async with asyncio.timeout(30):
        while len(runs := await started_runs(deployment)) < count:
            await asyncio.sleep(0.05)
    return runs[-1]


async def work(flow: Flow[..., Any], run: FlowRun) -> None:
    """Do what a worker does with a run, whatever becomes of it."""
    running = run_flow_async(
        cast("Any", flow), flow_run=run, parameters=run.parameters, return_type="state"
    )
    await cast("Awaitable[object]", running)


async def run_command(flow: Flow[..., Any], *words: str) -> Result:
    """Run a command that starts a flow, and the flow; return what the command printed."""
    async with deployed(flow.name) as deployment:
        waiting = command(*words)
        await work(flow, await next_run(deployment, 1))
        return await waiting

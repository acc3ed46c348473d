"""A run of the probe flow: scheduled by the server, started by a worker, cancelled."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from deployments.declarations import read_declarations
from deployments.doctor.results import CHECK_TIMEOUT_S, demand

SCHEDULE_TIMEOUT_S: Final = 45.0
"""For the server to schedule a run of a new deployment; it polls every 5 s, or every 60."""

START_TIMEOUT_S: Final = 90.0
"""For a scheduled run to be running; a worker polls every 10 s, and a process takes 10 to start."""

CANCEL_TIMEOUT_S: Final = 60.0

PROBE_TIMEOUT_S: Final = SCHEDULE_TIMEOUT_S + START_TIMEOUT_S + CANCEL_TIMEOUT_S + CHECK_TIMEOUT_S


async def check_run() -> str:
    """Follow a run: scheduled by the server, started by a worker, cancelled."""
    async with get_client() as client, _probe_deployment(client) as deployment:
        run, scheduled_s = await _until(
            lambda: _first_run(client, deployment),
            SCHEDULE_TIMEOUT_S,
            "the server schedules no runs",
            "check the scheduler's errors in the server's log, and its versions",
        )
        _, running_s = await _until(
            lambda: _in_state(client, run.id, StateType.RUNNING),
            START_TIMEOUT_S,
            "a scheduled run is not started",
            "check the worker's log; is the checkout where the deployment says?",
        )
        await client.set_flow_run_state(run.id, Cancelling(message="aletheia doctor"))
        _, cancelled_s = await _until(
            lambda: _in_state(client, run.id, StateType.CANCELLED),
            CANCEL_TIMEOUT_S,
            "a running run is not cancelled",
            "check the worker's log for its cancellation observer",
        )
    return (
        f"scheduled after {scheduled_s:.0f} s, running after {running_s:.0f} more, "
        f"cancelled after {cancelled_s:.0f} more"
    )


@asynccontextmanager
async def _probe_deployment(client: PrefectClient) -> AsyncGenerator[UUID]:
    """Create a deployment of the probe flow that is due soon, and every minute."""
    # The probe's code is where that of whatever was set up is.
    declared = read_declarations().deployments[0].full_name
    like = await client.read_deployment_by_name(declared)
    # The server polls for new deployments every 5 s, and makes up for nothing that was due before.
    due = datetime.now(UTC) + timedelta(seconds=8)
    deployment = await client.create_deployment(
        await client.create_flow_from_name("probe"),
        f"doctor-{secrets.token_hex(4)}",
        entrypoint="flows/probe.py:probe",
        schedules=[
            DeploymentScheduleCreate(
                schedule=IntervalSchedule(interval=timedelta(minutes=1), anchor_date=due)
            )
        ],
        work_pool_name=like.work_pool_name,
        work_queue_name=like.work_queue_name,
        path=like.path,
        pull_steps=like.pull_steps,
        job_variables=like.job_variables,
        tags=["doctor"],
    )
    try:
        yield deployment
    finally:
        for run in await _runs(client, deployment):
            with suppress(ObjectNotFound):
                await client.delete_flow_run(run.id)
        await client.delete_deployment(deployment)


async def _runs(client: PrefectClient, deployment: UUID) -> list[FlowRun]:
    wanted = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment]}})
    order = FlowRunSort.EXPECTED_START_TIME_ASC
    return await client.read_flow_runs(flow_run_filter=wanted, sort=order)


async def _first_run(client: PrefectClient, deployment: UUID) -> FlowRun | None:
    return next(iter(await _runs(client, deployment)), None)


async def _in_state(client: PrefectClient, run: UUID, wanted: StateType) -> FlowRun | None:
    found = await client.read_flow_run(run)
    if found.state_type == wanted:
        return found
    if found.state is not None:
        ended = f"a run that does nothing ended as {found.state.name}: {found.state.message}"
        demand(not found.state.is_final(), ended, "check the worker's log")
    return None


async def _until(
    find: Callable[[], Awaitable[FlowRun | None]], timeout_s: float, found: str, advice: str
) -> tuple[FlowRun, float]:
    """Wait for a run; return it, and how long that took, seconds."""
    began = time.monotonic()
    while (run := await find()) is None:
        late = f"{found} within {timeout_s:.0f} s"
        demand(time.monotonic() - began <= timeout_s, late, advice)
        await asyncio.sleep(0.5)
    return run, time.monotonic() - began

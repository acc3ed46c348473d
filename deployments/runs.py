"""Runs that an operator starts and waits for."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound

from aletheia.errors import Misconfigured, Unavailable

START_TIMEOUT_S: Final = 15.0
"""For Prefect to take the run, seconds."""

STATE_EVERY_S: Final = 1.0
"""Between two reads of the run's state, seconds."""


async def start_run(deployment: str, parameters: Mapping[str, Any]) -> FlowRun:
    """Start a run of a deployment, `flow/deployment`, at the workers.

    Raises:
        Misconfigured: it is not deployed.
        Unavailable: Prefect does not take the run.
    """
    try:
        async with asyncio.timeout(START_TIMEOUT_S), get_client() as client:
            return await arun_deployment(
                deployment,
                client=client,
                parameters=dict(parameters),
                timeout=0,
                as_subflow=False,
            )
    except ObjectNotFound:
        raise Misconfigured(deployment, "is not deployed; run `aletheia setup`") from None
    except Exception as outage:
        raise Unavailable("Prefect server", f"{type(outage).__name__}: {outage}") from outage


async def wait_for_run(run_id: UUID) -> State[object]:
    """Wait until a run is over; return its final state."""
    async with get_client() as client:
        while True:
            state = (await client.read_flow_run(run_id)).state
            if state is not None and state.is_final():
                return state
            await asyncio.sleep(STATE_EVERY_S)

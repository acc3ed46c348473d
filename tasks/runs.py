"""Flow runs as Prefect's server has them: started from a deployment, and read."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from aletheia.errors import Misconfigured, Unavailable

ResultT = TypeVar("ResultT")

START_WITHIN_S: Final = 15.0
"""For Prefect to accept a run, seconds; whoever starts one has other work to do."""


async def start_run(
    deployment: str,
    parameters: Mapping[str, Any],
    *,
    name: str | None = None,
    idempotency_key: str | None = None,
) -> FlowRun:
    """Start a run of a deployment, for a worker to execute.

    `deployment`: `flow/deployment`. `idempotency_key`: a second start with the same key returns the
    run of the first.

    Raises:
        Unavailable: Prefect does not answer.
    """
    try:
        async with asyncio.timeout(START_WITHIN_S), get_client() as client:
            return await arun_deployment(
                deployment,
                client=client,
                parameters=dict(parameters),
                flow_run_name=name,
                timeout=0,
                as_subflow=False,
                idempotency_key=idempotency_key,
            )
    except ObjectNotFound:
        raise Misconfigured(deployment, "is not deployed; run `aletheia setup`") from None
    except Exception as outage:
        raise Unavailable("Prefect server", f"{type(outage).__name__}: {outage}") from outage


def complete(result: ResultT, message: str) -> ResultT:
    """Return what a flow returns to end with a result and a message in its state."""
    return cast("ResultT", Completed(message=message, data=result))


async def read_run(run_id: str) -> FlowRun | None:
    """Read a run; `None` if Prefect has none with this id."""
    try:
        async with get_client() as client:
            return await client.read_flow_run(UUID(run_id))
    except (ObjectNotFound, ValueError):
        return None

"""Flow runs as Prefect's server has them: started, read, and attempted again (SPEC §4, Time)."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Completed

from aletheia.errors import AletheiaError, Deferred, Misconfigured, QuotaExhausted, Unavailable
from aletheia.settings import GatherSettings
from aletheia.store.backoff import Backoff
from aletheia.store.clock import SYSTEM_CLOCK

ResultT = TypeVar("ResultT")

RETRIES: Final = 3
MAX_RETRY_S: Final = 600.0
"""Further attempts at a run, and the longest wait before one, seconds (SPEC §4)."""

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


async def plan_retry(error: Exception) -> None:
    """Set in Prefect, before an error leaves the flow, whether and when another attempt follows."""
    policy = FlowRunPolicy(retries=0)
    if isinstance(error, AletheiaError) and error.retryable:
        backoff = Backoff(GatherSettings().gather_retry_base_seconds, MAX_RETRY_S, jitter=1)
        delay_s = backoff.pause_s(attempt(), asked_s=_wait_of(error))
        policy = FlowRunPolicy(retries=RETRIES, retry_delay=round(delay_s))
    try:
        async with get_client() as client:
            await client.update_flow_run(UUID(str(flow_run.id)), empirical_policy=policy)
    except Exception as outage:  # noqa: BLE001 - what failed is what the run has to fail with
        get_run_logger().warning("retries could not be planned: %s", outage)


def attempt() -> int:
    """Return which attempt at the run this is, from 1."""
    return int(flow_run.run_count or 1)


def is_worth_waiting(error: AletheiaError) -> bool:
    """Return whether there is a next attempt, and it may go better."""
    if attempt() > RETRIES or not error.retryable or isinstance(error, QuotaExhausted):
        return False
    if isinstance(error, Deferred) and error.until is None:
        return False
    return _wait_of(error) <= MAX_RETRY_S


def _wait_of(error: AletheiaError) -> float:
    """Return how long an error lasts at least, seconds; 0 where that is not known."""
    if isinstance(error, Deferred) and error.until is not None:
        return max(0.0, error.until.timestamp() - SYSTEM_CLOCK.unix_s())
    return error.retry_after_s or 0

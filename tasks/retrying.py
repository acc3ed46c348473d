"""Whether another attempt at a run helps, and after how long (SPEC §4, Time)."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRunPolicy
from prefect.runtime import flow_run

from aletheia.errors import AletheiaError, Deferred, QuotaExhausted, retry_after_s
from aletheia.settings import GatherSettings
from aletheia.store.backoff import Backoff

RETRIES: Final = 3
MAX_RETRY_S: Final = 600.0
"""Further attempts at a run, and the longest wait before one, seconds (SPEC §4)."""


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
        return max(0.0, (error.until - datetime.now(UTC)).total_seconds())
    return retry_after_s(error)

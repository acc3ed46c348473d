"""A cancellation that nobody heard is said once more.

The process that runs a flow learns of a cancellation by an event, and misses one that comes while
it is still subscribing; it would then look only minutes later. The run itself sees its own state.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Cancelling

LOOK_EVERY_S: Final = 5.0
"""Between two looks at the run's own state, seconds."""

UNHEARD_AFTER_S: Final = 3.0
"""A run that is still here so long after its cancellation has not been told."""


@contextlib.asynccontextmanager
async def heard() -> AsyncGenerator[None]:
    """See to it that the run of this process is told when it is cancelled."""
    watching = asyncio.create_task(_watch(UUID(str(flow_run.id))))
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(run_id: UUID) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            await _say_again(run_id)
        except Exception as error:  # noqa: BLE001 - the work goes on without Prefect's server
            get_run_logger().debug("the state of this run is not known: %s", error)


async def _say_again(run_id: UUID) -> None:
    async with get_client() as client:
        state = (await client.read_flow_run(run_id)).state
        if state is None or not state.is_cancelling():
            return
        if (datetime.now(UTC) - state.timestamp).total_seconds() >= UNHEARD_AFTER_S:
            again = Cancelling(message="The run had not heard of its cancellation.")
            await client.set_flow_run_state(run_id, again, force=True)

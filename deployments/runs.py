"""Runs that an operator waits for."""

import asyncio
from typing import Final
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

STATE_EVERY_S: Final = 1.0
"""Between two reads of the run's state, seconds."""


async def wait_for_run(run_id: UUID) -> State[object]:
    """Wait until a run is over; return its final state."""
    async with get_client() as client:
        while True:
            state = (await client.read_flow_run(run_id)).state
            if state is not None and state.is_final():
                return state
            await asyncio.sleep(STATE_EVERY_S)

"""Runs that an operator waits for."""

import asyncio
from typing import Final
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from aletheia.errors import AletheiaError

STATE_EVERY_S: Final = 1.0
"""Between two reads of the run's state, seconds."""


class RunEnded(AletheiaError):
    """A run ended without a result: in which state, and why as far as Prefect knows."""

    code = "run_ended"

    def __init__(self, run_id: str, state: str, reason: str) -> None:
        super().__init__(run_id, state, reason)
        self.run_id, self.state, self.reason = run_id, state, reason

    def __str__(self) -> str:
        return f"run {self.run_id} is {self.state} without a result: {self.reason}"


async def wait_for_run(run_id: UUID) -> State[object]:
    """Wait until a run is over; return its final state."""
    async with get_client() as client:
        while True:
            state = (await client.read_flow_run(run_id)).state
            if state is not None and state.is_final():
                return state
            await asyncio.sleep(STATE_EVERY_S)


def explain_end(run_id: UUID, state: State[object], advice: str = "") -> RunEnded:
    """Return the error about a run that ended in this state without a result."""
    reason = f"{state.message or 'no reason was given'}{advice}"
    return RunEnded(str(run_id), state.type.value.lower(), reason)

"""Runs that an operator waits for."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from rich.console import Console

from aletheia.errors import AletheiaError
from tasks.runs import start_run

STATE_EVERY_S: Final = 1.0
"""Between two reads of the run's state, seconds."""

_HINT_AFTER_S: Final = 30.0


class RunEnded(AletheiaError):
    """A run ended without a result: in which state, and why as far as Prefect knows."""

    code = "run_ended"

    def __init__(self, run_id: str, state: str, reason: str) -> None:
        super().__init__(run_id, state, reason)
        self.run_id, self.state, self.reason = run_id, state, reason

    def __str__(self) -> str:
        return f"run {self.run_id} is {self.state} without a result: {self.reason}"


async def wait_for_run(run_id: UUID, console: Console | None = None) -> State[object]:
    """Wait until a run is over, and say if no worker begins it; return its final state."""
    hint_at = time.monotonic() + _HINT_AFTER_S
    async with get_client() as client:
        while True:
            state = (await client.read_flow_run(run_id)).state
            if state is not None and state.is_final():
                return state
            is_waiting = state is None or state.is_scheduled() or state.is_pending()
            if console is not None and is_waiting and time.monotonic() > hint_at:
                console.print("No worker has begun it yet; `aletheia up` starts one here.")
                console = None
            await asyncio.sleep(STATE_EVERY_S)


async def run_to_end(
    deployment: str, parameters: Mapping[str, Any], console: Console
) -> State[object]:
    """Start a run of a deployment at the workers, wait for it, and return its final state.

    Raises:
        RunEnded: it did not complete.
    """
    run = await start_run(deployment, parameters)
    console.print(f"Run {run.name}, {run.id}", highlight=False, markup=False)
    state = await wait_for_run(run.id, console)
    if not state.is_completed():
        raise explain_end(run.id, state)
    return state


def explain_end(run_id: UUID, state: State[object], advice: str = "") -> RunEnded:
    """Return the error about a run that ended in this state without a result."""
    reason = f"{state.message or 'no reason was given'}{advice}"
    return RunEnded(str(run_id), state.type.value.lower(), reason)

"""Runs that an operator waits for."""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State

from aletheia.adapters.events.named_webhooks import show_webhook
from aletheia.errors import AletheiaError
from deployments.console import progress
from deployments.environment import require_server
from tasks.auditing import RECORDED, record_command
from tasks.clients.store import get_store
from tasks.runs import start_run
from tasks.session import open_session

STATE_EVERY_S: Final = 1.0
"""Between two reads of the run's state, seconds."""

_HINT_AFTER_S: Final = 30.0

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(eq=False)
class RunEnded(AletheiaError):
    """A run ended without a result: in which state, and why as far as Prefect knows."""

    run_id: str
    state: str
    reason: str
    code = "run_ended"
    sentence = "run {run_id} is {state} without a result: {reason}"


def in_session(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a command of a coroutine: it runs in a session, if a Prefect server is configured."""

    @wraps(work)
    def run(*args: P.args, **options: P.kwargs) -> T:
        async def run_in_session() -> T:
            async with open_session():
                return await work(*args, **options)

        require_server()
        return asyncio.run(run_in_session())

    return run


async def wait_for_run(run_id: UUID) -> State[object]:
    """Wait until a run is over, and say if no worker begins it; return its final state."""
    hint_at = time.monotonic() + _HINT_AFTER_S
    async with get_client() as client:
        while True:
            state = (await client.read_flow_run(run_id)).state
            if state is not None and state.is_final():
                return state
            is_waiting = state is None or state.is_scheduled() or state.is_pending()
            if is_waiting and time.monotonic() > hint_at:
                progress.print("No worker has begun it yet; `aletheia up` starts one here.")
                hint_at = float("inf")
            await asyncio.sleep(STATE_EVERY_S)


async def start_recorded(deployment: str, parameters: Mapping[str, Any]) -> FlowRun:
    """Record who asks for a run of a deployment, and start it."""
    name, details = uuid.uuid4().hex, dict(parameters)
    if address := details.get("webhook_url"):
        details["webhook_url"] = show_webhook(address)
    await record_command(await get_store(), deployment, details, id_=name)
    return await start_run(deployment, parameters, idempotency_key=f"{RECORDED}{name}")


async def start_and_wait(
    deployment: str, parameters: Mapping[str, Any]
) -> tuple[FlowRun, State[object]]:
    """Start a run of a deployment and wait for its end; return it and its final state.

    Who asks for it is in the audit log first.
    """
    run = await start_recorded(deployment, parameters)
    progress.print(f"Run {run.name}, {run.id}", markup=False)
    return run, await wait_for_run(run.id)


async def run_to_end(deployment: str, parameters: Mapping[str, Any]) -> str:
    """Start a run of a deployment and wait until it completes; return the message of its end."""
    run, state = await start_and_wait(deployment, parameters)
    if not state.is_completed():
        raise explain_end(run.id, state)
    return state.message or ""


def explain_end(run_id: UUID, state: State[object], advice: str = "") -> RunEnded:
    """Return the error about a run that ended in this state without a result."""
    reason = f"{state.message or 'no reason was given'}{advice}"
    return RunEnded(str(run_id), state.type.value.lower(), reason)

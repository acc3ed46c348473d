"""A run ends when it is told to: a cancellation that nobody heard is said once more.

The process that runs a flow learns of a cancellation by an event, and misses one that comes while
it is still subscribing; it would then look only minutes later. The run itself sees its own state.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelling

LOOK_EVERY_S: Final = 5.0
"""Between two looks at the run's own state, seconds."""

UNHEARD_AFTER_S: Final = 3.0
"""A run that is still here so long after its cancellation has not been told."""


@contextlib.asynccontextmanager
async def heard(on_look: Callable[[bool], None] | None = None) -> AsyncGenerator[None]:
    """See to it that the run of this process ends when it is cancelled or terminated.

    Args:
        on_look: told every few seconds whether the run is paused or suspended, which by itself
            stops it only at its next step.

    Raises:
        TerminationSignal: Prefect's own, after a SIGTERM.
    """
    watching = asyncio.create_task(_watch(UUID(str(flow_run.id)), on_look))
    try:
        with _orderly_termination():
            yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


@contextlib.contextmanager
def _orderly_termination() -> Generator[None]:
    """End the current task on SIGTERM, rather than whatever code happens to run.

    Prefect's handler raises where the signal finds the process. That may be in a callback of the
    event loop, which logs it and goes on: the run would never end.
    """
    task, previous = asyncio.current_task(), signal.getsignal(signal.SIGTERM)
    is_prefects = callable(previous) and threading.current_thread() is threading.main_thread()
    if task is None or not is_prefects:
        yield
        return
    is_told = False

    def end() -> None:
        nonlocal is_told
        if not is_told:
            is_told = True
            task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError:
        if not is_told:
            raise
        raise TerminationSignal(signal=signal.SIGTERM) from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, previous)


async def _watch(run_id: UUID, on_look: Callable[[bool], None] | None) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            await _look(run_id, on_look)
        except Exception as error:  # noqa: BLE001 - the work goes on without Prefect's server
            get_run_logger().debug("the state of this run is not known: %s", error)


async def _look(run_id: UUID, on_look: Callable[[bool], None] | None) -> None:
    async with get_client() as client:
        state = (await client.read_flow_run(run_id)).state
        if state is not None and on_look is not None:
            on_look(state.is_paused())
        if state is None or not state.is_cancelling():
            return
        if (datetime.now(UTC) - state.timestamp).total_seconds() >= UNHEARD_AFTER_S:
            again = Cancelling(message="The run had not heard of its cancellation.")
            await client.set_flow_run_state(run_id, again, force=True)

"""How a run ends when it is cancelled, or its process terminated: soon, in order, and once.

It watches its own state, as Prefect's runner may miss a cancellation, or report it late.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled

from tasks import event_loop

WATCH_EVERY_S: Final = 0.25
"""Between two reads of the run's states, seconds; one takes 1.3 ms here, 3.5 ms of the server's."""

READ_WITHIN_S: Final = 5.0
"""For one read, seconds: Prefect's client itself waits for a busy server up to a minute."""

RUNNER_WITHIN_S: Final = 3.0
"""How long a run that has stopped waits for the runner, which runs the hooks of its flow."""


class RunCancelled(Abort):
    """The run is cancelled, and its state says so: Prefect has nothing to report."""

    def __init__(self, state: State[Any]) -> None:
        super().__init__("The run was cancelled.")
        self.state = state


@contextlib.asynccontextmanager
async def heard(
    on_look: Callable[[bool], None] | None = None,
    every_s: float = WATCH_EVERY_S,
    *,
    on_cancel: Callable[[], None] = lambda: None,
) -> AsyncGenerator[None]:
    """End the block, of the main task, when its run is cancelled or its process is terminated.

    `on_look`: called with every state that is read: whether the run is paused or suspended, which
    by itself stops it only at its next step. `every_s`: between two reads, seconds.
    `on_cancel`: called before the main task is cancelled.

    Raises:
        RunCancelled: the run was cancelled.
        TerminationSignal: Prefect's own, after a SIGTERM.
    """
    main = asyncio.current_task()
    assert main is not None
    watch = _Watch(UUID(str(flow_run.id)), main, on_look, every_s, on_cancel)
    watching = asyncio.create_task(watch.look())
    try:
        try:
            event_loop.attend()
            yield
        finally:
            watching.cancel()
            await asyncio.wait({watching})
    except (Exception, asyncio.CancelledError) as error:
        if watch.is_cancelled or event_loop.is_terminated():
            raise await watch.conclude() from error
        raise
    if watch.is_cancelled:
        # Prefect would take no other state from it.
        raise await watch.conclude()


async def finish(work: Coroutine[Any, Any, None]) -> None:
    """Await work to its end, however often the caller is cancelled meanwhile."""
    task = asyncio.create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    task.result()


@dataclass
class _Watch:
    """The state of a run, as its own process reads it."""

    run_id: UUID
    main: asyncio.Task[Any]
    on_look: Callable[[bool], None] | None
    every_s: float
    on_cancel: Callable[[], None]
    is_cancelled: bool = False

    async def look(self) -> None:
        """Read the state until the run is cancelled, and cancel its main task then."""
        async with get_client() as client:
            while not self.is_cancelled:
                try:
                    async with asyncio.timeout(READ_WITHIN_S):
                        await self._read_states(client)
                except Exception as error:  # noqa: BLE001 - the work goes on without a server
                    get_run_logger().debug("the state of this run is not known: %s", error)
                if not self.is_cancelled:
                    await asyncio.sleep(self.every_s)
        self.on_cancel()
        self.main.cancel()

    async def conclude(self) -> BaseException:
        """Report that the run is cancelled, if it is; return what the flow has to raise."""
        state = Cancelled(message="The run was cancelled.")
        # The runner's SIGTERM may come now, as may the watch's cancellation after a SIGTERM.
        await finish(self._report(state))
        if not self.is_cancelled:
            return TerminationSignal(signal=signal.SIGTERM)
        if not event_loop.is_terminated():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(RUNNER_WITHIN_S)
        return RunCancelled(state)

    async def _report(self, state: State[Any]) -> None:
        try:
            async with get_client() as client:
                await self._read_states(client)
                if self.is_cancelled:
                    await client.set_flow_run_state(self.run_id, state)
        except Exception as error:  # noqa: BLE001 - the runner reports it, once it can
            get_run_logger().warning("the end of this run could not be reported: %s", error)

    async def _read_states(self, client: PrefectClient) -> None:
        """Read all states: a cancellation may have been overwritten while the run was started."""
        states = await client.read_flow_run_states(self.run_id)
        asked = [state for state in states if not (state.is_running() or state.is_pending())]
        latest = max(asked, key=_when, default=None)
        if latest is not None and (latest.is_cancelling() or latest.is_cancelled()):
            self.is_cancelled = True
        elif states and self.on_look is not None:
            self.on_look(max(states, key=_when).is_paused())


def _when(state: State[Any]) -> datetime:
    return state.timestamp

"""How a run ends when it is cancelled, or its process terminated: soon, in order, and once.

It watches its own state, as Prefect's runner may miss a cancellation, or report it late.
"""

import asyncio
import contextlib
import math
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, TerminationSignal
from prefect.runtime import flow_run
from prefect.states import AwaitingRetry, Cancelled, Running

from aletheia.store.clock import SYSTEM_CLOCK
from aletheia.store.patience import Patience
from tasks import event_loop

WATCH_EVERY_S: Final = 0.25
"""Between two reads of the run's states, seconds; one takes 1.3 ms here, 3.5 ms of the server's."""

WATCH_RARELY_S: Final = 1.0
"""The same for runs that are short of processor time, or rarely cancelled."""

READ_WITHIN_S: Final = 5.0
"""For one read, seconds: Prefect's client itself waits for a busy server up to a minute."""

FRESH_S: Final = 0.3
"""How long before a paid call the last read of the run's states may have begun, seconds."""

CONFIRM_WITHIN_S: Final = 2.0
"""How long a paid call waits for such a read, seconds: a server that is slower is not waited for
again until it has answered."""

RUNNER_SAYS: Final = "Flow run was cancelled successfully."
"""Message of the state that Prefect's runner sets up to some 15 s after a run is cancelled, when it
may have been started again. The request to cancel is a state of its own."""

RUNNER_WITHIN_S: Final = 3.0
"""How long a run that has stopped waits for the runner, which runs the hooks of its flow."""


class RunCancelled(Abort):
    """The run is cancelled, and its state says so: Prefect has nothing to report."""

    def __init__(self, state: State[Any]) -> None:
        super().__init__("The run was cancelled.")
        self.state = state


class RunPostponed(Abort):
    """The run waits to be started once more, and its state says so, as `RunCancelled`."""


@contextlib.asynccontextmanager
async def watching(
    on_state: Callable[[bool], None] | None = None,
    every_s: float = WATCH_EVERY_S,
    *,
    patience: Patience | None = None,
) -> AsyncGenerator["Watch"]:
    """End the block, of the main task, when its run is cancelled or its process is terminated.

    `on_state`: called with every state that is read: whether the run is paused or suspended, which
    by itself stops it only at its next step. `every_s`: between two reads, seconds. `patience`: how
    the store is waited for, until the block ends so; `None` waits for no more than one call.

    Raises:
        RunCancelled: the run was cancelled.
        RunPostponed: it lost its deployment's slot when a former cancellation was reported late.
        TerminationSignal: Prefect's own, after a SIGTERM.
    """
    main = asyncio.current_task()
    assert main is not None
    patience = patience or Patience(max_wait_s=0)
    watch = Watch(UUID(str(flow_run.id)), main, on_state, every_s, patience)
    polling = asyncio.create_task(watch.poll())
    try:
        try:
            event_loop.attend(patience.end)
            yield watch
        finally:
            polling.cancel()
            await asyncio.wait({polling})
    except (Exception, asyncio.CancelledError) as error:
        if watch.is_over or event_loop.is_terminated():
            raise await watch.conclude() from error
        raise
    if watch.is_over:
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
class Watch:
    """The state of a run, as its own process reads it."""

    run_id: UUID
    main: asyncio.Task[Any]
    on_state: Callable[[bool], None] | None
    every_s: float
    patience: Patience
    is_cancelled: bool = False
    is_postponed: bool = False
    _is_lost: bool = False  # whether the server did not answer when it was last asked
    _begun_s: float = -math.inf  # when the last read that ended had begun
    _ended: asyncio.Event = field(default_factory=asyncio.Event)  # set when the next read ends
    _is_wanted: asyncio.Event = field(default_factory=asyncio.Event)  # whether one is waited for

    @property
    def is_over(self) -> bool:
        """Whether the work is to end."""
        return self.is_cancelled or self.is_postponed

    async def confirm(self) -> None:
        """Return if the run is to go on, as a read says that begins now or has just begun.

        Called before each paid call: on a busy machine reads take long, and what was last read may
        be old. Raises `asyncio.CancelledError`: the run is cancelled.
        """
        since_s = SYSTEM_CLOCK.steady_s() - FRESH_S
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                while not (self.is_over or self._is_lost or self._begun_s >= since_s):
                    self._is_wanted.set()
                    await self._ended.wait()
        except TimeoutError:
            self._is_lost = True
        if self.is_over:
            raise asyncio.CancelledError

    async def poll(self) -> None:
        """Read the state until the run is cancelled, and cancel its main task then."""
        async with get_client() as client:
            while not self.is_over:
                begun_s = SYSTEM_CLOCK.steady_s()
                self._is_wanted.clear()
                try:
                    async with asyncio.timeout(READ_WITHIN_S):
                        await self._read_states(client)
                    self._is_lost = False
                except Exception as error:  # noqa: BLE001 - the work goes on without a server
                    self._is_lost = True
                    get_run_logger().debug("the state of this run is not known: %s", error)
                self._begun_s = begun_s
                self._ended.set()
                self._ended = asyncio.Event()
                if not self.is_over:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self.every_s):
                            await self._is_wanted.wait()
        self.patience.end()
        self.main.cancel()

    async def conclude(self) -> BaseException:
        """Report that the run is cancelled, if it is; return what the flow has to raise."""
        if self.is_postponed:
            return RunPostponed("The run had lost its slot, and is started once more.")
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
        states = sorted(await client.read_flow_run_states(self.run_id), key=_when)
        if _was_cancelled(states):
            self.is_cancelled = True
        elif _has_lost_slot(states):
            # Prefect would soon end this attempt as crashed; the next one takes a slot of its own.
            await client.set_flow_run_state(self.run_id, AwaitingRetry(), force=True)
            self.is_postponed = True
        elif states and _is_late(states[-1]):
            await client.set_flow_run_state(self.run_id, Running(), force=True)
        elif states and self.on_state is not None:
            self.on_state(states[-1].is_paused())


def is_cancelled(state: State[Any]) -> bool:
    """Return whether a run is cancelled, or will be at once."""
    return state.is_cancelled() or state.is_cancelling()


def _was_cancelled(states: Sequence[State[Any]]) -> bool:
    """Return whether the last thing that was asked of a run, in its states, is to end."""
    for state in reversed(states):
        if not (state.is_running() or state.is_pending() or _is_late(state)):
            return is_cancelled(state)
    return False


def _is_late(state: State[Any]) -> bool:
    """Return whether a state says what was asked before it, and maybe overruled since."""
    return state.is_cancelled() and state.message == RUNNER_SAYS


def _has_lost_slot(states: Sequence[State[Any]]) -> bool:
    """Return whether the slot of this attempt was given away by what was said late."""
    for state in reversed(states):
        if state.is_scheduled():
            return False
        if _is_late(state):
            return state.state_details.deployment_concurrency_lease_id is not None
    return False


def _when(state: State[Any]) -> datetime:
    return state.timestamp

"""The event loop that runs work on: libuv's, whose main task a SIGTERM cancels.

Prefect's own handler raises wherever the signal finds the process, and then the run may go on.
"""

import asyncio
import warnings
from collections.abc import Callable
from typing import Any, Final, cast
from uuid import UUID

import uvloop
from prefect.client.orchestration import get_client
from prefect.exceptions import Abort, TerminationSignal, UnfinishedRun
from prefect.runtime import flow_run
from prefect.states import Cancelled
from prefect.utilities import engine

BEGIN_WITHIN_S: Final = 5.0
"""How long a run that is terminated while it begins has for `Loop.attend`, seconds."""


class Loop(uvloop.Loop):
    """A loop that knows its main task: the one that `asyncio.run` has it run until completion."""

    is_terminated = False
    _main: asyncio.Task[Any] | None = None
    _on_end: Callable[[], None] | None = None
    _ending: asyncio.TimerHandle | None = None

    def run_until_complete(self, future: Any) -> Any:
        """Run until a future is done; return its result."""
        if (self._main is None or self._main.done()) and isinstance(future, asyncio.Task):
            self._main = cast("asyncio.Task[Any]", future)
        try:
            return super().run_until_complete(cast("Any", future))
        except UnfinishedRun as unfinished:
            if not super().run_until_complete(_report_unbegun()):
                raise
            raise Abort("The run was cancelled before it began.") from unfinished

    def terminate(self) -> bool:
        """Cancel the main task, once; return whether there is one that has not ended."""
        if self._main is None or self._main.done():
            return False
        if not self.is_terminated:
            self.is_terminated = True
            self.call_soon_threadsafe(self._end)
        return True

    def attend(self, on_end: Callable[[], None]) -> None:
        """Cancel the main task without delay from now on: it knows from here on how to end.

        `on_end` is called before.
        """
        self._on_end = on_end
        if self._ending is not None:
            self._ending.cancel()
            self._end()

    def _end(self) -> None:
        delay_s = BEGIN_WITHIN_S if self._on_end is None else 0.0
        self._ending = self.call_later(delay_s, self._cancel)

    def _cancel(self) -> None:
        assert self._main is not None
        if self._on_end is not None:
            self._on_end()
        self._main.cancel()


class LoopPolicy(uvloop.EventLoopPolicy):
    """Makes such loops."""

    def new_event_loop(self) -> Loop:
        """Return a new loop."""
        return Loop()


def use() -> None:
    """Make every new loop of this process such a one, and have SIGTERM end it in order.

    Prefect acknowledges a cancellation only while the handler that it keeps is installed.
    """
    handler: Any = _on_sigterm
    engine._prefect_sigterm_handler = handler  # noqa: SLF001 - no public place  # pyright: ignore[reportPrivateUsage]
    with warnings.catch_warnings():
        # Policies are deprecated from Python 3.14 on, and the only way to a loop of `asyncio.run`.
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(LoopPolicy())  # pyright: ignore[reportDeprecated] - Prefect makes its loops by the policy


def attend(on_end: Callable[[], None] = lambda: None) -> None:
    """See `Loop.attend`; any other loop needs nothing."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, Loop):
        loop.attend(on_end)


def is_terminated() -> bool:
    """Return whether a SIGTERM has cancelled the main task of the running loop."""
    loop = asyncio.get_running_loop()
    return isinstance(loop, Loop) and loop.is_terminated


async def _report_unbegun() -> bool:
    """Report a run as cancelled that was so before it began; return whether it was.

    Prefect itself would leave it Cancelling, and its slot taken, for 300 s.
    """
    if not flow_run.id:
        return False
    run_id = UUID(flow_run.id)
    async with get_client() as client:
        state = (await client.read_flow_run(run_id)).state
        if state is None or not state.is_cancelling():
            return False
        ended = Cancelled(message="The run was cancelled before it began.")
        await client.set_flow_run_state(run_id, ended)
    return True


def _on_sigterm(number: int, *_: object) -> None:
    """Cancel the main task of the running loop; without one, do as Prefect's handler."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if not (isinstance(loop, Loop) and loop.terminate()):
        raise TerminationSignal(signal=number)

"""The event loop that runs work on: libuv's, which takes less of the processor than asyncio's."""

import asyncio
import warnings
from typing import Any

import uvloop
from prefect.exceptions import TerminationSignal


class Loop(uvloop.Loop):
    """A loop that ends with what Prefect's handler of SIGTERM raises, as asyncio's does.

    libuv has signals handled within a callback, and what a callback raises is logged and forgotten:
    a run that is told to end would go on.
    """

    _termination: TerminationSignal | None = None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Stop for a termination; log anything else."""
        raised = context.get("exception")
        if not isinstance(raised, TerminationSignal):
            super().call_exception_handler(context)
            return
        self._termination = raised
        self.stop()

    def run_forever(self) -> None:
        """Run until the loop is stopped.

        Raises:
            TerminationSignal: this process was told to end.
        """
        super().run_forever()
        termination, self._termination = self._termination, None
        if termination is not None:
            raise termination


class LoopPolicy(uvloop.EventLoopPolicy):
    """Makes such loops."""

    def new_event_loop(self) -> Loop:
        """Make one."""
        return Loop()


def use() -> None:
    """Have every loop that is made from now on be such a one.

    Prefect makes the loop of a run itself, with `asyncio.run`, and asks nobody which.
    """
    with warnings.catch_warnings():
        # Policies are deprecated from Python 3.14 on, and the only way to a loop of `asyncio.run`.
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(LoopPolicy())  # pyright: ignore[reportDeprecated]

"""Work that is done in child processes, which kill themselves at a chosen step.

A program that calls `serve_orders` reads one JSON object a line, with `kill_at` among its values.
It forks, works one order in the child, and prints `{"steps", "signal", "exit"}`.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any


class Steps:
    """Counts steps, and ends the process, hard, at one of them.

    Args:
        kill_at: number of the step, from 1; 0 is never.
    """

    def __init__(self, kill_at: int) -> None:
        self._kill_at = kill_at
        self._counter = itertools.count(1)
        self.count = 0

    def pass_one(self) -> None:
        """Take a step."""
        self.count = next(self._counter)
        if self.count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def serve_orders(work: Callable[[dict[str, Any], Steps], Awaitable[None]]) -> None:
    """Serve orders until the input ends."""

    async def serve(order: dict[str, Any], steps: Steps) -> None:
        await work(order, steps)

    for line in sys.stdin:
        order = json.loads(line)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            steps = Steps(order["kill_at"])
            asyncio.run(serve(order, steps))
            os.write(write_end, str(steps.count).encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as answer:
            counted = answer.read()
        _, status = os.waitpid(child, 0)
        told = {
            "steps": int(counted or 0),
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
        }
        print(json.dumps(told), flush=True)  # noqa: T201

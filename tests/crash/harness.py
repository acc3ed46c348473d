"""Work that is done in child processes, which kill themselves at a chosen step.

The program calls `serve_orders`: it reads one JSON object a line, with `kill_at` among its values,
forks, works the order in the child, and prints how the child ended. The test starts the program
with `forking` and gives it orders.
"""

import asyncio
import gc
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
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

    # As shifts do: to collect what was imported takes longer than the short leases of tests last.
    gc.collect()
    gc.freeze()
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
        ending = {
            "steps": int(counted or 0),
            "was_killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
            "is_done": os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0,
        }
        print(json.dumps(ending), flush=True)  # noqa: T201 - the answer goes to standard output


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child process ended.

    Attributes:
        steps: how many it took; 0 of one that was killed.
        was_killed: it killed itself.
        is_done: it came to the end of its work.
    """

    steps: int
    was_killed: bool
    is_done: bool


class Forks:
    """A running program that serves orders."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def work(self, kill_at: int = 0, **order: Any) -> Ending:
        """Work an order in a child that is killed at a step (0: never)."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({**order, "kill_at": kill_at}).encode() + b"\n")
        return Ending(**json.loads(await self._process.stdout.readline()))


@asynccontextmanager
async def forking(module: str) -> AsyncGenerator[Forks]:
    """Run a program that calls `serve_orders`, by its module's name."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield Forks(process)
    assert process.stdin
    process.stdin.close()
    await process.wait()

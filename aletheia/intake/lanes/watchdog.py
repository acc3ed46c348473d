"""Ends a worker whose event loop stands still, so that its tasks go to others (SPEC §1, Lanes).

A processor that blocks, against its contract, would keep its worker for ever: no time limit runs
out, no lease is renewed, and its run never ends. So the process is ended, hard, and says where it
was. The task's lease runs out, and after three workers it is its own error.
"""

import asyncio
import contextlib
import faulthandler
from collections.abc import AsyncGenerator
from typing import Final

MAX_BLOCKED_S: Final = 120.0
"""How long the loop may stand still, seconds: importing a large library takes a tenth of it."""

STDERR: Final = 2
"""The descriptor: whatever stands in for `sys.stderr` may be no file."""

_REARMED_PER_LIMIT: Final = 4


@contextlib.asynccontextmanager
async def ending_if_blocked(max_blocked_s: float = MAX_BLOCKED_S) -> AsyncGenerator[None]:
    """End the process with status 1 if the loop stands still for so long within the context."""

    async def rearm() -> None:
        while True:
            # A thread without the interpreter's lock waits, and writes the stacks before the end.
            faulthandler.dump_traceback_later(max_blocked_s, exit=True, file=STDERR)
            await asyncio.sleep(max_blocked_s / _REARMED_PER_LIMIT)

    task = asyncio.create_task(rearm())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        faulthandler.cancel_dump_traceback_later()

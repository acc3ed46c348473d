"""The order in which the steps over batches overlap."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar


class Sized(Protocol):
    """What a collecting step returns."""

    @property
    def size(self) -> int:
        """How much there is to do; 0 ends the drain."""
        ...


B = TypeVar("B", bound=Sized)


async def drain(
    collect: Callable[[], Coroutine[Any, Any, B]],
    compute: Callable[[B], Awaitable[Any]],
    report: Callable[[B], Coroutine[Any, Any, Any]],
) -> None:
    """Collect, compute and report batches until one comes back empty.

    The next batch is collected while one is computed, and a batch is reported while it and the
    next one are computed, so that whatever computes never waits for the network. No more than
    three batches are under way at once.

    Raises:
        BaseException: the first failure, bare, after everything else under way has ended.
            Prefect's own signals (a pause, a cancellation) pass through here.
    """
    running: set[asyncio.Task[Any]] = set()

    def start(step: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(step)
        running.add(task)
        return task

    try:
        collecting, reporting = start(collect()), None
        while (batch := await collecting).size:
            collecting = start(collect())
            reported_before, reporting = reporting, start(report(batch))
            await compute(batch)
            if reported_before is not None:
                await reported_before
        if reporting is not None:
            await reporting
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

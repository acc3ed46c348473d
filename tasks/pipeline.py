"""The order in which the steps over batches overlap."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar


class Sized(Protocol):
    """What a collecting step returns."""

    @property
    def size(self) -> int:
        """How much there is to do; 0 ends the drain."""
        ...


B = TypeVar("B", bound=Sized)

MOST_AT_ONCE = 2
"""Batches that are processed at once, beside the one that is collected."""


async def drain(
    collect: Callable[[], Awaitable[B]], process: Callable[[B], Awaitable[Any]]
) -> None:
    """Collect and process batches until one comes back empty.

    The next batch is collected while others are processed, and two are processed at once, so that
    whatever computes does not stand idle while one of them ends.

    Raises:
        BaseException: the first failure, bare, after everything else under way has ended.
            Prefect's own signals (a pause, a cancellation) pass through here.
    """
    under_way: deque[asyncio.Future[Any]] = deque()
    collecting = asyncio.ensure_future(collect())
    try:
        while (batch := await collecting).size:
            collecting = asyncio.ensure_future(collect())
            under_way.append(asyncio.ensure_future(process(batch)))
            if len(under_way) == MOST_AT_ONCE:
                await under_way[0]
                under_way.popleft()
        while under_way:
            await under_way[0]
            under_way.popleft()
    finally:
        left = [collecting, *under_way]
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)

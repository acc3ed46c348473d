"""The order in which the steps over batches overlap."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from aletheia.intake.held_claims import Batch
from aletheia.intake.models import Collected

B = TypeVar("B", Batch, Collected)
PartT = TypeVar("PartT")

MAX_AT_ONCE = 2
"""Batches that are processed at once, beside the one that is collected."""


async def drain(
    collect: Callable[[], Awaitable[B]], process: Callable[[B], Awaitable[Any]]
) -> None:
    """Collect and process batches until one comes back empty.

    The next batch is collected while two others are processed, so that whatever computes does not
    stand idle. The first failure, also a signal of Prefect's, is raised bare, after the rest ended.
    """
    under_way: set[asyncio.Future[Any]] = set()
    collecting = asyncio.ensure_future(collect())
    try:
        while (batch := await collecting).size:
            collecting = asyncio.ensure_future(collect())
            under_way.add(asyncio.ensure_future(process(batch)))
            if len(under_way) == MAX_AT_ONCE:
                under_way = await _first_of(under_way)
        while under_way:
            under_way = await _first_of(under_way)
    finally:
        left = [collecting, *under_way]
        for future in left:
            future.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def drain_parts(
    parts: Iterable[PartT],
    collect: Callable[[PartT], Awaitable[Collected]],
    process: Callable[[Collected], Awaitable[Any]],
) -> None:
    """Collect and process a batch of each part, as `drain` does; a part may yield none."""
    left = iter(parts)

    async def collect_next() -> Collected:
        for part in left:
            if (batch := await collect(part)).size:
                return batch
        return Collected()

    await drain(collect_next, process)


async def drain_slots(
    collect: Callable[[], Awaitable[B]],
    process: Callable[[B], Awaitable[Any]],
    *,
    slots: int,
    has_work: Callable[[], Awaitable[bool]],
    poll_s: float,
) -> None:
    """Keep batches under way in `slots`, each collected when one is free, until all are done.

    While a slot is free and others are not, `has_work` is asked every `poll_s` seconds whether
    there is something to collect. Failures are raised as by `drain`.
    """
    under_way: set[asyncio.Future[Any]] = set()
    try:
        while True:
            while len(under_way) < slots and (not under_way or await has_work()):
                if not (batch := await collect()).size:
                    break
                under_way.add(asyncio.ensure_future(process(batch)))
            if not under_way:
                return
            is_full = len(under_way) >= slots
            under_way = await _first_of(under_way, timeout_s=None if is_full else poll_s)
    finally:
        for future in under_way:
            future.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _first_of(
    under_way: set[asyncio.Future[Any]], timeout_s: float | None = None
) -> set[asyncio.Future[Any]]:
    """Wait for whichever ends first, and return the others; its failure is raised bare."""
    done, others = await asyncio.wait(
        under_way, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
    )
    for future in done:
        future.result()
    return others

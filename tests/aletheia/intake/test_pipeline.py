import asyncio

import pytest

from aletheia.intake.models import Collected
from aletheia.intake.pipeline import MAX_AT_ONCE, drain, drain_parts


class Source:
    """Gives out so many batches, one after another."""

    def __init__(self, batches: int) -> None:
        self.batches, self.given = batches, 0

    async def collect(self) -> Collected:
        """Return the next one; an empty one at the end."""
        self.given += 1
        return Collected(number=self.given, size=int(self.given <= self.batches))


async def test_a_batch_that_takes_long_holds_up_none_of_those_behind_it():
    released, done = asyncio.Event(), list[int]()

    async def process(batch: Collected) -> None:
        if batch.number == 1:
            await released.wait()
        done.append(batch.number)
        if batch.number == 5:
            released.set()

    async with asyncio.timeout(5):
        await drain(Source(5).collect, process)
    assert done == [2, 3, 4, 5, 1]


async def test_of_parts_those_that_yield_no_batch_are_passed_over():
    processed = list[int]()

    async def collect(part: int) -> Collected:
        return Collected(number=part, size=part % 2)

    async def process(batch: Collected) -> None:
        processed.append(batch.number)

    await drain_parts([2, 1, 4, 6, 3, 8], collect, process)
    assert processed == [1, 3]
    await drain_parts([], collect, process)
    assert processed == [1, 3]


async def test_so_many_batches_are_processed_at_once_and_no_more():
    at_once, max_at_once = 0, 0

    async def process(batch: Collected) -> None:
        nonlocal at_once, max_at_once
        del batch
        at_once += 1
        max_at_once = max(max_at_once, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1

    await drain(Source(9).collect, process)
    assert max_at_once == MAX_AT_ONCE


async def test_a_failure_is_raised_bare_once_everything_else_has_ended():
    ended: list[int] = []

    async def process(batch: Collected) -> None:
        if batch.number == 2:
            raise ValueError("two")
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(batch.number)

    with pytest.raises(ValueError, match="two"):
        await drain(Source(5).collect, process)
    assert ended == [1]

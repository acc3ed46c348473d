"""The time that computing may take."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from aletheia.analysis.time_limits import allow_time, find_share_left, next_within, not_counted
from aletheia.errors import TooSlow


async def numbers(*pauses_s: float, asks_s: float = 0) -> AsyncGenerator[int]:
    for number, pause_s in enumerate(pauses_s):
        allow_time(asks_s)
        await asyncio.sleep(pause_s)
        yield number


async def test_each_answer_has_the_whole_limit():
    found = numbers(0.04, 0.04, 0.04)
    assert [await next_within(found, 0.1, "it") for _ in range(4)] == [0, 1, 2, None]


async def test_a_time_out_of_the_processors_own_is_not_ours():
    async def fail() -> AsyncGenerator[int]:
        raise TimeoutError("a socket")
        yield 0

    with pytest.raises(TimeoutError, match="a socket"):
        await next_within(fail(), 60, "it")


async def test_more_time_is_counted_from_the_beginning():
    with pytest.raises(TooSlow, match=r"within 0\.1 s"):
        await next_within(numbers(60, asks_s=0.1), 0.01, "it")


async def test_outside_of_a_limit_asking_for_time_does_nothing():
    allow_time(60)
    with pytest.raises(TooSlow, match=r"within 0\.01 s"):
        await next_within(numbers(60), 0.01, "it")


async def test_what_is_left_of_a_limit_can_be_asked():
    async def shares() -> AsyncGenerator[float]:
        await asyncio.sleep(0.1)
        yield find_share_left()
        allow_time(1000)
        yield find_share_left()

    found = shares()
    assert find_share_left() == 1.0
    assert 0 <= (await next_within(found, 0.4, "it") or 0.0) <= 0.8
    assert (await next_within(found, 0.4, "it") or 0.0) > 0.9


async def test_a_wait_for_others_is_not_counted():
    async def wait_and_work(work_s: float) -> AsyncGenerator[int]:
        with not_counted():
            await asyncio.sleep(0.3)
        await asyncio.sleep(work_s)
        yield 1

    assert await next_within(wait_and_work(0.01), 0.2, "it") == 1
    with pytest.raises(TooSlow):
        await next_within(wait_and_work(60), 0.2, "it")
    with not_counted():
        pass


async def test_time_that_a_part_is_allowed_is_allowed_the_whole():
    async def whole() -> AsyncGenerator[int]:
        part = numbers(0.15, asks_s=0.5)
        yield await asyncio.create_task(next_within(part, 0.05, "the part")) or 0

    assert await next_within(whole(), 0.1, "the whole") == 0


async def test_a_part_without_more_time_ends_within_its_own():
    async def whole() -> AsyncGenerator[int]:
        with pytest.raises(TooSlow, match="the part"):
            await next_within(numbers(60), 0.01, "the part")
        yield 7

    assert await next_within(whole(), 60, "the whole") == 7


async def test_a_wait_of_a_part_for_others_is_not_counted_for_the_whole():
    async def part() -> AsyncGenerator[int]:
        with not_counted():
            await asyncio.sleep(0.3)
        yield 1

    async def whole() -> AsyncGenerator[int]:
        yield await asyncio.create_task(next_within(part(), 0.2, "the part")) or 0

    assert await next_within(whole(), 0.2, "the whole") == 1

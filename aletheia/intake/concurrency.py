"""Several coroutines at once, and the first failure as it was raised."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")


async def all_of(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines at once and return their results in order.

    The first failure cancels the others, waits for them to end, and is raised itself rather than
    in a group: Prefect recognises its own signals only bare.
    """
    running = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*running)
    except BaseException:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise


async def together(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Run two coroutines at once, as `all_of` does, and return both results."""
    results: list[Any] = await all_of([first, second])
    return results[0], results[1]

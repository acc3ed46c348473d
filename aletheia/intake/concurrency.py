"""Several coroutines at once, and many items together, with the failure that counts (SPEC §1)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from aletheia.errors import AletheiaError

R = TypeVar("R")
T = TypeVar("T")

log = logging.getLogger(__name__)


async def all_of(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
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


async def isolated(
    act: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
    items: Sequence[T],
    give_up: Callable[[T, Exception], Awaitable[Sequence[R]]],
) -> list[R]:
    """Act on items; where that fails unexpectedly, on either half, down to the one at fault.

    `act` may be called again with what it was called with before; an error of ours that it raises
    says nothing against an item. `give_up` is called with each item at fault in its place.
    """
    try:
        return list(await act(items))
    except AletheiaError:
        raise
    except Exception as fault:
        if not items:
            raise
        if len(items) == 1:
            log.exception("one of many is left out")
            return list(await give_up(items[0], fault))
    middle = len(items) // 2
    first = await isolated(act, items[:middle], give_up)
    return first + await isolated(act, items[middle:], give_up)

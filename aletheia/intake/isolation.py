"""Acting on many items together, so that one which makes that fail costs no other (SPEC §1)."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from aletheia.errors import AletheiaError

R = TypeVar("R")
T = TypeVar("T")

log = logging.getLogger(__name__)


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

"""One item that makes work fail costs no other."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from aletheia.errors import Unavailable
from aletheia.intake.concurrency import isolated


@pytest.mark.parametrize("bad", [set[int](), {0}, {9}, {3, 4}, set(range(10))])
async def test_what_is_at_fault_is_given_up_and_the_rest_is_done_in_order(bad: set[int]):
    given_up: list[int] = []

    async def act(items: Sequence[int]) -> Sequence[int]:
        if bad & set(items):
            raise RuntimeError("made to fail")
        return items

    async def give_up(item: int, fault: Exception) -> Sequence[int]:
        assert isinstance(fault, RuntimeError)
        given_up.append(item)
        return []

    done = await isolated(act, range(10), give_up)
    assert (done, given_up) == ([n for n in range(10) if n not in bad], sorted(bad))


def failing(fault: Exception) -> Callable[[Sequence[int]], Awaitable[Sequence[int]]]:
    async def act(items: Sequence[int]) -> Sequence[int]:
        assert items is not None
        raise fault

    return act


async def never(item: int, fault: Exception) -> Sequence[int]:
    raise AssertionError(item) from fault


async def test_an_outage_is_no_items_fault():
    with pytest.raises(Unavailable):
        await isolated(failing(Unavailable("store", "down")), [1, 2], never)


async def test_a_fault_without_items_is_nobodys():
    with pytest.raises(RuntimeError):
        await isolated(failing(RuntimeError("even so")), [], never)

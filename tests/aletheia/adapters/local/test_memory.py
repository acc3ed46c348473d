import asyncio
from collections.abc import Sequence

import pytest

from aletheia.adapters.local.memory import ModelMemory, Place
from aletheia.errors import ModelUnavailable


class SmallMemory:
    """Memory for 100 bytes of models, which go as soon as they have to unless they are `slow`."""

    def __init__(self, max_bytes: int = 100, slow: Sequence[str] = ()) -> None:
        self.now = 0.0
        self.slow = slow
        self.evicted: list[tuple[str, bool]] = []
        self.memory = ModelMemory(max_bytes, self.evict, clock=self.clock)

    def clock(self) -> float:
        self.now += 1
        return self.now

    def evict(self, place: Place, is_for_another: bool) -> None:
        self.evicted.append((place.model, is_for_another))
        if place.model not in self.slow:
            asyncio.get_running_loop().call_soon(self.memory.gone, place.model)

    async def use(self, model: str, size_bytes: int) -> None:
        self.memory.leave(await self.memory.enter(model, size_bytes))

    @property
    def models(self) -> list[str]:
        return [place.model for place in self.memory.places]


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_models_stay_as_long_as_memory_suffices():
    small = SmallMemory()
    for model in ("a", "b", "c"):
        await small.use(model, 33)
    assert small.models == ["a", "b", "c"]
    assert small.evicted == []


async def test_the_least_recently_used_model_goes_first():
    small = SmallMemory()
    for model in ("a", "b", "c", "a"):
        await small.use(model, 33)
    await small.use("d", 33)
    assert small.evicted == [("b", True)]
    await small.use("e", 60)
    assert small.evicted == [("b", True), ("c", True), ("a", True)]
    assert small.models == ["d", "e"]


async def test_the_end_of_a_call_is_a_use():
    small = SmallMemory()
    first = await small.memory.enter("a", 50)
    await small.use("b", 50)
    small.memory.leave(first)
    await small.use("c", 50)
    assert small.evicted == [("b", True)]


async def test_a_model_in_use_never_goes():
    small = SmallMemory()
    used = await small.memory.enter("a", 60)
    waiting = asyncio.create_task(small.use("b", 60))
    await turn()
    assert small.evicted == []
    assert not waiting.done()
    small.memory.leave(used)
    await waiting
    assert small.evicted == [("a", True)]
    assert small.models == ["b"]


async def test_memory_is_granted_once_a_model_is_really_gone():
    small = SmallMemory(slow=["a"])
    await small.use("a", 60)
    waiting = asyncio.create_task(small.use("b", 60))
    await turn()
    assert small.evicted == [("a", True)]
    assert not waiting.done()
    small.memory.gone("a")
    await waiting


async def test_who_waits_is_not_overtaken_for_ever():
    small = SmallMemory()
    used = await small.memory.enter("a", 60)
    order: list[str] = []

    async def call(model: str) -> None:
        place = await small.memory.enter(model, 60)
        order.append(model)
        await turn()
        small.memory.leave(place)

    calls = [asyncio.create_task(call(model)) for model in ("b", "a", "a")]
    await turn()
    assert order == []
    small.memory.leave(used)
    await asyncio.gather(*calls)
    assert order == ["b", "a", "a"]
    assert small.evicted == [("a", True), ("b", True)]


async def test_a_call_that_gives_up_waiting_lets_the_next_one_pass():
    small = SmallMemory()
    used = await small.memory.enter("a", 60)
    waiting = asyncio.create_task(small.use("b", 60))
    behind = asyncio.create_task(small.use("a", 60))
    await turn()
    waiting.cancel()
    await asyncio.wait_for(behind, 1)
    small.memory.leave(used)
    assert [(place.model, place.users) for place in small.memory.places] == [("a", 0)]


async def test_a_call_cancelled_as_its_turn_comes_takes_no_place():
    small = SmallMemory()
    used = await small.memory.enter("a", 60)
    waiting = asyncio.create_task(small.use("b", 100))
    await turn()
    small.memory.leave(used)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [(place.model, place.users) for place in small.memory.places] == [("a", 0)]


async def test_a_model_larger_than_the_bound_is_refused_and_nothing_goes_for_it():
    small = SmallMemory()
    await small.use("a", 100)
    with pytest.raises(ModelUnavailable, match=r"takes 101 bytes .* MODEL_MEMORY_MAX is 100"):
        await small.use("b", 101)
    assert small.evicted == []


async def test_without_a_bound_everything_stays():
    small = SmallMemory(max_bytes=0)
    for number in range(10):
        await small.use(str(number), 10**12)
    assert len(small.models) == 10


async def test_a_model_that_takes_more_than_was_thought_drives_others_out():
    small = SmallMemory()
    await small.use("a", 40)
    await small.use("b", 40)
    used = await small.memory.enter("c", 20)
    small.memory.measure("c", 50)
    await turn()
    assert small.evicted == [("a", True)]
    small.memory.leave(used)
    assert small.models == ["b", "c"]


async def test_a_model_that_turns_out_larger_than_the_bound_goes_before_all_others():
    small = SmallMemory()
    await small.use("a", 40)
    used = await small.memory.enter("b", 20)
    small.memory.measure("b", 101)
    await turn()
    assert small.evicted == []
    small.memory.leave(used)
    await turn()
    assert small.evicted == [("b", True)]
    assert small.models == ["a"]


async def test_freeing_waits_for_the_calls_under_way():
    small = SmallMemory()
    used = await small.memory.enter("a", 10)
    freeing = asyncio.create_task(small.memory.free("a"))
    later = asyncio.create_task(small.use("a", 10))
    await turn()
    assert not freeing.done()
    assert not later.done()
    small.memory.leave(used)
    await freeing
    await later
    assert small.evicted == [("a", False)]
    await small.memory.free("never there")


async def test_closing_turns_away_who_waits():
    small = SmallMemory()
    await small.memory.enter("a", 60)
    waiting = [
        asyncio.create_task(small.use("b", 60)),
        asyncio.create_task(small.memory.free("a")),
    ]
    await turn()
    small.memory.close("it is over")
    for call in waiting:
        with pytest.raises(ModelUnavailable, match="it is over"):
            await call
    assert small.models == []

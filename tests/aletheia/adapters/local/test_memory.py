import asyncio
from collections.abc import Sequence

import pytest

from aletheia.adapters.local.memory import ModelMemory, Place
from aletheia.errors import ModelUnavailable


class Room:
    """Memory for 100 bytes of models, which go as soon as they have to unless they are `slow`."""

    def __init__(self, max_bytes: int = 100, slow: Sequence[str] = ()) -> None:
        self.now = 0.0
        self.slow = slow
        self.evicted: list[tuple[str, bool]] = []
        self.memory = ModelMemory(max_bytes, self.evict, clock=self.clock)

    def clock(self) -> float:
        self.now += 1
        return self.now

    def evict(self, place: Place, is_for_room: bool) -> None:
        self.evicted.append((place.model, is_for_room))
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


async def test_models_stay_as_long_as_there_is_room():
    room = Room()
    for model in ("a", "b", "c"):
        await room.use(model, 33)
    assert room.models == ["a", "b", "c"]
    assert room.evicted == []


async def test_the_least_recently_used_model_goes_first():
    room = Room()
    for model in ("a", "b", "c", "a"):
        await room.use(model, 33)
    await room.use("d", 33)
    assert room.evicted == [("b", True)]
    await room.use("e", 60)
    assert room.evicted == [("b", True), ("c", True), ("a", True)]
    assert room.models == ["d", "e"]


async def test_the_end_of_a_call_is_a_use():
    room = Room()
    first = await room.memory.enter("a", 50)
    await room.use("b", 50)
    room.memory.leave(first)
    await room.use("c", 50)
    assert room.evicted == [("b", True)]


async def test_a_model_in_use_never_goes():
    room = Room()
    used = await room.memory.enter("a", 60)
    waiting = asyncio.create_task(room.use("b", 60))
    await turn()
    assert room.evicted == []
    assert not waiting.done()
    room.memory.leave(used)
    await waiting
    assert room.evicted == [("a", True)]
    assert room.models == ["b"]


async def test_room_is_given_once_a_model_is_really_gone():
    room = Room(slow=["a"])
    await room.use("a", 60)
    waiting = asyncio.create_task(room.use("b", 60))
    await turn()
    assert room.evicted == [("a", True)]
    assert not waiting.done()
    room.memory.gone("a")
    await waiting


async def test_who_waits_is_not_overtaken_for_ever():
    room = Room()
    used = await room.memory.enter("a", 60)
    order: list[str] = []

    async def call(model: str) -> None:
        place = await room.memory.enter(model, 60)
        order.append(model)
        await turn()
        room.memory.leave(place)

    calls = [asyncio.create_task(call(model)) for model in ("b", "a", "a")]
    await turn()
    assert order == []
    room.memory.leave(used)
    await asyncio.gather(*calls)
    assert order == ["b", "a", "a"]
    assert room.evicted == [("a", True), ("b", True)]


async def test_a_call_that_gives_up_waiting_lets_the_next_one_pass():
    room = Room()
    used = await room.memory.enter("a", 60)
    waiting = asyncio.create_task(room.use("b", 60))
    behind = asyncio.create_task(room.use("a", 60))
    await turn()
    waiting.cancel()
    await asyncio.wait_for(behind, 1)
    room.memory.leave(used)
    assert [(place.model, place.users) for place in room.memory.places] == [("a", 0)]


async def test_a_call_cancelled_as_its_turn_comes_takes_no_place():
    room = Room()
    used = await room.memory.enter("a", 60)
    waiting = asyncio.create_task(room.use("b", 100))
    await turn()
    room.memory.leave(used)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [(place.model, place.users) for place in room.memory.places] == [("a", 0)]


async def test_a_model_larger_than_the_bound_is_refused_and_nothing_goes_for_it():
    room = Room()
    await room.use("a", 100)
    with pytest.raises(ModelUnavailable, match=r"takes 101 bytes .* MODEL_MEMORY_MAX is 100"):
        await room.use("b", 101)
    assert room.evicted == []


async def test_without_a_bound_everything_stays():
    room = Room(max_bytes=0)
    for number in range(10):
        await room.use(str(number), 10**12)
    assert len(room.models) == 10


async def test_a_model_that_takes_more_than_was_thought_drives_others_out():
    room = Room()
    await room.use("a", 40)
    await room.use("b", 40)
    used = await room.memory.enter("c", 20)
    room.memory.measure("c", 50)
    await turn()
    assert room.evicted == [("a", True)]
    room.memory.leave(used)
    assert room.models == ["b", "c"]


async def test_a_model_that_turns_out_larger_than_the_bound_goes_before_all_others():
    room = Room()
    await room.use("a", 40)
    used = await room.memory.enter("b", 20)
    room.memory.measure("b", 101)
    await turn()
    assert room.evicted == []
    room.memory.leave(used)
    await turn()
    assert room.evicted == [("b", True)]
    assert room.models == ["a"]


async def test_freeing_waits_for_the_calls_under_way():
    room = Room()
    used = await room.memory.enter("a", 10)
    freeing = asyncio.create_task(room.memory.free("a"))
    later = asyncio.create_task(room.use("a", 10))
    await turn()
    assert not freeing.done()
    assert not later.done()
    room.memory.leave(used)
    await freeing
    await later
    assert room.evicted == [("a", False)]
    await room.memory.free("never there")


async def test_closing_turns_away_who_waits():
    room = Room()
    await room.memory.enter("a", 60)
    waiting = [
        asyncio.create_task(room.use("b", 60)),
        asyncio.create_task(room.memory.free("a")),
    ]
    await turn()
    room.memory.close("it is over")
    for call in waiting:
        with pytest.raises(ModelUnavailable, match="it is over"):
            await call
    assert room.models == []

"""The models that may be in memory, within a bound."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from aletheia.errors import ModelUnavailable


@dataclass(slots=True, eq=False)
class Place:
    """The place of a model in memory.

    Attributes:
        model: its name.
        size_bytes: what it takes, in all processes together.
        users: calls under way that need it.
        used_at: Unix time of its last use, seconds.
        is_leaving: whether it is being unloaded.
    """

    model: str
    size_bytes: int
    users: int = 0
    used_at: float = 0.0
    is_leaving: bool = False


@dataclass(slots=True, eq=False)
class _Waiting:
    """A call that waits for a place, or, with `size_bytes` `None`, for a model to be unloaded."""

    model: str
    size_bytes: int | None
    answer: "asyncio.Future[Place | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Evict(Protocol):
    """Begins to unload models."""

    def __call__(self, place: Place, *, is_for_room: bool) -> None:
        """Begin to unload the model of a place, perhaps to make room for another one."""
        ...


class ModelMemory:
    """Grants models places in memory, in the order in which calls ask.

    A model stays after its last call until its place is needed: then the least recently used are
    evicted first, and never one that a call uses. Calls wait in line, or models in steady use would
    keep a new one out for ever.

    Args:
        max_bytes: of all models together; 0 is no bound.
        evict: begins to unload the model of a place; a call of `gone` follows later.
        clock: Unix time, seconds.
    """

    def __init__(
        self,
        max_bytes: int,
        evict: Evict,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_bytes = max_bytes
        self._evict = evict
        self._clock = clock
        self._places: dict[str, Place] = {}  # the least recently used first
        self._queue: deque[_Waiting] = deque()

    @property
    def places(self) -> tuple[Place, ...]:
        """All places, the least recently used first."""
        return tuple(self._places.values())

    def has(self, model: str) -> bool:
        """Check whether a model has a place and is not being unloaded."""
        place = self._places.get(model)
        return place is not None and not place.is_leaving

    async def enter(self, model: str, size_bytes: int) -> Place:
        """Wait for a model's place; the caller has to `leave` it.

        Args:
            model: its name.
            size_bytes: in all processes together, as far as is known.

        Raises:
            ModelUnavailable: alone it is larger than the bound.
        """
        place = self._places.get(model)
        if place is None or place.is_leaving or self._queue:
            self.check(model, size_bytes)
            place = await self._wait(_Waiting(model, size_bytes))
            assert place is not None
            return place
        self._use(place)
        return place

    def leave(self, place: Place) -> None:
        """End a call's use of its model."""
        place.users -= 1
        place.used_at = self._clock()
        if self._places.get(place.model) is place:
            self._places[place.model] = self._places.pop(place.model)
        self._serve()

    async def free(self, model: str) -> None:
        """Unload a model once no call uses it, and wait until it is gone."""
        if model in self._places or self._queue:
            await self._wait(_Waiting(model, None))

    def check(self, model: str, size_bytes: int) -> None:
        """Check that a model is not larger than the bound.

        Raises:
            ModelUnavailable: it is.
        """
        if self._max_bytes and size_bytes > self._max_bytes:
            raise ModelUnavailable(
                model,
                f"it takes {size_bytes:,} bytes in all processes together, MODEL_MEMORY_MAX is "
                f"{self._max_bytes:,}",
            )

    def measure(self, model: str, size_bytes: int) -> None:
        """Record what a model really takes, and evict others where that is too much."""
        if place := self._places.get(model):
            place.size_bytes = size_bytes
            self._serve()

    def gone(self, model: str) -> None:
        """Record that a model is not in memory any more."""
        self._places.pop(model, None)
        self._serve()

    def close(self, why: str) -> None:
        """End all waiting calls with `ModelUnavailable`."""
        while self._queue:
            asked = self._queue.popleft()
            if not asked.answer.done():
                asked.answer.set_exception(ModelUnavailable(asked.model, why))
        self._places.clear()

    async def _wait(self, asked: _Waiting) -> Place | None:
        self._queue.append(asked)
        self._serve()
        try:
            return await asked.answer
        except asyncio.CancelledError:
            if asked.answer.cancelled():
                self._serve()
            elif asked.answer.exception() is None and (place := asked.answer.result()):
                self.leave(place)
            raise

    def _serve(self) -> None:
        """Answer waiting calls, the oldest first, and evict what is in the way."""
        while self._queue:
            asked = self._queue[0]
            if asked.answer.done():
                self._queue.popleft()
                continue
            if asked.size_bytes is None:
                if not self._is_away(asked.model):
                    return
                self._queue.popleft()
                asked.answer.set_result(None)
                continue
            place = self._places.get(asked.model)
            if place is None:
                if not self._make_room(asked.size_bytes):
                    return
                place = self._places[asked.model] = Place(asked.model, asked.size_bytes)
            elif place.is_leaving:
                return
            self._queue.popleft()
            self._use(place)
            asked.answer.set_result(place)
        self._make_room(0)

    def _is_away(self, model: str) -> bool:
        """Check whether a model is gone; begin to unload it if no call uses it."""
        place = self._places.get(model)
        if place is not None and not place.users and not place.is_leaving:
            self._begin_eviction(place, is_for_room=False)
        return model not in self._places

    def _make_room(self, size_bytes: int) -> bool:
        """Evict models until there is room; return whether there is already."""
        if not self._max_bytes:
            return True
        if any(place.users for place in self._too_large()):
            return False  # others are evicted only if that does not suffice
        while self._used(leaving=False) + size_bytes > self._max_bytes:
            idle = next(itertools.chain(self._too_large(), self._idle()), None)
            if idle is None:
                break
            self._begin_eviction(idle, is_for_room=True)
        return self._used(leaving=True) + size_bytes <= self._max_bytes

    def _used(self, *, leaving: bool) -> int:
        return sum(
            place.size_bytes for place in self._places.values() if leaving or not place.is_leaving
        )

    def _idle(self) -> Iterator[Place]:
        places = self._places.values()
        return (place for place in places if not place.users and not place.is_leaving)

    def _too_large(self) -> Iterator[Place]:
        """Yield models that turned out larger than the bound once they were loaded."""
        return (
            place
            for place in self._places.values()
            if place.size_bytes > self._max_bytes and not place.is_leaving
        )

    def _begin_eviction(self, place: Place, *, is_for_room: bool) -> None:
        place.is_leaving = True
        self._evict(place, is_for_room=is_for_room)

    def _use(self, place: Place) -> None:
        place.users += 1
        place.used_at = self._clock()
        self._places[place.model] = self._places.pop(place.model)

"""Which models may be in memory, under a bound."""

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
class _Asked:
    """A call that waits: for a place, or, with `size_bytes` `None`, for a model to be gone."""

    model: str
    size_bytes: int | None
    answer: "asyncio.Future[Place | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Evict(Protocol):
    """Begins to unload models."""

    def __call__(self, place: Place, *, is_for_room: bool) -> None:
        """Begin to unload the model of a place, perhaps because another one needs the room."""
        ...


class ModelMemory:
    """Gives models their places in memory, in the order in which calls ask.

    A model stays when its last call has ended, until its place is needed: then the least recently
    used go first. One that a call uses never goes. While a call waits, those that come after it
    wait behind it, or models in steady use would keep it out for ever.

    Args:
        max_bytes: what all models may take together; 0 is no bound.
        evict: begins to unload the model of a place. A call of `gone` has to follow, later, not
            from within.
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
        self._queue: deque[_Asked] = deque()

    @property
    def places(self) -> tuple[Place, ...]:
        """All places, that of the least recently used model first."""
        return tuple(self._places.values())

    def has(self, model: str) -> bool:
        """Tell whether a model has a place that it may keep."""
        place = self._places.get(model)
        return place is not None and not place.is_leaving

    async def enter(self, model: str, size_bytes: int) -> Place:
        """Wait for a model's place; whoever gets it has to `leave` it.

        Args:
            model: its name.
            size_bytes: what it takes, in all processes together, as far as is known.

        Raises:
            ModelUnavailable: alone it is larger than the bound.
        """
        place = self._places.get(model)
        if place is None or place.is_leaving or self._queue:
            self.check(model, size_bytes)
            place = await self._wait(_Asked(model, size_bytes))
            assert place is not None
            return place
        self._use(place)
        return place

    def leave(self, place: Place) -> None:
        """Say that a call does not need its model any more."""
        place.users -= 1
        place.used_at = self._clock()
        if self._places.get(place.model) is place:
            self._places[place.model] = self._places.pop(place.model)
        self._serve()

    async def free(self, model: str) -> None:
        """Have a model unloaded once no call uses it, and wait until it is gone."""
        if model in self._places or self._queue:
            await self._wait(_Asked(model, None))

    def check(self, model: str, size_bytes: int) -> None:
        """Refuse a model that is larger than the bound.

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
        """Note what a model really takes; others go if that is more than there is."""
        if place := self._places.get(model):
            place.size_bytes = size_bytes
            self._serve()

    def gone(self, model: str) -> None:
        """Note that a model is not in memory any more."""
        self._places.pop(model, None)
        self._serve()

    def close(self, why: str) -> None:
        """Turn away everybody who waits."""
        while self._queue:
            asked = self._queue.popleft()
            if not asked.answer.done():
                asked.answer.set_exception(ModelUnavailable(asked.model, why))
        self._places.clear()

    async def _wait(self, asked: _Asked) -> Place | None:
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
        """Answer who waits, the first first, and unload what has to go."""
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
        """Tell whether a model is gone, and have it go if it may."""
        place = self._places.get(model)
        if place is not None and not place.users and not place.is_leaving:
            self._let_go(place, is_for_room=False)
        return model not in self._places

    def _make_room(self, size_bytes: int) -> bool:
        """Have models go until there is as much room; tell whether there is already."""
        if not self._max_bytes:
            return True
        if any(place.users for place in self._too_large()):
            return False  # the others have to go only if there is no room without it
        while self._used(leaving=False) + size_bytes > self._max_bytes:
            idle = next(itertools.chain(self._too_large(), self._idle()), None)
            if idle is None:
                break
            self._let_go(idle, is_for_room=True)
        return self._used(leaving=True) + size_bytes <= self._max_bytes

    def _used(self, *, leaving: bool) -> int:
        return sum(
            place.size_bytes for place in self._places.values() if leaving or not place.is_leaving
        )

    def _idle(self) -> Iterator[Place]:
        return (one for one in self._places.values() if not one.users and not one.is_leaving)

    def _too_large(self) -> Iterator[Place]:
        """Find models that took more than the bound once they were loaded."""
        return (
            one
            for one in self._places.values()
            if one.size_bytes > self._max_bytes and not one.is_leaving
        )

    def _let_go(self, place: Place, *, is_for_room: bool) -> None:
        place.is_leaving = True
        self._evict(place, is_for_room=is_for_room)

    def _use(self, place: Place) -> None:
        place.users += 1
        place.used_at = self._clock()
        self._places[place.model] = self._places.pop(place.model)

"""The models that may be in memory, within a bound."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from aletheia.errors import ModelUnavailable
from aletheia.store.clock import SYSTEM_CLOCK


@dataclass(slots=True, eq=False)
class Place:
    """The place of a model in memory."""

    model: str
    size_bytes: int  # in all processes together
    users: int = 0  # calls under way that need it
    used_at: float = 0.0  # Unix time, seconds
    is_leaving: bool = False


Evict: TypeAlias = Callable[[Place, bool], None]
"""Begins to unload the model of a place, perhaps to free its memory for another one."""


class ModelMemory:
    """Grants models places in memory, in the order in which calls ask; `max_bytes` 0 is no bound.

    Where one is needed the least recently used model leaves first, and never one that a call uses.
    Calls wait in line, or models in steady use would keep a new one out.
    """

    def __init__(
        self, max_bytes: int, evict: Evict, *, clock: Callable[[], float] = SYSTEM_CLOCK.unix_s
    ) -> None:
        self._max_bytes, self._evict, self._clock = max_bytes, evict, clock
        self._places: dict[str, Place] = {}  # the least recently used first
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._why_closed: str | None = None

    @property
    def places(self) -> tuple[Place, ...]:
        """All places, the least recently used first."""
        return tuple(self._places.values())

    def has(self, model: str) -> bool:
        """Check whether a model has a place and is not being unloaded."""
        place = self._places.get(model)
        return place is not None and not place.is_leaving

    async def enter(self, model: str, size_bytes: int) -> Place:
        """Wait for a model's place, which the caller `leave`s, or raise `ModelUnavailable`."""
        self.check(model, size_bytes)
        async with self._turn:
            while True:
                self._check_open(model)
                if model not in self._places and self._free_memory(size_bytes):
                    self._places[model] = Place(model, size_bytes)
                if self.has(model):
                    place = self._places[model]
                    place.users += 1
                    self._touch(place)
                    return place
                await self._change()

    def leave(self, place: Place) -> None:
        """End a call's use of its model."""
        place.users -= 1
        self._touch(place)
        self._settle()

    async def free(self, model: str) -> None:
        """Unload a model once no call uses it, and wait until it is gone."""
        async with self._turn:
            self._check_open(model)
            while place := self._places.get(model):
                if not place.users and not place.is_leaving:
                    place.is_leaving = True
                    self._evict(place, False)
                await self._change()
                self._check_open(model)

    def check(self, model: str, size_bytes: int) -> None:
        """Raise `ModelUnavailable` if a model is larger than the bound."""
        if self._max_bytes and size_bytes > self._max_bytes:
            takes = f"it takes {size_bytes:,} bytes in all processes together"
            raise ModelUnavailable(model, f"{takes}, MODEL_MEMORY_MAX is {self._max_bytes:,}")

    def measure(self, model: str, size_bytes: int) -> None:
        """Record what a model really takes, and evict others where that is too much."""
        if place := self._places.get(model):
            place.size_bytes = size_bytes
            self._settle()

    def gone(self, model: str) -> None:
        """Record that a model is not in memory any more."""
        self._places.pop(model, None)
        self._settle()

    def close(self, why: str) -> None:
        """End all waiting calls with `ModelUnavailable`, and refuse further ones."""
        self._why_closed = why
        self._places.clear()
        self._changed.set()

    def _check_open(self, model: str) -> None:
        if self._why_closed is not None:
            raise ModelUnavailable(model, self._why_closed)

    async def _change(self) -> None:
        """Wait until something has changed; only the call whose turn it is waits here."""
        self._changed.clear()
        await self._changed.wait()

    def _settle(self) -> None:
        """Evict what is too much after a change, and wake the call whose turn it is."""
        self._free_memory(0)
        self._changed.set()

    def _free_memory(self, size_bytes: int) -> bool:
        """Evict models until so much memory is free; return whether it is already."""
        if not self._max_bytes:
            return True
        staying = [place for place in self._places.values() if not place.is_leaving]
        # What turned out larger than the bound goes first, and alone if that suffices.
        too_large = [place for place in staying if place.size_bytes > self._max_bytes]
        if any(place.users for place in too_large):
            return False
        idle = [place for place in staying if not place.users and place not in too_large]
        excess = sum(place.size_bytes for place in staying) + size_bytes - self._max_bytes
        for place in (*too_large, *idle):
            if excess > 0:
                excess -= place.size_bytes
                place.is_leaving = True
                self._evict(place, True)
        used = sum(place.size_bytes for place in self._places.values())
        return used + size_bytes <= self._max_bytes

    def _touch(self, place: Place) -> None:
        """Make a place the most recently used."""
        place.used_at = self._clock()
        if self._places.get(place.model) is place:
            self._places[place.model] = self._places.pop(place.model)

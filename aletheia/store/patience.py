"""Waiting for a store that is out of reach: locked, full, or gone for a while."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar, cast

from aletheia.documents import Documents, write_in_turn
from aletheia.errors import Unavailable
from aletheia.store.clock import SYSTEM_CLOCK

T = TypeVar("T")

STORE: Final = "store"
"""What errors call the store."""

LOG_EVERY_S: Final = 10.0

LAST_CALL_S: Final = 4.0
"""How long a call may take once nothing is waited for any more, seconds."""

log = logging.getLogger(__name__)


class Patience:
    """Repeats what a store could not do, until it can, or one call has waited `max_wait_s`.

    With `max_wait_s=0`, nothing is repeated, and only what is under way at the end is bounded.
    """

    def __init__(self, *, max_wait_s: float = 600, pause_s: float = 1) -> None:
        self._max_wait_s, self._pause_s = max_wait_s, pause_s
        self._ended = asyncio.Event()
        self._bounds: set[asyncio.Timeout] = set()  # of the calls that are under way
        self._waiting = 0
        self._since_s = self._logged_s = 0.0
        self._is_given_up = False
        self.reason = ""  # why the store was out of reach when it was last asked

    @property
    def waited_s(self) -> float | None:
        """For how long the store has been waited for, seconds; `None` where it is not."""
        return SYSTEM_CLOCK.steady_s() - self._since_s if self._waiting else None

    def end(self) -> None:
        """Wait no more: a call fails when it fails once, all do after one that takes too long."""
        if not self._ended.is_set():
            self._ended.set()
            for bound in self._bounds:
                bound.reschedule(asyncio.get_running_loop().time() + LAST_CALL_S)

    def wrap(self, documents: Documents) -> Documents:
        """Return a store whose calls are repeated; closing it is not."""
        return cast("Documents", _Repeating(documents, self))

    async def repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until the store is there; raise what was last in the way when the time is over."""
        try:
            return await self._call(call)
        except Unavailable as outage:
            is_last = self._ended.is_set() or not self._max_wait_s
            if is_last or outage.dependency != STORE:
                raise
            failure = outage
        began_s = SYSTEM_CLOCK.steady_s()
        self._since_s = self._since_s if self._waiting else began_s
        self._waiting += 1
        try:
            while True:
                waited_s = SYSTEM_CLOCK.steady_s() - began_s
                if self._ended.is_set() or waited_s >= self._max_wait_s:
                    raise failure
                self.reason, now_s = failure.reason, began_s + waited_s
                if not self._logged_s or now_s - self._logged_s >= LOG_EVERY_S:
                    self._logged_s = now_s
                    log.warning("%s; nothing is claimed until it is back", failure)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_s):
                        await self._ended.wait()
                try:
                    return await self._call(call)
                except Unavailable as outage:
                    failure = outage
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._logged_s = 0.0
                log.warning("waited %.0f s for the store", SYSTEM_CLOCK.steady_s() - self._since_s)

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        failure = Unavailable(STORE, f"no answer within {LAST_CALL_S:g} s")
        if self._is_given_up:
            raise failure
        bound = asyncio.timeout(LAST_CALL_S if self._ended.is_set() else None)
        try:
            async with bound:
                self._bounds.add(bound)
                try:
                    return await call()
                finally:
                    self._bounds.discard(bound)
        except TimeoutError:
            if not bound.expired():
                raise
            self._is_given_up = True
            raise failure from None


class _Repeating:
    """A document store behind `Patience`; what does not wait for the store is left as it is."""

    def __init__(self, documents: Documents, patience: Patience) -> None:
        self._documents, self._patience = documents, patience

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._documents, name)
        if name in ("close", "note", "has_transactions"):
            return found
        if name == "write" and not self._documents.has_transactions:
            # What was written of a group that is no transaction must not be written again.
            return partial(write_in_turn, cast("Documents", self))

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._patience.repeat(lambda: found(*args, **kwargs))

        return call

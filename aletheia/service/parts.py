"""Parts of the service that are opened when they are first needed, and tried again if that fails.

The service starts without what is not set up or is away (SPEC §6); whoever asks for it meanwhile
gets the error that opening it ended with.
"""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from aletheia.errors import AletheiaError

PartT = TypeVar("PartT")

RETRY_AFTER_S: Final = 1.0
"""For so long a failure may stand, so that no number of strangers makes many attempts."""


class Part(Generic[PartT]):
    """Something that is opened once, as soon as that works, in the context it was declared in.

    A failure stands for `retry_after_s`.
    """

    def __init__(
        self, open_it: Callable[[], Coroutine[Any, Any, PartT]], *, retry_after_s: float = 0.0
    ) -> None:
        self._open, self._retry_after_s = open_it, retry_after_s
        self._context = contextvars.copy_context()
        self._attempt: asyncio.Task[PartT] | None = None
        self._failed_at: float | None = None

    async def get(self) -> PartT:
        """Return it, open, or raise what opening it ended with."""
        # All that wait share an attempt: one after the other they would wait for each one's end.
        attempt = self._attempt
        if attempt is None or self._is_to_be_repeated(attempt):
            attempt = asyncio.create_task(self._open(), context=self._context)
            attempt.add_done_callback(self._note_end)
            self._attempt = attempt
        return await asyncio.shield(attempt)

    async def ping(self, check: Callable[[PartT], Awaitable[object]] | None = None) -> None:
        """Open it, and check that it answers."""
        part = await self.get()
        if check is not None:
            await check(part)

    def _is_to_be_repeated(self, attempt: asyncio.Task[PartT]) -> bool:
        if not attempt.done():
            return False
        if attempt.cancelled():
            return True
        if attempt.exception() is None:
            return False
        return time.monotonic() - (self._failed_at or 0.0) >= self._retry_after_s

    def _note_end(self, attempt: asyncio.Task[PartT]) -> None:
        # Reading the error marks it as seen, should nobody wait for it any more.
        if not attempt.cancelled() and attempt.exception() is not None:
            self._failed_at = time.monotonic()


def fixed(part: PartT) -> Part[PartT]:
    """Return a part that is open already."""

    async def get() -> PartT:
        return part

    return Part(get)


def missing(error: AletheiaError) -> Part[Any]:
    """Return a part that cannot be had."""

    async def fail() -> Any:
        raise error

    return Part(fail)

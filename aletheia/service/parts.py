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
SourceT = TypeVar("SourceT")

RETRY_AFTER_S: Final = 1.0
"""For so long a failure may stand, so that no number of strangers makes many attempts."""

RENEWAL_WAIT_S: Final = 1.0
"""How long whoever needs a part that is opened anew waits for it."""


class Part(Generic[PartT]):
    """Something that is opened once, as soon as that works, in the context it was declared in.

    A failure stands for `retry_after_s`. With `renew_after_s` it is opened anew when somebody needs
    it that long after it was opened: those who need it wait for a moment, and get the earlier one
    if it takes longer, or while it is out of reach. Where it is gone for good nobody gets it.
    """

    def __init__(
        self,
        open_it: Callable[[], Coroutine[Any, Any, PartT]],
        *,
        retry_after_s: float = 0.0,
        renew_after_s: float | None = None,
    ) -> None:
        self._open, self._retry_after_s = open_it, retry_after_s
        self._renew_after_s = renew_after_s
        self._context = contextvars.copy_context()
        self._attempt: asyncio.Task[PartT] | None = None
        self._ended_at = 0.0
        self._opened: asyncio.Task[PartT] | None = None  # the last attempt that went well

    async def get(self) -> PartT:
        """Return it, open, or raise what opening it ended with."""
        # All that wait share an attempt: one after the other they would wait for each one's end.
        attempt = self._attempt
        if attempt is None or self._is_to_be_repeated(attempt):
            attempt = asyncio.create_task(self._try(), context=self._context)
            attempt.add_done_callback(_see)
            self._attempt = attempt
        if self._opened is not None and not attempt.done():
            await asyncio.wait([attempt], timeout=RENEWAL_WAIT_S)
        return await asyncio.shield(self._opened or attempt)

    async def ping(self, check: Callable[[PartT], Awaitable[object]] | None = None) -> None:
        """Open it, and check that it answers."""
        part = await self.get()
        if check is not None:
            await check(part)

    async def _try(self) -> PartT:
        attempt = self._attempt
        try:
            part = await self._open()
        except BaseException as error:
            if not (isinstance(error, AletheiaError) and error.retryable):
                self._opened = None
            raise
        else:
            self._opened = attempt
            return part
        finally:
            self._ended_at = time.monotonic()

    def _is_to_be_repeated(self, attempt: asyncio.Task[PartT]) -> bool:
        if not attempt.done():
            return False
        if attempt.cancelled():
            return True
        if attempt.exception() is not None:
            return time.monotonic() - self._ended_at >= self._retry_after_s
        age_s = time.monotonic() - self._ended_at
        return self._renew_after_s is not None and age_s >= self._renew_after_s


def derive(
    source: Part[SourceT], build: Callable[[SourceT], Awaitable[PartT]], *, retry_after_s: float
) -> Part[PartT]:
    """Return a part that is built of another one, and anew only when that one has changed."""
    built: list[tuple[SourceT, PartT]] = []

    async def open_it() -> PartT:
        found = await source.get()
        if not built or built[0][0] != found:
            built[:] = [(found, await build(found))]
        return built[0][1]

    return Part(open_it, retry_after_s=retry_after_s, renew_after_s=0.0)


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


def _see(attempt: "asyncio.Task[Any]") -> None:
    """Mark an error as seen, should nobody wait for it any more."""
    if not attempt.cancelled():
        attempt.exception()

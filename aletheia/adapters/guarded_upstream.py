"""The upstream behind a circuit breaker that all pollers share."""

import time
from collections.abc import Callable
from contextlib import suppress

from aletheia.adapters.upstream import UPSTREAM
from aletheia.errors import AletheiaError, BreakerOpen
from aletheia.intake.ports import Upstream
from aletheia.resilience.breaker import CircuitBreaker, Permit, is_breaker_failure


class GuardedUpstream:
    """Leaves an upstream alone that failed too often.

    Reading a page asks the breaker; a report goes by what that, or an earlier report, has shown,
    so that it costs no look into the store.

    Args:
        inner: the upstream; what it raises is final, after its own retries.
        breakers: of all dependencies.
        clock: Unix time, seconds.
    """

    def __init__(
        self,
        inner: Upstream,
        breakers: CircuitBreaker,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inner, self._breakers, self._clock = inner, breakers, clock
        self._permit: Permit | None = None
        self._has_failed = False
        self._open: BreakerOpen | None = None

    async def pending(self, limit: int) -> list[object]:
        """See `aletheia.intake.ports.Upstream.pending`.

        Raises:
            BreakerOpen: it is left alone for now.
        """
        try:
            async with self._breakers.guarding(UPSTREAM) as self._permit:
                self._open = None
                return await self._inner.pending(limit)
        except BreakerOpen as refusal:
            self._open = refusal
            raise

    async def report(self, task_id: str, body: bytes) -> None:
        """See `aletheia.intake.ports.Upstream.report`.

        Raises:
            BreakerOpen: it is left alone for now.
        """
        until = None if self._open is None else self._open.until
        if until is not None and until.timestamp() > self._clock():
            raise BreakerOpen(UPSTREAM, until)
        try:
            await self._inner.report(task_id, body)
        except AletheiaError as error:
            if is_breaker_failure(error):
                await self._tell_failure(error)
            raise
        if self._has_failed:
            self._has_failed = False
            with suppress(BreakerOpen):
                await self._breakers.succeed(await self._last_permit())

    async def _tell_failure(self, error: AletheiaError) -> None:
        self._has_failed = True
        try:
            await self._breakers.fail(await self._last_permit(), str(error))
            await self._breakers.check(UPSTREAM)
        except BreakerOpen as refusal:
            self._open = refusal

    async def _last_permit(self) -> Permit:
        """Give a permit that has a say: that of the last page, unless it was a probe's.

        Raises:
            BreakerOpen: nobody may call now.
        """
        if self._permit is None or self._permit.probe is not None:
            self._permit = await self._breakers.admit(UPSTREAM)
        return self._permit

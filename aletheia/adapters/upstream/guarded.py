"""The upstream behind a circuit breaker that all pollers share."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aletheia.errors import AletheiaError
from aletheia.intake.ports import UPSTREAM, Upstream
from aletheia.resilience.breaker import CircuitBreaker, Permit, is_breaker_failure


class GuardedUpstream:
    """Leaves an upstream alone that failed too often.

    As long as all goes well only pages ask the breaker: a report costs no look into the store.
    """

    def __init__(self, inner: Upstream, breakers: CircuitBreaker) -> None:
        self._inner, self._breakers = inner, breakers
        self._permit: Permit | None = None

    async def pending(self, limit: int) -> list[object]:
        """Read a page; raise `BreakerOpen` where the upstream is left alone."""
        async with self._guarding():
            return await self._inner.pending(limit)

    async def report(self, task_id: str, body: bytes) -> None:
        """Send a report; raise `BreakerOpen` where the upstream is left alone."""
        permit = self._permit
        if permit is None:
            async with self._guarding():
                await self._inner.report(task_id, body)
            return
        try:
            await self._inner.report(task_id, body)
        except AletheiaError as error:
            if is_breaker_failure(error):
                self._permit = None
                await self._breakers.fail(permit, str(error))
            raise

    @asynccontextmanager
    async def _guarding(self) -> AsyncGenerator[None]:
        """Ask the breaker, and know after a success that nobody has to for a while."""
        self._permit = None
        async with self._breakers.guarding(UPSTREAM) as permit:
            yield
        # What a probe has closed has another generation.
        self._permit = permit if permit.probe is None else None

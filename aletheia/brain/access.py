"""A Brain that may be away.

It is opened when somebody needs it, and left alone while its breaker is open (SPEC §1, Resilience).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aletheia.brain.ports import Brain
from aletheia.errors import Unavailable
from aletheia.resilience.breaker import CircuitBreaker

BRAIN: Final = "brain"
"""The dependency, as breakers and errors name it."""


class BrainAccess:
    """Everybody's way to the Brain that `fetch` returns, open or not."""

    def __init__(self, fetch: Callable[[], Awaitable[Brain]], breakers: CircuitBreaker) -> None:
        self._fetch, self._breakers = fetch, breakers
        self._opening = asyncio.Lock()
        self._is_open = False

    @asynccontextmanager
    async def using(self, *, timeout_s: float) -> AsyncGenerator[Brain]:
        """Open the Brain for some calls, all of them within `timeout_s`; their outcome counts.

        Raises:
            Unavailable: it did not answer in time, or cannot be opened.
            BreakerOpen: it failed too often to be asked for a while.
        """
        brain = await self._fetch()
        async with self._breakers.guarding(BRAIN):
            try:
                async with asyncio.timeout(timeout_s):
                    async with self._opening:
                        if not self._is_open:
                            await brain.open()
                            self._is_open = True
                    yield brain
            except TimeoutError:
                raise Unavailable(BRAIN, f"no answer within {timeout_s:g} s") from None

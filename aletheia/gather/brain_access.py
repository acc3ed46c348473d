"""A Brain that may be away.

It is opened when somebody needs it, and left alone while its breaker is open (SPEC §1, Resilience).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aletheia.errors import Unavailable
from aletheia.gather.brain import Brain
from aletheia.gather.brain_index import IndexedBrain
from aletheia.resilience.breaker import CircuitBreaker

BRAIN: Final = "brain"
"""The dependency, as breakers and errors name it."""


class BrainAccess:
    """Everybody's way to the Brain.

    Args:
        fetch: gives the Brain; it need not be open.
        breakers: those of all dependencies.
        link_from: raw cosine, inclusive, from which two items are linked in a graph.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Brain]],
        breakers: CircuitBreaker,
        *,
        link_from: float,
    ) -> None:
        self._fetch, self._breakers, self._link_from = fetch, breakers, link_from
        self._opening = asyncio.Lock()
        self._is_open = False

    @asynccontextmanager
    async def using(self, *, timeout_s: float) -> AsyncGenerator[Brain]:
        """Give the Brain for some calls; what becomes of them is taken into account.

        Args:
            timeout_s: bound on all of the calls, and on opening it.

        Raises:
            Unavailable: it did not answer in time, or cannot be opened.
            BreakerOpen: it failed too often to be asked for a while.
        """
        brain = await self._fetch()
        async with self._breakers.guarding(BRAIN):
            try:
                async with asyncio.timeout(timeout_s):
                    await self._open(brain)
                    yield brain
            except TimeoutError:
                raise Unavailable(BRAIN, f"no answer within {timeout_s:g} s") from None

    async def link(self, brain: Brain, project_id: str, ids: Sequence[str]) -> None:
        """Draw the edges of items that were indexed, where it is a graph of ours."""
        if isinstance(brain, IndexedBrain) and ids:
            await brain.graph.link(project_id, ids, threshold=self._link_from)

    async def _open(self, brain: Brain) -> None:
        async with self._opening:
            if not self._is_open:
                await brain.open()
                self._is_open = True

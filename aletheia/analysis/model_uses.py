"""Who uses the models of a provider that several processes share, so that nobody unloads them.

A use is a row with a lease, one for each model and process: however a process ends, its uses end
with its leases.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from aletheia.documents import Change, Documents, Update
from aletheia.errors import Unavailable
from aletheia.store.clock import SYSTEM_CLOCK, Clock
from aletheia.store.lease import Leases, LeaseTerms

USES: Final = "aletheia_model_uses"

LEASE_S: Final = 60.0
"""How long a use of a process that was killed still counts, seconds (SPEC §1, `LEASE_SECONDS`)."""

MAX_USES: Final = 1000
"""Uses of one model that are read, and old ones that are deleted at once."""

log = logging.getLogger(__name__)


class ModelUses:
    """The uses of models by the processes that share a store; `owner` names this one."""

    def __init__(
        self,
        documents: Documents,
        *,
        owner: str,
        lease_s: float = LEASE_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._documents, self._owner, self._clock = documents, owner, clock
        self._leases = Leases(documents, USES, LeaseTerms(lease_s), clock=clock)
        self._held: dict[tuple[str, str], _Held] = {}
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def using(self, provider: str, model: str) -> AsyncGenerator[None]:
        """Keep a model from being unloaded by others until the end of the context.

        Raises:
            Unavailable: the store is out of reach.
        """
        key = provider, model
        async with self._turn:
            if key not in self._held:
                self._held[key] = _Held(await self._begin(*key))
            held = self._held[key]
            held.calls += 1
        try:
            yield
        finally:
            # A call that is cancelled has to end its use all the same.
            await asyncio.shield(self._leave(key, held))

    async def others(self, provider: str, model: str) -> list[str]:
        """Return who else uses a model now, by name."""
        where = {"provider": provider, "model": model}
        rows = await self._documents.find(USES, where, limit=MAX_USES)
        return sorted(
            row["by"] for row in rows if row["by"] != self._owner and not self._leases.is_free(row)
        )

    async def _begin(self, provider: str, model: str) -> contextlib.AsyncExitStack:
        terms, now = self._leases.terms, self._clock.now()
        await self._documents.delete(USES, terms.ended_where(now), limit=MAX_USES)
        id_ = f"{provider}:{model}:{self._owner}"
        values = {"provider": provider, "model": model, "by": self._owner}
        change = Change(set={**values, **terms.values(self._owner, now)})
        await self._documents.upsert(USES, [Update(id_, change)])
        lease, stack = await self._leases.take(id_, self._owner), contextlib.AsyncExitStack()
        if lease is None:  # deleted at once by a process whose clock is far ahead
            log.warning("the use of %s of %s is not recorded", model, provider)
            return stack
        gone = {"_id": id_, **terms.released}
        stack.push_async_callback(self._documents.delete, USES, gone, limit=1)
        await stack.enter_async_context(lease.hold())
        return stack

    async def _leave(self, key: tuple[str, str], held: "_Held") -> None:
        async with self._turn:
            held.calls -= 1
            if held.calls:
                return
            del self._held[key]
            try:
                await held.lease.aclose()
            except Unavailable as outage:
                log.warning("the end of a use is not recorded, it runs out: %s", outage)


@dataclass(slots=True)
class _Held:
    """A use of this process."""

    lease: contextlib.AsyncExitStack
    calls: int = 0

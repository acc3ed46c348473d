"""Whose turn it is in the bulk lane: one run works in it at a time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from aletheia.documents import Change
from aletheia.errors import LaneTaken
from aletheia.intake.bulk.orders import BULK
from aletheia.intake.bulk.ports import LaneDeps
from aletheia.store.clock import Clock, TimeUnit
from aletheia.store.lease import Lease, Leases, LeaseTerms

LANE: Final = "lane"
"""Id of the document that says who works in the lane."""


class Turn:
    """A run's turn in the lane."""

    def __init__(self, lease: Lease, terms: LeaseTerms, clock: Clock) -> None:
        self._lease, self._terms, self._clock = lease, terms, clock

    async def confirm(self) -> None:
        """Keep others out of the lane for longer; raise `LaneTaken` where it is ours no more."""
        if not await self._lease.renew():
            raise _taken(self._terms.end(self._clock.now()))

    async def note(self, **values: Any) -> None:
        """Store what `prefers_bulk` goes by."""
        await self._lease.write(values)


@asynccontextmanager
async def take_turn(deps: LaneDeps) -> AsyncGenerator[Turn]:
    """Keep others out of the lane until the end of the context, or raise `LaneTaken`."""
    documents, clock = deps.documents, deps.clock
    lease_s, skew_s = deps.lane_lease_s, deps.settings.clock_skew_seconds
    terms = LeaseTerms(lease_s, skew_s, until="until", nobody=None, unit=TimeUnit.SECONDS)
    leases = Leases(documents, BULK, terms, clock=clock)
    await documents.insert(BULK, [{"_id": LANE, **terms.released}])
    loop = asyncio.get_running_loop()
    # One that was killed renews nothing: after one lease the lane is free.
    gives_up_at = loop.time() + lease_s + skew_s
    # A run that ends without a word, however it ends, has been of no use.
    seen = Change(set={"seen_at": clock.unix_s(), "is_useful": False})
    while (lease := await leases.take(LANE, change=seen)) is None:
        if loop.time() >= gives_up_at:
            found = await documents.get(BULK, [LANE])
            raise _taken(found[LANE]["until"])
        await asyncio.sleep(min(1.0, lease_s / 4))
    async with lease.hold():
        yield Turn(lease, terms, clock)


def _taken(until_s: float) -> LaneTaken:
    return LaneTaken(datetime.fromtimestamp(until_s, UTC))

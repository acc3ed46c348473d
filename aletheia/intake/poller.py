"""A poller: the parts that work between an upstream and a ledger."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

from aletheia.errors import Unavailable
from aletheia.intake.admission import Admission
from aletheia.intake.collector import Collector
from aletheia.intake.computer import Computer
from aletheia.intake.concurrency import together
from aletheia.intake.held_claims import Batch, HeldClaims, Pace
from aletheia.intake.ledger import Ledger
from aletheia.intake.ports import Processors, Upstream
from aletheia.intake.replayer import Replayer
from aletheia.intake.reporter import Reporter
from aletheia.store.lease import renewing

log = logging.getLogger(__name__)


class Poller:
    """The parts of one poller; each may work on another batch at the same time."""

    def __init__(
        self, upstream: Upstream, ledger: Ledger, processors: Processors, pace: Pace
    ) -> None:
        self.upstream = upstream
        self.held = HeldClaims(ledger, pace)
        self.reporter = Reporter(upstream, self.held)
        admission = Admission(processors, self.held)
        self.collector = Collector(upstream, admission, self.reporter, self.held)
        self.replayer = Replayer(upstream, admission, self.held)
        self.computer = Computer(processors, self.held)

    async def process(self, batch: Batch) -> tuple[int, int]:
        """Compute a batch, report what is kept; return how many were kept, and acknowledged."""
        return await together(self.computer.compute(batch), self.reporter.report(batch))

    @contextlib.asynccontextmanager
    async def holding(self) -> AsyncGenerator[None]:
        """Renew the leases of the claims in hand, and release what is left at the end."""

        async def renew() -> bool:
            await self.held.renew()
            return True

        length_s = self.held.ledger.rows.terms.length_s
        try:
            # What the leases lose while they are not renewed is found before it is sent.
            async with renewing(renew, length_s=length_s, name="claims"):
                yield
        finally:
            # A cancelled run has to release its claims all the same.
            try:
                released = await asyncio.shield(self.held.release_all())
                log.info("released %d claims", released)
            except Unavailable as outage:
                log.warning("claims not released, their leases will run out: %s", outage)

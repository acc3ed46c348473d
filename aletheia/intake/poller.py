"""A poller: the parts that work between an upstream and a ledger."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable

from aletheia.errors import Unavailable
from aletheia.intake.collector import Collector
from aletheia.intake.computer import Computer
from aletheia.intake.concurrency import together
from aletheia.intake.held_claims import Batch, HeldClaims, Pace
from aletheia.intake.ledger import Ledger
from aletheia.intake.ports import Processors, Upstream
from aletheia.intake.reporter import Reporter

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
"""A lease is renewed every third of it (SPEC §1, Claims)."""


class Poller:
    """The parts of one poller.

    The steps of a batch may run beside those of the batches around it: the collector claims the
    next batch while one is computed, and the reporter sends what is kept as it is kept.

    Attributes:
        upstream: hands out the tasks.
        held: the claims in hand, and what was done so far.
        collector: fills batches.
        computer: computes them.
        reporter: reports them.
    """

    def __init__(
        self,
        upstream: Upstream,
        ledger: Ledger,
        processors: Processors,
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        self.upstream = upstream
        self.held = HeldClaims(ledger, pace, clock)
        self.reporter = Reporter(upstream, self.held)
        self.collector = Collector(upstream, processors, self.reporter, self.held)
        self.computer = Computer(processors, self.held)

    async def process(self, batch: Batch) -> tuple[int, int]:
        """Compute a batch and report every result as it is kept.

        Returns:
            How many results were kept, and how many reports were acknowledged.
        """
        return await together(self.computer.compute(batch), self.reporter.report(batch))

    @contextlib.asynccontextmanager
    async def holding(self) -> AsyncGenerator[None]:
        """Renew the leases of the claims in hand, and release what is left at the end."""
        renewing = asyncio.create_task(self._renew_for_ever())
        try:
            yield
        finally:
            renewing.cancel()
            # A cancelled run has to release its claims all the same.
            try:
                released = await asyncio.shield(self.held.release_all())
                log.info("released %d claims", released)
            except Unavailable as outage:
                log.warning("claims not released, their leases will run out: %s", outage)

    async def _renew_for_ever(self) -> None:
        pause = self.held.ledger.lease_s / RENEWALS_PER_LEASE
        while True:
            await asyncio.sleep(pause)
            try:
                await self.held.renew()
            except Unavailable as outage:
                # The leases hold for two more tries; what they lose is found before it is sent.
                log.warning("leases not renewed: %s", outage)

"""A poller: the parts that work between an upstream and a ledger."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Protocol

from aletheia.intake.admission import Admission
from aletheia.intake.collector import Collector
from aletheia.intake.computer import Computer
from aletheia.intake.concurrency import all_of
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.lanes.capacity import LANE_MAX_WAITING
from aletheia.intake.ledger import Ledger
from aletheia.intake.ports import Callbacks, Processors, Upstream
from aletheia.intake.replayer import Replayer
from aletheia.intake.reporter import Reporter
from aletheia.settings import LOCAL_BATCH_TASKS
from aletheia.store.lease import renewing


class Collecting(Protocol):
    """Fills batches."""

    async def collect(self) -> Batch:
        """Claim the next batch; an empty one where there is nothing to do."""
        ...


class Poller:
    """The parts of one poller; each may work on another batch at the same time."""

    def __init__(
        self,
        upstream: Upstream,
        ledger: Ledger,
        processors: Processors,
        batch: int = LOCAL_BATCH_TASKS,
        *,
        lane_max_waiting: int = LANE_MAX_WAITING,
        callbacks: Callbacks | None = None,
    ) -> None:
        self.upstream = upstream
        self.held = HeldClaims(ledger, batch)
        self.reporter = Reporter(upstream, self.held, callbacks)
        admission = Admission(processors, self.held)
        self.collector: Collecting = Collector(
            upstream, admission, self.reporter, self.held, lane_max_waiting
        )
        self.replayer = Replayer(admission, self.reporter, self.held)
        self.computer = Computer(processors, self.held)

    async def process(self, batch: Batch) -> list[int]:
        """Compute a batch, report what is kept; return how many were kept, and acknowledged."""
        return await all_of(self.computer.compute(batch), self.reporter.report(batch))

    @contextlib.asynccontextmanager
    async def holding(self) -> AsyncGenerator[None]:
        """Renew the leases of the claims in hand, and release what is left at the end."""
        length_s = self.held.ledger.rows.terms.length_s
        try:
            # What the leases lose while they are not renewed is found before it is sent.
            async with renewing(self.held.renew, length_s=length_s, name="claims"):
                yield
        finally:
            await self.held.release_all()
            self.reporter.repeated.flush()

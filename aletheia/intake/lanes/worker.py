"""A worker of a lane: takes its tasks one by one, computes and reports them."""

import logging
from collections.abc import Sequence
from typing import Any, Final

from aletheia import telemetry
from aletheia.documents import Document
from aletheia.errors import AletheiaError, ComputeFailed
from aletheia.intake.admission import Admission
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import Claim, RowState
from aletheia.intake.poller import Poller
from aletheia.intake.ports import Callbacks, Processors, Upstream

MAX_TAKES: Final = 3
"""Workers that may have taken a task and come to no end, such as by running out of memory, before
it is its own error."""

log = logging.getLogger(__name__)


class LaneCollector:
    """Takes what comes next in a lane, of the types that are computed here."""

    def __init__(
        self, lane: str, types: Sequence[str], admission: Admission, held: HeldClaims
    ) -> None:
        self._lane, self._types, self._admission, self._held = lane, types, admission, held

    async def has_work(self) -> bool:
        """Return whether there is anything to take, and it may be taken."""
        types = await self._list_types()
        if self._held.is_stopping or self._is_alone or not types:
            return False
        return await self._held.ledger.claims.queue.has_work(self._lane, types)

    async def collect(self) -> Batch:
        """Take one task; the batch is empty where there is none."""
        with telemetry.span(telemetry.POLL) as span:
            batch = Batch(traceparent=telemetry.current_traceparent())
            types = await self._list_types()
            while types and not (batch.size or self._held.is_stopping or self._is_alone):
                taken = await self._held.take(self._take(types), batch)
                self._held.tally.taken_over += len(taken)
                if not taken:
                    break
                for claim in taken:
                    await self._sort(claim, batch)
            tasks = [claim.entry.id for claim in [*batch.work, *batch.ready]]
            span.set_attribute(telemetry.TASK_IDS, tasks)
        return batch

    @property
    def _is_alone(self) -> bool:
        """Whether what is in hand is computed alone, as it may be what ended its last worker."""
        return any(
            claim.takes > 1 and claim.state is RowState.PROCESSING for claim in self._held.claims
        )

    async def _list_types(self) -> list[str]:
        """Return the types that are taken now: those of the lane that nobody has paused."""
        pauses = await self._admission.read_pauses()
        return [name for name in self._types if not pauses.holds(name, self._lane)]

    async def _take(self, types: Sequence[str]) -> list[Claim]:
        claims, is_idle = self._held.ledger.claims, not self._held.claims

        async def take(found: Sequence[Document]) -> list[Claim]:
            return await claims.take_rows(found, _count_take)

        return await claims.queue.take(self._lane, types, 1, take, is_idle=is_idle)

    async def _sort(self, claim: Claim, batch: Batch) -> None:
        """Add a claim to a batch, or settle what is in the way of computing it."""
        held, ledger = self._held, self._held.ledger
        superseded = await ledger.claims.newer_work([claim.entry.id])
        if claim.row_id in superseded:
            held.tally.superseded += await ledger.claims.supersede([claim.row_id])
            held.drop([claim])
            return
        if claim.state is RowState.KEPT:
            batch.ready.append(claim)
            return
        problem, group = self._admission.check(claim.entry)
        claim.group = group or ""
        if problem is None and group is None:
            await held.release([claim], for_s=held.settings.polling_interval_seconds)
        elif problem is not None:
            await self._fail(claim, problem, batch)
        elif claim.takes > MAX_TAKES:
            said = f"computing it has ended {MAX_TAKES} workers before"
            log.error("task %r: %s", claim.entry.id, said)
            await self._fail(claim, ComputeFailed("worker_died", said), batch)
        else:
            batch.work.append(claim)

    async def _fail(self, claim: Claim, problem: AletheiaError, batch: Batch) -> None:
        reports = self._held.ledger.reports
        outcome = self._held.ledger.rows.wording(claim.entry).failed(problem)
        batch.ready += self._held.keep_ours([claim], await reports.keep([(claim, outcome)]))


class LaneWorker(Poller):
    """The parts of one worker of a lane."""

    def __init__(
        self,
        upstream: Upstream,
        ledger: Ledger,
        processors: Processors,
        lane: str,
        *,
        callbacks: Callbacks | None = None,
    ) -> None:
        super().__init__(upstream, ledger, processors, batch=1, callbacks=callbacks)
        types = [name for name in processors.types if processors.lane(name) == lane]
        self.lane, self.types = lane, types
        self.collector = LaneCollector(lane, types, Admission(processors, self.held), self.held)


def _count_take(claim: Claim) -> dict[str, Any]:
    if claim.state is RowState.KEPT:
        return {}  # sending a report ends no worker
    claim.takes += 1
    return {"takes": claim.takes}

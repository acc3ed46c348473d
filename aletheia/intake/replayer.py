"""Replaying dead letters: the upstream is asked to take each task back (SPEC §1, Attempts)."""

import logging
from collections.abc import Sequence

from aletheia import telemetry
from aletheia.documents import Document
from aletheia.errors import AletheiaError, InvalidTask, Refused
from aletheia.intake.admission import Admission
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.models import Claim
from aletheia.intake.reporter import Reporter
from aletheia.intake.rows import entry_of
from aletheia.logs import about_task

log = logging.getLogger(__name__)


class Replayer:
    """Fills batches from the dead letters."""

    def __init__(self, admission: Admission, reporter: Reporter, held: HeldClaims) -> None:
        self._admission, self._reporter, self._held = admission, reporter, held

    async def recall(self, row_ids: Sequence[str]) -> Batch:
        """Send `processing` again for dead letters and collect those that are taken back.

        After an `Unauthorized` the dead letters stay.
        """
        with telemetry.span(telemetry.REPLAY) as span:
            batch = Batch(traceparent=telemetry.current_traceparent())
            await self._recall_into(batch, row_ids)
            span.set_attribute(telemetry.TASKS, batch.size)
        return batch

    async def _recall_into(self, batch: Batch, row_ids: Sequence[str]) -> None:
        ledger = self._held.ledger
        found = await ledger.dead_letters.read(row_ids)
        superseded = await ledger.claims.newer_work([row["task_id"] for row in found])
        for dead_letter in found:
            if self._held.is_stopping:
                break
            await self._revive(dead_letter, batch, is_superseded=dead_letter["_id"] in superseded)

    async def _revive(self, dead_letter: Document, batch: Batch, *, is_superseded: bool) -> None:
        try:
            entry = entry_of(dead_letter)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is of this row
            self._held.tally.refused_replays += 1
            await self._held.ledger.rows.leave_out_row(dead_letter, fault)
            return
        problem, group = self._admission.check(entry)
        if is_superseded:
            problem = InvalidTask("superseded", "the upstream has handed out other work since")
        elif problem is None and group is None and dead_letter.get("payload") is None:
            return  # nobody can tell for now how it is computed
        dead_letters = self._held.ledger.dead_letters
        claiming = dead_letters.revive(dead_letter, entry, group or "")
        for claim in await self._held.take(claiming, batch):
            claim.lane = self._admission.lane(entry)
            if problem is not None and (claim.body is None or is_superseded):
                await self._refuse(claim, problem, None)
            else:
                await self._recall(claim, batch)

    async def _recall(self, claim: Claim, batch: Batch) -> None:
        answer = await self._reporter.claim(claim)
        if answer is not None:
            status = answer.status if isinstance(answer, Refused) else None
            await self._refuse(claim, answer, status)
            task_id = claim.entry.id
            log.warning("task %r: not replayed, %s", task_id, answer, extra=about_task(task_id))
            if self._held.forbidden.is_lock_out(answer):
                raise answer
        elif not await self._held.ledger.dead_letters.recall(claim):
            self._held.drop([claim])
        elif claim.body is None and claim.lane is not None:
            await self._reporter.hand_over([claim])
        elif claim.body is None:
            batch.work.append(claim)
        else:
            batch.ready.append(claim)

    async def _refuse(self, claim: Claim, why: AletheiaError, status: int | None) -> None:
        await self._held.ledger.dead_letters.refuse(claim, why, status)
        self._held.tally.refused_replays += 1
        self._held.drop([claim])

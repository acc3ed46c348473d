"""Sending `processing`, the one-way door that takes tasks off the pending list (SPEC §1)."""

import logging
from collections.abc import Sequence

from aletheia.errors import AletheiaError, Conflict, NotFound, Refused, retry_after_s
from aletheia.intake.concurrency import all_of
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.models import Claim
from aletheia.intake.ports import Upstream

INVALID = (400, 422)
"""What an upstream answers to a page size, or a change of state, that it does not allow."""

log = logging.getLogger(__name__)


class Claimer:
    """Takes claimed tasks off the pending list."""

    def __init__(self, upstream: Upstream, held: HeldClaims) -> None:
        self._upstream, self._held = upstream, held

    async def send_all(self, claims: Sequence[Claim], batch: Batch) -> int:
        """Send `processing` for claims, and put those into a batch that are ours to compute."""
        answers = await all_of(*map(self._send_in_turn, claims))
        # What was not sent any more is no longer ours, and still pending upstream.
        pairs = [pair for pair in zip(claims, answers, strict=True) if pair[0] in self._held]
        sent = [claim for claim, answer in pairs if answer is None]
        batch.work += self._held.keep_ours(sent, await self._held.ledger.claims.acknowledge(sent))
        for claim, answer in pairs:
            if answer is not None:
                await self._settle(claim, answer)
        self._held.forbidden.check(answers)
        return len(sent)

    async def send(self, claim: Claim) -> AletheiaError | None:
        """Send `processing` for a claim; return what was in the way, if anything was."""
        answer = await self._send(claim)
        self._held.forbidden.note(claim.entry.id, answer)
        return answer

    async def _send(self, claim: Claim) -> AletheiaError | None:
        try:
            wording = self._held.ledger.rows.wording(claim.entry)
            await self._upstream.report(claim.entry.id, wording.processing())
        except AletheiaError as problem:
            # An acknowledgement may have been ours and gone unrecorded, in a crash or on the wire.
            # Some upstreams call a state invalid that may not follow the one there is.
            is_conflict = isinstance(problem, Conflict)
            is_known = is_conflict or (isinstance(problem, Refused) and problem.status in INVALID)
            is_ours = (is_conflict and problem.may_be_ours) or (is_known and claim.was_taken_over)
            return None if is_ours else problem
        return None

    async def _send_in_turn(self, claim: Claim) -> AletheiaError | None:
        """Send `processing`; release the claim if nothing more is to be claimed by now."""
        async with self._held.turns:
            if self._held.is_stopping or self._held.forbidden.is_ours:
                await self._held.release([claim])
                return None
            return await self.send(claim)

    async def _settle(self, claim: Claim, answer: AletheiaError) -> None:
        held = self._held
        if isinstance(answer, Conflict | NotFound):
            held.tally.conflicts += 1
            await held.ledger.reports.conflicted([claim])
            held.drop([claim])
        elif held.forbidden.is_refusal_of(claim.entry.id, answer):
            held.tally.dead += 1
            await held.ledger.dead_letters.add(claim, "claim_refused", answer)
            held.drop([claim])
            log.error("task %r: dead letter, %s", claim.entry.id, answer)
        else:
            pause_s = max(held.settings.polling_interval_seconds, retry_after_s(answer))
            pause_s = 0 if held.forbidden.is_lock_out(answer) else pause_s
            await held.release([claim], for_s=pause_s, why=answer)
            log.warning("task %r: %s", claim.entry.id, answer)

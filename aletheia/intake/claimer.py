"""Sending `processing`, the one-way door that takes tasks off the pending list (SPEC §1)."""

import logging
from collections.abc import Sequence

from aletheia.errors import (
    AletheiaError,
    Conflict,
    NotFound,
    Refused,
    retry_after_s,
)
from aletheia.intake.concurrency import all_of
from aletheia.intake.held_claims import HeldClaims
from aletheia.intake.models import Claim
from aletheia.intake.ports import Upstream

INVALID = (400, 422)
"""What an upstream answers to a page size, or a change of state, that it does not allow."""

log = logging.getLogger(__name__)


class Claimer:
    """Takes claimed tasks off the pending list."""

    def __init__(self, upstream: Upstream, held: HeldClaims) -> None:
        self._upstream, self._held = upstream, held

    async def send_all(self, claims: Sequence[Claim]) -> list[Claim]:
        """Send `processing` for claims; return those that are ours to compute."""
        answers = await all_of([self._send_in_turn(claim) for claim in claims])
        # What was not sent any more is no longer ours, and still pending upstream.
        pairs = [
            (claim, answer)
            for claim, answer in zip(claims, answers, strict=True)
            if claim in self._held
        ]
        accepted = [claim for claim, answer in pairs if answer is None]
        acknowledged = await self._held.ledger.claims.acknowledge(accepted)
        accepted = self._held.keep_ours(accepted, acknowledged)
        for claim, answer in pairs:
            if answer is not None:
                await self._settle(claim, answer)
        denied = next((answer for answer in answers if self._held.is_lock_out(answer)), None)
        if denied is not None:
            raise denied
        return accepted

    async def send(self, claim: Claim) -> AletheiaError | None:
        """Send `processing` for a claim; return what was in the way, if anything was."""
        answer = await self._send(claim)
        self._held.note_answer(claim, answer)
        return answer

    async def _send(self, claim: Claim) -> AletheiaError | None:
        try:
            wording = self._held.ledger.rows.wording(claim.entry)
            await self._upstream.report(claim.entry.id, wording.processing())
        except Conflict as conflict:
            # An acknowledgement may have been ours and gone unrecorded, in a crash or on the wire.
            return None if claim.was_taken_over or conflict.may_be_ours else conflict
        except Refused as refusal:
            # So do some upstreams call a state that may not follow the one there is.
            is_known = claim.was_taken_over and refusal.status in INVALID
            return None if is_known else refusal
        except AletheiaError as problem:
            return problem
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
        elif held.is_refusal_of(claim, answer):
            held.tally.dead += 1
            await held.ledger.dead_letters.add(claim, "claim_refused", answer)
            held.drop([claim])
            log.error("task %r: dead letter, %s", claim.entry.id, answer)
        else:
            pause_s = max(held.pace.outage_s, retry_after_s(answer))
            pause_s = 0 if held.is_lock_out(answer) else pause_s
            await held.release([claim], for_s=pause_s, why=answer)
            log.warning("task %r: %s", claim.entry.id, answer)

"""Sending reports: every kept one until the upstream has acknowledged it."""

import asyncio
import logging
from collections.abc import Sequence

from aletheia.errors import AletheiaError, Conflict, NotFound, Refused, Unauthorized
from aletheia.intake.concurrency import all_of
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.models import Claim, Task
from aletheia.intake.parsing import routing_json
from aletheia.intake.ports import Upstream
from aletheia.intake.wording import failure_in

MAX_ROUTING_LENGTH = 2000
"""How much of a task's routing data is logged, characters; the ledger has all of it."""

log = logging.getLogger(__name__)


class Reporter:
    """Delivers kept reports and settles their claims."""

    def __init__(self, upstream: Upstream, held: HeldClaims) -> None:
        self._upstream, self._held = upstream, held

    async def report(self, batch: Batch) -> int:
        """Send the reports of a batch as they are kept; return how many were acknowledged."""
        sending: list[asyncio.Task[int]] = []
        try:
            while (claims := await batch.kept.get()) is not None:
                sending.append(asyncio.create_task(self.send(claims)))
            return sum(await asyncio.gather(*sending))
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    async def send(self, claims: Sequence[Claim]) -> int:
        """Send kept reports and settle what came of each; return how many were acknowledged."""
        claims = await self._held.confirm(claims)
        if not claims:
            return 0
        answers = await all_of(*map(self._answer_in_turn, claims))
        pairs = list(zip(claims, answers, strict=True))
        sent = [claim for claim, answer in pairs if answer is None and claim in self._held]
        accepted = self._held.keep_ours(sent, await self._held.ledger.reports.accepted(sent))
        for claim in accepted:
            self._count(claim)
        # The upstream's own routing data belongs in the log; what has none is in the ledger.
        if routed := list(filter(None, map(_route_of, accepted))):
            log.info("reported %s", ", ".join(routed))
        refused = [(claim, answer) for claim, answer in pairs if answer is not None]
        for claim, answer in refused:
            await self._settle(claim, answer)
        self._held.drop(claims)
        self._held.forbidden.check(answers)
        return len(accepted)

    async def _answer_in_turn(self, claim: Claim) -> AletheiaError | None:
        """Send a report; drop it if somebody has its task by now, or nothing more is to be sent."""
        async with self._held.turns:
            if self._held.is_out_of_grace or self._held.forbidden.is_ours:
                await self._held.release([claim])
                return None
            is_held = self._held.ledger.claims.is_held(claim)
            if not is_held and not await self._held.confirm([claim]):
                return None
            answer = await self._answer(claim)
            self._held.forbidden.note(claim.entry.id, answer)
            return answer

    async def _answer(self, claim: Claim) -> AletheiaError | None:
        assert claim.body is not None
        try:
            try:
                await self._upstream.report(claim.entry.id, claim.body)
            except Refused as refusal:
                if isinstance(refusal, Unauthorized) or not claim.is_resend:
                    raise
                # What is pending again may have to be `processing` first.
                wording = self._held.ledger.rows.wording(claim.entry)
                await self._upstream.report(claim.entry.id, wording.processing())
                await self._upstream.report(claim.entry.id, claim.body)
        except AletheiaError as problem:
            return problem
        return None

    async def _settle(self, claim: Claim, answer: AletheiaError) -> None:
        ledger, tally = self._held.ledger, self._held.tally
        if self._held.forbidden.is_lock_out(answer):
            await ledger.claims.release([claim])
        elif isinstance(answer, Conflict) or (isinstance(answer, NotFound) and claim.was_reported):
            tally.conflicts += 1
            await ledger.reports.conflicted([claim])
            log.warning("task %r: delivered elsewhere (%s)", claim.entry.id, answer)
        elif self._held.forbidden.is_refusal_of(claim.entry.id, answer):
            tally.dead += 1
            await ledger.dead_letters.add(claim, "report_refused", answer)
            log.error("task %r: dead letter, %s", claim.entry.id, answer)
        else:
            tally.deferred_reports += 1
            pause = await ledger.reports.defer(claim, answer)
            log.warning("task %r: report again in %.0f s, %s", claim.entry.id, pause, answer)

    def _count(self, claim: Claim) -> None:
        task = claim.entry.task
        task_type = task.type if isinstance(task, Task) else "invalid"
        failure = failure_in(claim.body or b"")
        if failure is None:
            self._held.tally.count_outcome(task_type, "succeeded")
            return
        if failure["code"] == "unknown_type":
            task_type = "unknown"  # the name is the upstream's, and there is no end of those
        self._held.tally.count_outcome(task_type, "failed", failure["code"])
        log.warning("task %r failed: %s: %s", claim.entry.id, failure["code"], failure["message"])


def _route_of(claim: Claim) -> str | None:
    """Name a task for the log, with the upstream's own routing data, if it has any."""
    task = claim.entry.task
    if not isinstance(task, Task) or task.callback_route is None:
        return None
    return f"{task.id!r} (callback {routing_json(task)[:MAX_ROUTING_LENGTH]})"

"""Reports to the upstream: `processing`, which takes a task off its list, and kept reports."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import get_args

from aletheia import telemetry
from aletheia.errors import (
    AletheiaError,
    Conflict,
    Deferred,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)
from aletheia.intake.callbacks import CallbackSender, gives_up
from aletheia.intake.concurrency import all_of
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.models import Claim, Origin, RowState, Task
from aletheia.intake.parsing import routing_json
from aletheia.intake.ports import INVALID, Callbacks, Upstream
from aletheia.intake.wording import failure_in
from aletheia.logs import Repeated, about_task

MAX_ROUTING_LENGTH = 2000
"""How much of a task's routing data is logged, characters; the ledger has all of it."""

MAX_LINE_CHARS = 8000
"""Of a line that names several tasks with their routing data."""

log = logging.getLogger(__name__)


class Reporter:
    """Sends changes of state, and settles the claims by what is answered.

    About pushed tasks nothing goes to the upstream, and their reports go by `callbacks`.
    """

    def __init__(
        self, upstream: Upstream, held: HeldClaims, callbacks: Callbacks | None = None
    ) -> None:
        self._upstream, self._held = upstream, held
        self._callbacks = CallbackSender(callbacks, held.ledger.clock.steady_s)
        self.repeated = Repeated(log)

    async def send_processing(self, claims: Sequence[Claim], batch: Batch) -> int:
        """Send `processing` for claims; put those that are ours to compute into a batch."""

        async def send(claim: Claim) -> AletheiaError | None:
            if self._held.is_stopping:
                await self._held.release([claim])
                return None
            return await self.claim(claim)

        accepted = await self._send_all(claims, send, self._held.ledger.claims.acknowledge)
        self._leave([claim for claim in accepted if claim.state is RowState.QUEUED])
        batch.work += [claim for claim in accepted if claim.state is not RowState.QUEUED]
        return len(accepted)

    async def hand_over(self, claims: Sequence[Claim]) -> None:
        """Leave claims that the upstream acknowledged to the workers of their lanes."""
        queued = await self._held.ledger.claims.queue.hand_over(claims)
        self._leave(self._held.keep_ours(claims, queued))

    def _leave(self, queued: Sequence[Claim]) -> None:
        self._held.drop(queued)
        self._held.tally.handed_over += len(queued)

    async def claim(self, claim: Claim) -> AletheiaError | None:
        """Send `processing` for a claim; return what was in the way, if anything was."""
        answer = None
        if claim.entry.origin == "pushed":
            return answer
        try:
            wording = self._held.ledger.rows.wording(claim.entry)
            await self._upstream.report(claim.entry.id, wording.processing())
        except AletheiaError as problem:
            # An acknowledgement may have been ours and gone unrecorded, in a crash or on the wire.
            # Some upstreams call a state invalid that may not follow the one there is.
            is_conflict = isinstance(problem, Conflict)
            is_known = is_conflict or (isinstance(problem, Refused) and problem.status in INVALID)
            is_ours = (is_conflict and problem.may_be_ours) or (is_known and claim.was_taken_over)
            answer = None if is_ours else problem
        self._held.forbidden.note(claim.entry.id, answer)
        return answer

    async def report(self, batch: Batch) -> int:
        """Send the reports of a batch as they are kept; return how many were acknowledged."""
        with telemetry.span(telemetry.REPORT, parent=batch.traceparent) as span:
            acknowledged = await self._report_kept(batch)
            span.set_attribute(telemetry.TASKS, acknowledged)
        return acknowledged

    async def _report_kept(self, batch: Batch) -> int:
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
        """Send kept reports, and release their claims; return how many were acknowledged."""

        async def send(claim: Claim) -> AletheiaError | None:
            # Somebody may have the task by now.
            is_held = self._held.ledger.claims.is_held(claim)
            if self._held.is_out_of_grace:
                await self._held.release([claim])
            elif is_held or await self._held.confirm([claim]):
                answer = await self._report(claim)
                if claim.entry.origin == "upstream":
                    self._held.forbidden.note(claim.entry.id, answer)
                return answer
            return None

        claims = await self._held.confirm(claims)
        # What the upstream acknowledged is recorded while callbacks are still under way.
        parts = [[c for c in claims if c.entry.origin == origin] for origin in get_args(Origin)]
        sending = [self._send_all(part, send, self._accept) for part in parts if part]
        return sum(map(len, await all_of(*sending)))

    async def _send_all(
        self,
        claims: Sequence[Claim],
        send: Callable[[Claim], Awaitable[AletheiaError | None]],
        record: Callable[[Sequence[Claim]], Awaitable[list[Claim]]],
    ) -> list[Claim]:
        """Send something for each claim in its turn, and settle what is answered.

        Returns those that were accepted and are still ours, as `record` finds.
        """

        async def send_in_turn(claim: Claim) -> AletheiaError | None:
            if claim.entry.origin == "pushed":
                return await send(claim)  # which has turns of its own
            async with self._held.turns:
                if self._held.forbidden.is_ours:
                    await self._held.release([claim])
                    return None
                return await send(claim)

        answers = await all_of(*map(send_in_turn, claims))
        pairs = list(zip(claims, answers, strict=True))
        # What was not sent any more is no longer ours.
        sent = [claim for claim, answer in pairs if answer is None and claim in self._held]
        accepted = self._held.keep_ours(sent, await record(sent))
        for claim, answer in pairs:
            # What is to be computed and no longer ours is settled by whoever has it.
            if answer is not None and (claim.body is not None or claim in self._held):
                await self._settle(claim, answer)
        self._held.forbidden.check(a for c, a in pairs if c.entry.origin == "upstream")
        return accepted

    async def _report(self, claim: Claim) -> AletheiaError | None:
        assert claim.body is not None
        try:
            if claim.entry.origin == "pushed":
                return await self._callbacks.send(claim)
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

    async def _accept(self, claims: Sequence[Claim]) -> list[Claim]:
        """Record that reports were acknowledged; return those that were ours."""
        accepted = await self._held.ledger.reports.accepted(claims)
        self._held.drop(accepted)
        for claim in accepted:
            self._count(claim)
        # The upstream's own routing data belongs in the log; what has none is in the ledger.
        for line in _join(filter(None, map(_route_of, accepted))):
            log.info("reported %s", line)
        return accepted

    async def _settle(self, claim: Claim, answer: AletheiaError) -> None:
        held, tally, is_claim = self._held, self._held.tally, claim.body is None
        if claim.entry.origin == "pushed":
            await self._settle_callback(claim, answer)
            return
        if isinstance(answer, Conflict) and _has_settled(claim, answer):
            log.debug("task %r: reported before", claim.entry.id, extra=about_task(claim.entry.id))
            await self._accept([claim])
            return
        is_gone = isinstance(answer, NotFound) and (is_claim or claim.was_reported)
        level, what = logging.WARNING, "released"
        if isinstance(answer, Conflict) or is_gone:
            level, what = logging.DEBUG if is_claim else level, "delivered elsewhere"
            tally.conflicts += 1
            await held.ledger.reports.conflicted([claim])
        elif held.forbidden.is_refusal_of(claim.entry.id, answer):
            level, what = logging.ERROR, "dead letter"
            tally.dead += 1
            code = "claim_refused" if is_claim else "report_refused"
            await held.ledger.dead_letters.add(claim, code, answer)
        elif held.forbidden.is_lock_out(answer):
            await held.release([claim], why=answer if is_claim else None)
        elif is_claim:
            pause_s = max(held.settings.polling_interval_seconds, answer.retry_after_s or 0)
            await held.release([claim], for_s=pause_s, why=answer)
        else:
            tally.deferred_reports += 1
            pause_s = await held.ledger.reports.defer(claim, answer)
            what = f"report again in {pause_s:.0f} s"
        held.drop([claim])
        self._say(level, claim.entry.id, what, answer)

    async def _settle_callback(self, claim: Claim, answer: AletheiaError) -> None:
        held, task_id = self._held, claim.entry.id
        code = gives_up(claim, answer, held.ledger.clock.unix_s())
        if code is not None:
            what, held.tally.dead = "dead letter", held.tally.dead + 1
            await held.ledger.dead_letters.add(claim, code, answer)
        else:
            held.tally.deferred_reports += 1
            pause_s = await held.ledger.reports.defer(claim, answer)
            what = f"called back again in {pause_s:.0f} s"
        held.drop([claim])
        self._say(logging.WARNING, task_id, what, answer)

    def _say(self, level: int, task_id: str, what: str, answer: AletheiaError) -> None:
        """Log what became of a claim; in an outage, which all of them meet, once for all."""
        if isinstance(answer, Deferred | Unavailable):
            kind = f"{'processing' if what == 'released' else 'reports'} {answer.code}"
            self.repeated.say(
                kind, level, "task %r: %s, %s", task_id, what, answer, task_id=task_id
            )
        else:
            log.log(level, "task %r: %s, %s", task_id, what, answer, extra=about_task(task_id))

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
        task_id, code, said = claim.entry.id, failure["code"], failure["message"]
        log.warning("task %r failed: %s: %s", task_id, code, said, extra=about_task(task_id))


def _has_settled(claim: Claim, conflict: Conflict) -> bool:
    """Return whether what a report conflicts with may only be an earlier sending of the same body.

    It was kept before it was first sent, and is sent again by whoever takes the claim over.
    """
    is_again = claim.was_kept or claim.report_tries > 0 or conflict.may_be_ours
    return claim.body is not None and not claim.is_resend and is_again


def _join(names: Iterable[str]) -> Iterator[str]:
    """Yield names with commas between them, as many at once as a line holds."""
    line = ""
    for name in names:
        if line and len(line) + len(name) > MAX_LINE_CHARS:
            yield line
            line = ""
        line = f"{line}, {name}" if line else name
    if line:
        yield line


def _route_of(claim: Claim) -> str | None:
    """Name a task for the log, with the upstream's own routing data, if it has any."""
    task = claim.entry.task
    if not isinstance(task, Task) or task.callback_route is None:
        return None
    return f"{task.id!r} (callback {routing_json(task)[:MAX_ROUTING_LENGTH]})"

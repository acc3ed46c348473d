"""What becomes of an order: its answers are kept and reported, the rest goes to the shifts."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final

from aletheia.analysis.processor import Finished
from aletheia.documents import Document
from aletheia.errors import AletheiaError, NotFound, Unavailable
from aletheia.intake.bulk.claims import LaneLedger
from aletheia.intake.bulk.orders import Orders, tokens_in
from aletheia.intake.bulk.ports import LaneDeps, ProviderBatch
from aletheia.intake.computer import OUTAGES, outcome_of
from aletheia.intake.held_claims import HeldClaims
from aletheia.intake.models import Claim, Outcome, RowState
from aletheia.intake.reporter import Reporter
from aletheia.llm.prices import Tokens
from aletheia.store.backoff import Backoff
from aletheia.store.lease import Lease

READS_AT_ONCE: Final = 3
"""Readings of a batch's answers, which may be gigabytes, before there are pauses between them."""

READ_BACKOFF: Final = Backoff(60, 3600, jitter=0)
"""Pauses between further readings of a batch's answers."""

log = logging.getLogger(__name__)


class Settling:
    """Settles orders; what it holds are the claims of orders, which are never released."""

    def __init__(
        self, deps: LaneDeps, ledger: LaneLedger, orders: Orders, held: HeldClaims
    ) -> None:
        self._deps, self._ledger, self._orders, self._held = deps, ledger, orders, held
        self._reporter = Reporter(deps.upstream, held)
        self.handed_back = 0  # tasks that were left to the shifts
        self.is_useful = False  # whether some batch brought an answer

    async def take_in(
        self, order: Document, batch: ProviderBatch, turn: Lease, *, is_overdue: bool
    ) -> None:
        """Keep and report what a batch brought, if it can be read; leave the rest to the shifts."""
        if self._deps.clock.unix_s() < order.get("read_again_at", 0) and not is_overdue:
            return
        try:
            used = await self._read(order, batch)
        except NotFound as missing:
            log.error("the answers of batch %s are gone: %s", batch.id, missing)  # noqa: TRY400 - the message says all
            used = None
        except Unavailable as outage:
            if outage.dependency == self._deps.batches.provider:
                # The pause between readings that break off is the longer the more there were.
                reads = order.get("reads", 0) + 1
                further = reads - READS_AT_ONCE
                pause_s = READ_BACKOFF.window_s(further + 1) if further >= 0 else 0
                again_at = self._deps.clock.unix_s() + pause_s
                await self._orders.update(order, {"reads": reads, "read_again_at": again_at})
            raise
        if batch.phase == "failed":
            log.error("batch %s was not begun: %s", batch.id, batch.reason)
        if self.is_useful:
            await turn.write({"is_useful": True})
        await self.close(
            order,
            "overdue" if batch.phase == "running" else batch.status,
            used=used,
            is_free=batch.phase == "failed",
            reason=batch.reason,
            batch=batch,
        )

    async def close(
        self,
        order: Document,
        outcome: str,
        *,
        used: int | None = None,
        is_free: bool = False,
        reason: str = "",
        batch: ProviderBatch | None = None,
    ) -> None:
        """Finish an order: what has no answer goes to the shifts, and what was spent is written.

        Where the tokens used are not known, the estimate counts as spent, unless it was free.
        """
        async for lines in self._orders.lines_of(order):
            claims = await self._held.take(self._ledger.claims.resume(tokens_in(lines)))
            await self._hand_back([c for c in claims if c.state is RowState.PROCESSING])
            await self._reporter.send([c for c in claims if c.state is RowState.KEPT])
        for reservation in await self._deps.spending.reservations(order["_id"]):
            if is_free:
                await self._deps.spending.release(reservation)
            elif used is not None:
                await self._deps.spending.settle(reservation, Tokens(used))
        values = {
            "state": "done",
            "outcome": outcome,
            "reason": reason,
            "used": used,
            "finished_at": self._deps.clock.unix_s(),
        }
        await self._orders.update(order, values, unset=["payload"])
        if batch is not None:
            await self._deps.batches.forget(batch)
        elif order.get("input_file"):
            await self._deps.batches.discard(order["input_file"])

    async def _read(self, order: Document, batch: ProviderBatch) -> int | None:
        """Take in all answers of a batch; return the tokens it has cost, `None` if not known."""
        rows = await self._orders.tokens_of(order)
        used, is_counted = 0, True
        seen: set[int] = set()
        async with aclosing(self._deps.batches.answers(batch, order["model"])) as answers:
            async for page in answers:
                answered = [answer for answer in page if answer.index < len(rows)]
                await self._take_in_page(order["_id"], rows, answered)
                seen.update(answer.index for answer in answered)
                used += sum(_tokens_of(answer) or 0 for answer in answered)
                # Servers that count nothing say so of every line.
                is_counted = is_counted and all(
                    _tokens_of(answer) for answer in answered if answer.error is None
                )
        # What is said of some lines only is not what the batch has cost.
        is_whole = len(seen) >= order.get("uploaded", order["lines"])
        return used if is_counted and is_whole else None

    async def _take_in_page(
        self, order_id: str, rows: Sequence[Mapping[str, int]], page: Sequence[Finished]
    ) -> None:
        answers = {row: answer for answer in page for row in rows[answer.index]}
        tokens = tokens_in({answer.index: rows[answer.index] for answer in page})
        claims = await self._held.take(self._ledger.claims.resume(tokens))
        ready = [claim for claim in claims if claim.state is RowState.KEPT]
        outcomes: list[tuple[Claim, Outcome]] = []
        later: list[Claim] = []
        tried: list[Claim] = []
        for claim in claims:
            if claim.state is not RowState.PROCESSING:
                continue
            claim.note_computation(order_id)
            wording = self._ledger.rows.wording(claim.entry)
            try:
                outcomes.append((claim, outcome_of(answers[claim.row_id], wording)))
            except OUTAGES:
                later.append(claim)
            except AletheiaError as problem:
                if problem.retryable and self._held.has_attempts(claim):
                    tried.append(claim)
                else:
                    outcomes.append((claim, wording.failed(problem)))
        kept = await self._keep(outcomes)
        await self._ledger.claims.count_attempts(tried)
        await self._hand_back([*later, *tried])
        await self._reporter.send([*ready, *kept])

    async def _keep(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[Claim]:
        ours = await self._ledger.reports.keep(outcomes)
        kept = self._held.keep_ours([claim for claim, _ in outcomes], ours)
        self._held.tally.computed += len(kept)
        self.is_useful = self.is_useful or bool(kept)
        by_row = {claim.row_id: outcome for claim, outcome in outcomes}
        for claim in kept:
            self._held.tally.count_use(by_row[claim.row_id])
        return kept

    async def _hand_back(self, claims: Sequence[Claim]) -> None:
        await self._held.release(claims)
        self.handed_back += len(claims)


def _tokens_of(answer: Finished) -> int | None:
    tokens = (answer.usage or {}).get("tokens")
    return tokens if isinstance(tokens, int) else None

"""Submitting orders, each once."""

import logging
from http import HTTPStatus
from typing import Final

from aletheia.documents import Document
from aletheia.errors import AletheiaError, QuotaExhausted, Refused
from aletheia.intake.bulk.claims import LEASE_S, LaneLedger
from aletheia.intake.bulk.orders import Orders, tokens_in
from aletheia.intake.bulk.ports import LaneDeps, ProviderBatch
from aletheia.intake.bulk.settling import Settling
from aletheia.intake.bulk.turn import Turn
from aletheia.intake.models import RowState
from aletheia.store.backoff import Backoff

MAX_PAUSE_S: Final = 3600.0
"""Longest pause between two submissions of an order, seconds."""

log = logging.getLogger(__name__)


class Submission:
    """Submits the orders of one run."""

    def __init__(
        self, deps: LaneDeps, ledger: LaneLedger, orders: Orders, settling: Settling
    ) -> None:
        self._deps, self._ledger, self._orders, self._settling = deps, ledger, orders, settling
        self._backoff = Backoff(deps.listed_after_s, MAX_PAUSE_S, jitter=0)
        self.submitted = 0  # orders of this run that became batches
        self.trouble: AletheiaError | None = None  # what was refused, so that the run fails

    async def submit(self, order: Document, turn: Turn) -> ProviderBatch | None:
        """Submit an order once; `None` where there is nothing to submit, or not yet."""
        key, tried_at = order["_id"], order.get("tried_at")
        batch = None if tried_at is None else await self._find(key)
        if batch is None:
            now_s = self._deps.clock.unix_s()
            pause_s = self._backoff.window_s(order.get("tries", 1))
            if tried_at is not None and now_s < tried_at + pause_s:
                return None
            if now_s > order["created_at"] + LEASE_S:
                reason = "it was never accepted"
                await self._settling.close(order, "overdue", is_free=True, reason=reason)
                return None
            if tried_at is not None:
                await self._deps.limiter.acquire(self._deps.batches.provider, 1)
            try:
                batch = await self._send(order, turn)
            except (Refused, QuotaExhausted) as refusal:
                if refusal.status == HTTPStatus.UNAUTHORIZED:
                    raise
                # There is no batch and there will be none; nothing was spent.
                self.trouble = refusal
                await self._settling.close(order, "refused", is_free=True, reason=str(refusal))
                return None
        if batch is not None:
            self.submitted += order["run_id"] == self._deps.run_id
            # The leases were extended before it was sent.
            known = {"batch_id": batch.id, "submitted_at": order["tried_at"]}
            await self._orders.update(order, {"state": "submitted", **known})
            log.info("order %s is batch %s: %d texts", key, batch.id, order["lines"])
        return batch

    async def _find(self, key: str) -> ProviderBatch | None:
        batch, *others = await self._deps.batches.find(key) or [None]
        for other in others:
            if other is not None and other.phase == "running":
                log.error("batch %s was submitted twice, and is cancelled", other.id)
                await self._deps.batches.cancel(other.id)
        return batch

    async def _send(self, order: Document, turn: Turn) -> ProviderBatch | None:
        requests = await self._requests_of(order)
        if not requests:
            await self._settling.close(order, "lost", is_free=True)
            return None
        values: dict[str, object] = {}
        # A row that is lost stays lost: as many lines as were uploaded are the same ones.
        if order.get("uploaded") != len(requests):
            if order.get("input_file"):
                await self._deps.batches.discard(order["input_file"])
            values["input_file"] = await self._deps.batches.upload(order["_id"], requests)
            values["uploaded"] = len(requests)
        await turn.confirm()
        values |= {"tried_at": self._deps.clock.unix_s(), "tries": order.get("tries", 0) + 1}
        # From here on a batch may exist that nobody has heard of.
        await self._orders.update(order, values)
        return await self._deps.batches.create(order["_id"], order["input_file"])

    async def _requests_of(self, order: Document) -> dict[int, bytes]:
        """Write the requests for those rows of an order that are ours, and extend their leases."""
        requests: dict[int, bytes] = {}
        async for lines in self._orders.lines_of(order):
            numbers = {row: number for number, tokens in lines.items() for row in tokens}
            claims = await self._ledger.claims.resume(tokens_in(lines))
            lost = await self._ledger.claims.renew(claims)
            for claim in claims:
                if claim not in lost and claim.state is RowState.PROCESSING:
                    body = self._deps.batches.body_of(order["model"], claim.task.input)
                    requests.setdefault(numbers[claim.row_id], body)
        return requests

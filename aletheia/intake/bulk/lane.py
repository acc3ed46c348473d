"""One run's work in the bulk lane."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel

from aletheia.documents import Document
from aletheia.errors import (
    AletheiaError,
    BreakerOpen,
    Deferred,
    LaneTaken,
    NotFound,
    QuotaExhausted,
    RateLimited,
    Refused,
    Unavailable,
)
from aletheia.intake.bulk.backlog import TASK_TYPE, Backlog
from aletheia.intake.bulk.claims import LEASE_S, LaneLedger
from aletheia.intake.bulk.orders import Orders, tokens_in
from aletheia.intake.bulk.ports import LaneDeps, ProviderBatch
from aletheia.intake.bulk.settling import Settling
from aletheia.intake.bulk.turn import take_turn
from aletheia.intake.held_claims import HeldClaims
from aletheia.intake.models import RowState, Tally
from aletheia.store.backoff import Backoff
from aletheia.store.clock import microseconds, moment
from aletheia.store.lease import Lease

MAX_PAUSE_S: Final = 3600.0
"""Longest pause between two submissions of an order, seconds."""

_SECONDS_A_DAY = 86_400

Ended: TypeAlias = Literal["done", "off", "paused", "too_little", "deferred"]
"""`done`: the batches there were have ended. Anything else: nothing was submitted."""

log = logging.getLogger(__name__)


class BulkReport(BaseModel):
    """What a run of the lane did so far."""

    ended: Ended = "done"
    why: str = ""  # what was in the way
    attached: int = 0  # batches of earlier runs that were under way
    submitted: int = 0  # batches of this run
    handed_back: int = 0  # tasks that a shift computes in place of a batch
    tally: Tally


class BulkLane:
    """One run of the lane, step by step.

    Whoever runs it enters `held`, then calls `attach`, `collect` if there is nothing to attach, and
    `next_poll` and `poll` until nothing is under way.
    """

    def __init__(self, deps: LaneDeps) -> None:
        self._deps = deps
        self._ledger = LaneLedger(deps.documents, deps.settings, clock=deps.clock)
        self._orders = Orders(deps.documents)
        held = HeldClaims(self._ledger)
        self._backlog = Backlog(deps, self._ledger, self._orders, held.tally)
        self._settling = Settling(deps, self._ledger, self._orders, held)
        self._backoff = Backoff(deps.listed_after_s, MAX_PAUSE_S, jitter=0)
        self._turn: Lease  # from `held` on
        self._trouble: AletheiaError | None = None  # what was refused, so that the run fails
        self._next_poll_s = 0.0
        self._report = BulkReport(tally=held.tally)

    async def find_trouble(self) -> AletheiaError | None:
        """Return what the provider refused, or else that nobody acknowledges reports."""
        return self._trouble or await self._ledger.reports.find_trouble()

    def report(self) -> BulkReport:
        """Return what the run did so far."""
        self._report.handed_back = self._backlog.handed_back + self._settling.handed_back
        return self._report

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Keep others out of the lane, see `take_turn`; at the end release what has no order."""
        await self._ledger.prepare()
        async with take_turn(self._deps) as self._turn:
            try:
                yield
            finally:
                await self._backlog.held.release_all()

    async def attach(self) -> int:
        """Find the orders of earlier runs that are under way; return how many there are."""
        kept_s = self._deps.settings.ledger_retention_days * _SECONDS_A_DAY
        await self._orders.purge(self._deps.clock.unix_s() - kept_s)
        self._report.attached = await self.under_way()
        return self._report.attached

    async def under_way(self) -> int:
        """Return how many orders are under way."""
        return len(await self._orders.under_way())

    async def collect(self, limit: int | None, above: int | None) -> int:
        """Claim what is pending, write orders, and return how many; only while there is no order.

        At most `limit` tasks are claimed; `None` is as many as one batch takes. No more than
        `above` are left to the shifts; with `None` all are.
        """
        if above is None:
            self._report.ended = "off"
        elif (await self._ledger.pauses()).holds(TASK_TYPE, None):
            self._report.ended = "paused"
            await self._turn.write({"is_useful": True, "above": above})
        elif await self._backlog.is_too_little(above):
            self._report.ended = "too_little"
            await self._turn.write({"is_useful": True, "above": above, "passed_over": []})
        else:
            max_lines = self._deps.batches.max_lines
            return await self._collect(max_lines if limit is None else min(limit, max_lines), above)
        await self._backlog.hand_back_left()
        return 0

    async def next_poll(self, rest: Callable[[float], Awaitable[object]]) -> bool:
        """Wait, in sleeps by `rest`, until it is time to poll; `False` when none is under way."""
        if not await self.under_way():
            return False
        steady_s = self._deps.clock.steady_s
        while (left_s := self._next_poll_s - steady_s()) > 0:
            await rest(left_s)
        self._next_poll_s = steady_s() + self._deps.poll_s
        return True

    async def poll(self) -> int:
        """Take every order one step further, as far as it goes; return how many are under way."""
        await self._confirm_turn()
        for order in await self._orders.under_way():
            try:
                await self._advance(order)
            except (Unavailable, RateLimited, BreakerOpen) as outage:
                if isinstance(outage, Unavailable) and outage.dependency == "store":
                    raise
                log.warning("the batch for order %s has to wait: %s", order["_id"], outage)
        return await self.under_way()

    async def _collect(self, limit: int, above: int) -> int:
        try:
            capacity = await self._backlog.capacity()
            await self._deps.batches.check()
        except AletheiaError as problem:
            await self._backlog.hand_back_left()
            if not isinstance(problem, Deferred):
                raise
            self._defer(problem)
            return 0
        claims, passed_over = await self._backlog.claim(limit, capacity)
        await self._turn.write({"above": above, "passed_over": passed_over})
        report = self._report
        if capacity.is_full:
            report.why = f"a budget suffices for {len(claims)} tasks only; the rest stays pending"
            log.warning("%s", report.why)
        if len(claims) <= above:
            report.ended = "deferred" if capacity.is_full else "too_little"
            await self._backlog.hand_back(claims)
            return 0
        orders = await self._backlog.write_orders(claims)
        if self._backlog.deferred is not None:
            self._defer(self._backlog.deferred)
        return orders

    def _defer(self, problem: Deferred) -> None:
        self._report.ended, self._report.why = "deferred", str(problem)
        log.warning("no batch: %s", problem)

    async def _advance(self, order: Document) -> None:
        since = order.get("submitted_at") or order.get("tried_at") or order["created_at"]
        is_overdue = self._deps.clock.unix_s() > since + LEASE_S
        try:
            await self._step(order, is_overdue=is_overdue)
        except (Unavailable, Refused) as problem:
            # The leases have run out: there is nothing left to wait for.
            if not is_overdue or problem.dependency != self._deps.batches.provider:
                raise
            log.error("order %s is given up: %s", order["_id"], problem)  # noqa: TRY400 - the message says all
            await self._settling.close(order, "overdue", reason=str(problem))

    async def _step(self, order: Document, *, is_overdue: bool) -> None:
        batch_id: str | None = order.get("batch_id")
        if batch_id is None:
            batch = await self._submit(order)
            if batch is None:
                return
        else:
            try:
                batch = await self._deps.batches.poll(batch_id)
            except NotFound as missing:
                log.error("batch %s is gone: %s", batch_id, missing)  # noqa: TRY400 - the message says all
                await self._settling.close(order, "gone")
                return
        if batch.phase == "running":
            if not is_overdue:
                return
            await self._deps.batches.cancel(batch.id)
        await self._settling.take_in(order, batch, self._turn, is_overdue=is_overdue)

    async def _submit(self, order: Document) -> ProviderBatch | None:
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
                batch = await self._send(order)
            except (Refused, QuotaExhausted) as refusal:
                if refusal.status == HTTPStatus.UNAUTHORIZED:
                    raise
                # There is no batch and there will be none; nothing was spent.
                self._trouble = refusal
                await self._settling.close(order, "refused", is_free=True, reason=str(refusal))
                return None
        if batch is not None:
            self._report.submitted += order["run_id"] == self._deps.run_id
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

    async def _send(self, order: Document) -> ProviderBatch | None:
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
        await self._confirm_turn()
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

    async def _confirm_turn(self) -> None:
        """Keep others out of the lane for longer; raise `LaneTaken` where it is ours no more."""
        if not await self._turn.renew():
            lease = microseconds(self._deps.lane_lease_s)
            raise LaneTaken(moment(self._deps.clock.now() + lease))

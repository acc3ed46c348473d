"""One run's work in the bulk lane."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from aletheia.documents import Document
from aletheia.errors import (
    AletheiaError,
    BreakerOpen,
    Deferred,
    NotFound,
    RateLimited,
    Refused,
    Unavailable,
)
from aletheia.intake.bulk.backlog import Backlog
from aletheia.intake.bulk.claims import LEASE_S, LaneLedger
from aletheia.intake.bulk.orders import Orders
from aletheia.intake.bulk.ports import LaneDeps
from aletheia.intake.bulk.settling import Settling
from aletheia.intake.bulk.submission import Submission
from aletheia.intake.bulk.turn import Turn, take_turn
from aletheia.intake.held_claims import HeldClaims, Pace
from aletheia.intake.models import Tally

_SECONDS_A_DAY = 86_400

Ended: TypeAlias = Literal["done", "off", "paused", "too_little", "deferred"]
"""`done`: the batches there were have ended. Anything else: nothing was submitted."""

log = logging.getLogger(__name__)


class BulkReport(BaseModel):
    """What a run of the lane did."""

    model_config = ConfigDict(frozen=True)

    ended: Ended
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
        held = HeldClaims(self._ledger, Pace.from_settings(deps.settings))
        self._backlog = Backlog(deps, self._ledger, self._orders, held.tally)
        self._settling = Settling(deps, self._ledger, self._orders, held)
        self._submission = Submission(deps, self._ledger, self._orders, self._settling)
        self._tally = held.tally
        self._turn: Turn  # from `held` on
        self._ended: Ended = "done"
        self._why, self._attached, self._next_poll_s = "", 0, 0.0

    async def find_trouble(self) -> AletheiaError | None:
        """Return what the provider refused, or else that nobody acknowledges reports."""
        return self._submission.trouble or await self._ledger.reports.find_trouble()

    def report(self) -> BulkReport:
        """Return what the run did so far."""
        return BulkReport(
            ended=self._ended,
            why=self._why,
            attached=self._attached,
            submitted=self._submission.submitted,
            handed_back=self._backlog.handed_back + self._settling.handed_back,
            tally=self._tally,
        )

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Keep others out of the lane, see `take_turn`; at the end release what has no order."""
        await self._ledger.prepare()
        async with take_turn(self._deps) as self._turn:
            try:
                yield
            finally:
                # A cancelled run has to let go all the same.
                try:
                    await asyncio.shield(self._backlog.release_all())
                except Unavailable as outage:
                    log.warning("claims not released, their leases will run out: %s", outage)

    async def attach(self) -> int:
        """Find the orders of earlier runs that are under way; return how many there are."""
        kept_s = self._deps.settings.ledger_retention_days * _SECONDS_A_DAY
        await self._orders.purge(self._deps.clock.unix_s() - kept_s)
        self._attached = await self.under_way()
        return self._attached

    async def under_way(self) -> int:
        """Return how many orders are under way."""
        return len(await self._orders.under_way())

    async def collect(self, limit: int | None, above: int | None) -> int:
        """Claim what is pending, write orders, and return how many; only while there is no order.

        At most `limit` tasks are claimed; `None` is as many as one batch takes. No more than
        `above` are left to the shifts; with `None` all are.
        """
        if above is None:
            self._ended = "off"
        elif await self._ledger.is_paused():
            self._ended = "paused"
            await self._turn.note(is_useful=True, above=above)
        elif await self._backlog.is_too_little(above):
            self._ended = "too_little"
            await self._turn.note(is_useful=True, above=above, passed_over=[])
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
        await self._turn.confirm()
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
        await self._turn.note(above=above, passed_over=passed_over)
        if capacity.is_full:
            self._why = f"a budget has room for {len(claims)} tasks only; the rest stays pending"
            log.warning("%s", self._why)
        if len(claims) <= above:
            self._ended = "deferred" if capacity.is_full else "too_little"
            await self._backlog.hand_back(claims)
            return 0
        orders = await self._backlog.write_orders(claims)
        if self._backlog.deferred is not None:
            self._defer(self._backlog.deferred)
        return orders

    def _defer(self, problem: Deferred) -> None:
        self._ended, self._why = "deferred", str(problem)
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
            batch = await self._submission.submit(order, self._turn)
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

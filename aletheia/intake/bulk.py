"""The bulk lane: large backlogs of embeddings through a provider's batch API (SPEC §2).

A batch has a document of its own, an order, which is written before anything is submitted:

    intended ──▶ submitted ──▶ done

It names every row it is about with its token, so whoever comes after a killed run knows what is
under way. The order's id goes with the batch as metadata: a batch whose id was not written down
any more is found by it. The rows stay claimed, under one name for all runs of the lane and a lease
that outlasts the batch, so that no shift takes them over meanwhile. Where nobody comes back, the
lease runs out, and a shift computes them as if there had been no batch. An order as old as that is
closed, whatever has become of its batch.

Only one run works in the lane at a time; another one waits for it to be left.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import (
    AletheiaError,
    BreakerOpen,
    Deferred,
    InvalidTask,
    LaneTaken,
    NotFound,
    QuotaExhausted,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from aletheia.intake.bulk_ports import Batches, ProviderBatch
from aletheia.intake.collector import Collector
from aletheia.intake.computer import OUTAGES, outcome_of
from aletheia.intake.held_claims import Batch, HeldClaims, Pace
from aletheia.intake.ledger import LEASED, ROWS, Ledger
from aletheia.intake.models import (
    UNFINISHED,
    Claim,
    Entry,
    Outcome,
    Page,
    RowState,
    Tally,
    Task,
)
from aletheia.intake.parsing import failed, parse_entry, parse_page
from aletheia.intake.ports import Finished, Processors, Upstream
from aletheia.intake.reporter import Reporter
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.llm.usage import Spending
from aletheia.llm.usage_records import Call
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter
from aletheia.settings import IntakeSettings

BULK: Final = "aletheia_bulk"

TASK_TYPE: Final = "text_embedding"

OWNER: Final = "bulk_embed"
"""Who holds the lane's claims, whichever run made them."""

LEASE_S: Final = 26 * 3600
"""How long a claim of the lane holds (SPEC §2): the 24 hours of a batch, and what comes after."""

LANE: Final = "lane"
"""Id of the document that says who works in the lane."""

LANE_LEASE_S: Final = 60.0
"""How long a run that was killed keeps others out of the lane, seconds."""

LISTED_AFTER_S: Final = 60.0
"""How long after a submission without an answer its batch may yet turn up in the list, seconds."""

MAX_PAUSE_S: Final = 3600.0
"""Longest pause between two submissions of an order, or two readings of its answers, seconds."""

READS_AT_ONCE: Final = 3
"""Readings of a batch's answers, which may be gigabytes, before there are pauses between them."""

AWAKE_FOR_S: Final = 7200.0
"""How long after a run of the lane another one is expected, seconds; it is started hourly."""

ROWS_AT_ONCE: Final = 500

PASSED_OVER: Final = 1000
"""How many texts that the lane has passed over are remembered, the oldest."""

MAX_ROWS_BYTES: Final = 8_000_000
"""Names of the rows of one order, bytes; a document of MongoDB holds 16 MB."""

_UNKNOWN_KEY: Final = 401

UNDER_WAY: Final = {"state": {"$in": ["intended", "submitted"]}}
"""What orders are not done."""

log = logging.getLogger(__name__)


class BulkReport(BaseModel):
    """What a run of the lane did.

    Attributes:
        ended: `done`: the batches there were have ended. Else nothing was submitted: the lane is
            `off`, intake is `paused`, there is `too_little`, or it is `held_up`.
        why: what held it up.
        attached: batches of earlier runs that were under way.
        submitted: batches of this run.
        handed_back: tasks that a shift computes in place of a batch.
        tally: what was done; counts are tasks unless their name says otherwise.
    """

    model_config = ConfigDict(frozen=True)

    ended: Literal["done", "off", "paused", "too_little", "held_up"]
    why: str = ""
    attached: int = 0
    submitted: int = 0
    handed_back: int = 0
    tally: Tally


class BulkLedger(Ledger):
    """The ledger as the lane sees it: what the lane has claimed, whichever run it was."""

    async def prepare(self) -> None:
        """Make the look-ups below fast."""
        await super().prepare()
        await self._documents.ensure_index(ROWS, ["owner", "state"])

    async def take_over(self, limit: int) -> list[Claim]:
        """Take what an earlier run claimed; to be asked while there is no order."""
        now = self.clock()
        found = await self._documents.find(
            ROWS, self._ours(), sort="claimed_at", limit=limit, with_payload=True
        )
        return await self._take_rows(found, now)

    async def count_left(self) -> int:
        """Count what an earlier run claimed; to be asked while there is no order."""
        return await self._documents.count(ROWS, self._ours())

    async def resume(self, tokens: Mapping[str, int]) -> list[Claim]:
        """Read claims of an order back, as they are; those that are settled or lost are left out.

        Args:
            tokens: fencing tokens by row.
        """
        rows = await self._documents.get(ROWS, list(tokens), with_payload=True)
        claims: list[Claim] = []
        for row_id, token in tokens.items():
            row = rows.get(row_id)
            states = (RowState.PROCESSING, RowState.KEPT)
            if row is None or row["state"] not in states or row["token"] != token:
                continue
            if row["owner"] == self._owner:
                claim = self._claim_of(row, parse_entry(row["task_json"]), self.clock())
                claim.token, claim.lease_until = token, row["lease_until"]
                claims.append(claim)
        return claims

    def _ours(self) -> dict[str, Any]:
        return {"owner": self._owner, "state": {"$in": LEASED}}


@dataclass(slots=True)
class Room:
    """How much may still be claimed before a budget is spent.

    What is not claimed stays pending upstream. Others spend, too: the reservation decides.

    Attributes:
        tokens: `None` is no bound.
        nanousd: `None` is no bound.
        is_full: whether a task found no room.
    """

    tokens: int | None
    nanousd: int | None
    is_full: bool = False
    _seen: set[str] = field(default_factory=set[str])
    _taken: dict[str, int] = field(default_factory=dict[str, int])

    def take(self, row_id: str, model: str, tokens: int, cost: Callable[[str, int], int]) -> bool:
        """Take room for a task, once; `False` where there is too little."""
        if row_id in self._seen:
            return True
        taken = {**self._taken, model: self._taken.get(model, 0) + tokens}
        if self.tokens is not None and sum(taken.values()) > self.tokens:
            self.is_full = True
        if self.nanousd is not None and sum(cost(*one) for one in taken.items()) > self.nanousd:
            self.is_full = True
        if not self.is_full:
            self._taken = taken
            self._seen.add(row_id)
        return not self.is_full


class BulkCollector(Collector):
    """Collects texts to embed that fit a batch, and leaves everything else to the shifts.

    Attributes:
        passed_over: ids of the texts that are left, in the order they were seen.
    """

    def __init__(
        self,
        upstream: Upstream,
        processors: Processors,
        reporter: Reporter,
        held: HeldClaims,
        *,
        fits: Callable[[Entry, Task, str], bool],
    ) -> None:
        super().__init__(upstream, processors, reporter, held)
        self._fits = fits
        self.passed_over: dict[str, None] = {}

    def _check(self, entry: Entry) -> tuple[InvalidTask | None, str | None]:
        task = entry.task
        if isinstance(task, InvalidTask) or task.type != TASK_TYPE:
            return None, None
        problem, group = super()._check(entry)
        if problem is not None or group is None or not self._fits(entry, task, group):
            self.passed_over[entry.id] = None
            return None, None
        return None, group

    async def _act_on(self, page: Page, batch: Batch) -> int:
        done = await super()._act_on(page, batch)
        # What somebody else has claimed only a shift takes over.
        rows = await self._desk.ledger.rows_of([entry.id for entry in page.entries])
        for task_id, of_id in rows.items():
            if any(row["state"] in UNFINISHED and row["owner"] != OWNER for row in of_id):
                self.passed_over[task_id] = None
        return done

    async def _find_held(
        self, task_type: str, group: str, tasks: Sequence[Task], batch: Batch
    ) -> set[str]:
        # Budgets are asked text by text in `fits`, at the price of a batch; the limits of single
        # requests are none of a batch's.
        del task_type, group, tasks, batch
        return set()


@dataclass(slots=True)
class _Order:
    """Requests of one model that become one batch.

    Attributes:
        claims: by request, who wants its answer.
        tokens: of all requests, at most.
        room: bytes of input that are left.
        names: bytes that naming the rows takes.
    """

    room: int
    claims: dict[bytes, list[Claim]] = field(default_factory=dict[bytes, list[Claim]])
    tokens: int = 0
    names: int = 0

    @property
    def rows(self) -> list[list[tuple[str, int]]]:
        """Row and token of those who want an answer, by line."""
        return [[(one.row_id, one.token) for one in claims] for claims in self.claims.values()]


class BulkLane:
    """One run's work in the bulk lane.

    Args:
        upstream: hands out the tasks.
        documents: the store of ledger and orders, open.
        processors: says which model a task is computed with.
        batches: the provider.
        spending: the budgets.
        prices: what spending is counted with.
        limiter: the provider's limits.
        breakers: the provider's among them; while it is open nothing is claimed. What calls of
            `batches` show is told to them by `aletheia.adapters.openai.guarded_batches`.
        settings: how intake behaves.
        clock: Unix time, seconds.
        run_id: whose budget is charged.
        lane_lease_s: how long the lane stays taken when the run is killed.
        listed_after_s: how long a batch may be missing from the provider's list.

    Attributes:
        tally: what was done so far.
        trouble: what the provider or the upstream refused, so that the run fails in the end.
    """

    def __init__(
        self,
        upstream: Upstream,
        documents: Documents,
        processors: Processors,
        batches: Batches,
        *,
        spending: Spending,
        prices: PriceTable,
        limiter: RateLimiter,
        breakers: CircuitBreaker,
        settings: IntakeSettings,
        clock: Callable[[], float],
        run_id: str,
        lane_lease_s: float = LANE_LEASE_S,
        listed_after_s: float = LISTED_AFTER_S,
    ) -> None:
        self._upstream, self._documents = upstream, documents
        self._processors, self._batches = processors, batches
        self._spending, self._prices = spending, prices
        self._limiter, self._breakers = limiter, breakers
        self._settings, self._clock, self._run_id = settings, clock, run_id
        self._lane_lease_s, self._listed_after_s = lane_lease_s, listed_after_s
        self._ledger = BulkLedger.from_settings(
            documents,
            settings.model_copy(update={"lease_seconds": LEASE_S}),
            owner=OWNER,
            clock=clock,
        )
        self._holder = uuid.uuid4().hex
        self._collecting: HeldClaims | None = None
        # Nothing on this held is ever given back: its claims are those of orders.
        self._desk = HeldClaims(self._ledger, Pace.from_settings(settings), clock)
        self._reporter = Reporter(upstream, self._desk)
        self._ended: Literal["done", "off", "paused", "too_little", "held_up"] = "done"
        self._why = ""
        self._attached = self._submitted = self._handed_back = 0
        self._is_useful = False
        self.trouble: AletheiaError | None = None

    @property
    def tally(self) -> Tally:
        """What was done so far."""
        return self._desk.tally

    def report(self) -> BulkReport:
        """Say what the run did."""
        return BulkReport(
            ended=self._ended,
            why=self._why,
            attached=self._attached,
            submitted=self._submitted,
            handed_back=self._handed_back,
            tally=self.tally,
        )

    # The lane

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Keep others out of the lane; at the end, however it comes, give back what has no order.

        Raises:
            LaneTaken: another run is at work, and goes on with it.
        """
        await self._ledger.prepare()
        await self._enter()
        renewing = asyncio.create_task(self._renew_for_ever())
        try:
            yield
        finally:
            renewing.cancel()
            # A cancelled run has to leave all the same.
            try:
                await asyncio.shield(self._leave())
            except Unavailable as outage:
                log.warning("the bulk lane is not left, its lease will run out: %s", outage)

    async def _enter(self) -> None:
        await self._documents.insert(BULK, [{"_id": LANE, "holder": None, "until": 0}])
        skew_s = self._settings.clock_skew_seconds
        # One that was killed renews nothing: after one lease the lane is free.
        loop = asyncio.get_running_loop()
        longest = loop.time() + self._lane_lease_s + skew_s
        while True:
            now = self._clock()
            until = now + self._lane_lease_s
            # A run that ends without a word, however it ends, has been of no use.
            values = {"holder": self._holder, "until": until, "seen_at": now, "is_useful": False}
            free = {"until": {"$lt": now - skew_s}}
            for where in ({"holder": None}, free):
                change = Update(LANE, Change(set=values), where)
                (is_ours,) = await self._documents.update(BULK, [change])
                if is_ours:
                    return
            if loop.time() >= longest:
                found = await self._documents.get(BULK, [LANE])
                raise LaneTaken(datetime.fromtimestamp(found[LANE]["until"], UTC))
            await asyncio.sleep(min(1.0, self._lane_lease_s / 4))

    async def _confirm(self) -> None:
        """See that the lane is ours still, and keep it.

        Raises:
            LaneTaken: somebody else has it.
        """
        values = {"until": self._clock() + self._lane_lease_s}
        change = Update(LANE, Change(set=values), {"holder": self._holder})
        (is_ours,) = await self._documents.update(BULK, [change])
        if not is_ours:
            raise LaneTaken(datetime.fromtimestamp(self._clock() + self._lane_lease_s, UTC))

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lane_lease_s / 3)
            # Whoever has lost the lane finds out before anything is sent.
            with contextlib.suppress(LaneTaken, Unavailable):
                await self._confirm()

    async def _note(self, **values: Any) -> None:
        """Write down what `is_for_bulk` goes by."""
        change = Update(LANE, Change(set=values), {"holder": self._holder})
        await self._documents.update(BULK, [change])

    async def _leave(self) -> None:
        if self._collecting is not None:
            await self._collecting.release_all()
        free = Change(set={"holder": None, "until": 0})
        await self._documents.update(BULK, [Update(LANE, free, {"holder": self._holder})])

    # Orders

    async def attach(self) -> int:
        """Find the orders of earlier runs that are under way; say how many."""
        long_ago = self._clock() - self._settings.ledger_retention_days * 86_400
        await self._documents.delete(BULK, {"finished_at": {"$lt": long_ago}}, limit=10_000)
        self._attached = len(await self._open_orders())
        return self._attached

    async def under_way(self) -> int:
        """Say how many orders are under way."""
        return len(await self._open_orders())

    async def _open_orders(self) -> list[Document]:
        return await self._documents.find(BULK, UNDER_WAY, sort="created_at")

    async def collect(self, limit: int | None, above: int | None) -> int:
        """Claim what is pending and write orders for it; to be asked while there is no order.

        Args:
            limit: tasks at most; `None` is as many as one batch takes.
            above: with no more tasks than this, they are left to the shifts; `None`: always.

        Returns:
            How many orders were written.

        Raises:
            Unauthorized: the provider or the upstream does not let us in; nothing is claimed.
            AletheiaError: the provider cannot be used, likewise.
        """
        if above is None:
            self._ended = "off"
        elif await self._ledger.is_paused():
            self._ended = "paused"
            await self._note(is_useful=True, above=above)
        elif await self._is_too_little(above):
            self._ended = "too_little"
            await self._note(is_useful=True, above=above, passed_over=[])
        else:
            most = self._batches.max_lines
            return await self._collect(most if limit is None else min(limit, most), above)
        await self._hand_back_left()
        return 0

    async def _collect(self, limit: int, above: int) -> int:
        try:
            room = await self._room()
            await self._batches.check()
        except Deferred as problem:
            self._hold_up(problem)
            await self._hand_back_left()
            return 0
        except AletheiaError:
            await self._hand_back_left()
            raise
        claims, passed_over = await self._claim(limit, room)
        await self._note(above=above, passed_over=passed_over[:PASSED_OVER])
        if room.is_full:
            self._why = f"a budget has room for {len(claims)} tasks only; the rest stays pending"
            log.warning("%s", self._why)
        if len(claims) <= above:
            self._ended = "held_up" if room.is_full else "too_little"
            await self._give_back(claims)
            return 0
        orders = 0
        for model, order in self._orders(claims):
            orders += await self._write_order(model, order)
        return orders

    async def _is_too_little(self, above: int) -> bool:
        """Tell whether the upstream has few tasks; where it serves no such page, it may not."""
        left = await self._ledger.count_left()
        if left > above:
            return False
        try:
            entries = await self._upstream.pending(above - left + 1)
        except Refused as refusal:
            if isinstance(refusal, Unauthorized):
                raise
            return False
        return left + len(entries) <= above

    async def _room(self) -> Room:
        """See what breaker, limits and budgets leave.

        Raises:
            Deferred: nothing.
        """
        await self._breakers.check(self._batches.provider)
        until = await self._limiter.peek(self._batches.provider, 1)
        if until is not None:
            raise RateLimited(self._batches.provider, until)
        await self._spending.check(self._run_id)
        left: dict[bool, list[int]] = {True: [], False: []}
        for budget in await self._spending.budgets(self._run_id):
            if budget.limit is not None:
                is_usd = "_USD_" in budget.name
                unit = 10**9 if is_usd else 1
                left[is_usd].append(int((budget.limit - budget.spent) * unit))
        return Room(tokens=min(left[False], default=None), nanousd=min(left[True], default=None))

    async def _claim(self, limit: int, room: Room) -> tuple[list[Claim], list[str]]:
        """Claim texts that fit; name the others that were seen, too."""
        pace = replace(self._desk.pace, batch=limit)
        held = self._collecting = HeldClaims(self._ledger, pace, self._clock)
        held.tally = self.tally
        provider = self._batches.provider

        def cost(model: str, tokens: int) -> int:
            return self._prices.cost(provider, model, "embedding", Tokens(tokens), is_batch=True)

        def fits(entry: Entry, task: Task, model: str) -> bool:
            tokens = self._batches.weigh(model, task.input)
            return tokens is not None and room.take(entry.row_id, model, tokens, cost)

        reporter = Reporter(self._upstream, held)
        collector = BulkCollector(self._upstream, self._processors, reporter, held, fits=fits)
        batch = await collector.collect()
        await reporter.send(batch.ready)
        return batch.work, list(collector.passed_over)

    def _orders(self, claims: Sequence[Claim]) -> Iterator[tuple[str, _Order]]:
        """Divide claims by model, and by what a batch takes."""
        models: dict[str, list[Claim]] = {}
        for claim in claims:
            models.setdefault(claim.group, []).append(claim)
        for model, of_model in models.items():
            order = _Order(self._batches.max_bytes)
            for claim in of_model:
                body = self._batches.body_of(model, claim.task.input)
                size = self._batches.size_of(body) if body not in order.claims else 0
                is_full = len(order.claims) == self._batches.max_lines and size
                names = len(claim.row_id.encode()) + 24
                if order.claims and (
                    is_full or size > order.room or order.names + names > MAX_ROWS_BYTES
                ):
                    yield model, order
                    order = _Order(self._batches.max_bytes)
                    size = self._batches.size_of(body)
                if size:
                    order.room -= size
                    order.tokens += self._batches.weigh(model, claim.task.input) or 0
                order.names += names
                order.claims.setdefault(body, []).append(claim)
            yield model, order

    async def _write_order(self, model: str, order: _Order) -> int:
        """Set the cost aside and write an order down; say how many that made."""
        assert self._collecting is not None
        key = uuid.uuid4().hex
        provider = self._batches.provider
        claims = [one for wanting in order.claims.values() for one in wanting]
        call = Call(key, provider, model, "embedding", run_id=self._run_id, is_batch=True)
        try:
            reservation = await self._spending.reserve(call, Tokens(order.tokens))
            try:
                await self._limiter.acquire(provider, 1)
            except Deferred:
                await self._spending.release(reservation)
                raise
        except Deferred as problem:
            # Somebody else was faster: the upstream has no such tasks any more, the ledger has.
            self._hold_up(problem)
            until = problem.until.timestamp() if problem.until else self._clock()
            await self._ledger.wait(claims, until, problem)
            self._collecting.drop(claims)
            self.tally.waiting += len(claims)
            return 0
        document: Document = {
            "_id": key,
            "state": "intended",
            "provider": provider,
            "model": model,
            "tasks": len(claims),
            "lines": len(order.claims),
            "tokens": order.tokens,
            "reservation": reservation.id,
            "run_id": self._run_id,
            "created_at": self._clock(),
            "payload": orjson.dumps(order.rows),
        }
        await self._documents.insert(BULK, [document])
        self._collecting.drop(claims)
        return 1

    def _hold_up(self, problem: Deferred) -> None:
        self._ended, self._why = "held_up", str(problem)
        log.warning("no batch: %s", problem)

    async def _hand_back_left(self) -> None:
        """Give the shifts what an earlier run claimed and wrote no order for."""
        held = self._collecting = HeldClaims(self._ledger, self._desk.pace, self._clock)
        while claims := await held.take(self._ledger.take_over(ROWS_AT_ONCE)):
            await self._give_back(claims)

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        assert self._collecting is not None
        await self._collecting.release(claims)
        self._handed_back += len(claims)

    # Batches

    async def look(self) -> int:
        """Take every order one step further, as far as it goes; say how many are under way.

        Raises:
            Unauthorized: the provider or the upstream lets us in no longer; the orders stay.
            LaneTaken: somebody else works in the lane.
            Unavailable: the store is out of reach.
        """
        await self._confirm()
        for order in await self._open_orders():
            try:
                await self._advance(order)
            except (Unavailable, RateLimited, BreakerOpen) as outage:
                if isinstance(outage, Unavailable) and outage.dependency == "store":
                    raise
                log.warning("the batch for order %s has to wait: %s", order["_id"], outage)
        return await self.under_way()

    async def _advance(self, order: Document) -> None:
        since = order.get("submitted_at") or order.get("tried_at") or order["created_at"]
        is_overdue = self._clock() > since + LEASE_S
        try:
            await self._step(order, is_overdue=is_overdue)
        except (Unavailable, Refused) as problem:
            # The leases have run out: there is nothing left to wait for.
            if not is_overdue or problem.dependency != self._batches.provider:
                raise
            log.error("order %s is given up: %s", order["_id"], problem)  # noqa: TRY400
            await self._close(order, "overdue", reason=str(problem))

    async def _step(self, order: Document, *, is_overdue: bool) -> None:
        batch_id: str | None = order.get("batch_id")
        if batch_id is None:
            batch = await self._submit(order)
            if batch is None:
                return
        else:
            try:
                batch = await self._batches.look(batch_id)
            except NotFound as missing:
                log.error("batch %s is gone: %s", batch_id, missing)  # noqa: TRY400
                await self._close(order, "gone")
                return
        if batch.phase == "running":
            if not is_overdue:
                return
            await self._batches.cancel(batch.id)
        await self._take_in(order, batch, is_overdue=is_overdue)

    async def _submit(self, order: Document) -> ProviderBatch | None:
        """Submit an order once; `None` where there is nothing to submit, or not yet."""
        key, tried_at = order["_id"], order.get("tried_at")
        batch = None if tried_at is None else await self._find(key)
        if batch is None:
            pause = self._listed_after_s * 2 ** (order.get("tries", 1) - 1)
            if tried_at is not None and self._clock() < tried_at + min(pause, MAX_PAUSE_S):
                return None
            if self._clock() > order["created_at"] + LEASE_S:
                await self._close(order, "overdue", is_free=True, reason="it was never accepted")
                return None
            if tried_at is not None:
                await self._limiter.acquire(self._batches.provider, 1)
            try:
                batch = await self._send(order)
            except (Refused, QuotaExhausted) as refusal:
                if refusal.status == _UNKNOWN_KEY:
                    raise  # with the right key there is a batch yet
                # There is no batch and there will be none; nothing was spent.
                self.trouble = refusal
                await self._close(order, "refused", is_free=True, reason=str(refusal))
                return None
        if batch is not None:
            self._submitted += order["run_id"] == self._run_id
            # The leases were extended before it was sent.
            order |= {"batch_id": batch.id, "submitted_at": order["tried_at"]}
            values = {
                "state": "submitted",
                "batch_id": batch.id,
                "submitted_at": order["submitted_at"],
            }
            await self._documents.update(BULK, [Update(key, Change(set=values))])
            log.info("order %s is batch %s: %d texts", key, batch.id, order["lines"])
        return batch

    async def _find(self, key: str) -> ProviderBatch | None:
        batch, *others = await self._batches.find(key) or [None]
        for other in others:
            if other is not None and other.phase == "running":
                log.error("batch %s was submitted twice, and is cancelled", other.id)
                await self._batches.cancel(other.id)
        return batch

    async def _send(self, order: Document) -> ProviderBatch | None:
        requests = await self._requests_of(order)
        if not requests:
            await self._close(order, "lost", is_free=True)
            return None
        # A row that is lost stays lost: as many lines as were uploaded are the same ones.
        if order.get("uploaded") != len(requests):
            await self._discard_input(order)
            order["input_file"] = await self._batches.upload(order["_id"], requests)
            order["uploaded"] = len(requests)
        await self._confirm()
        order |= {"tried_at": self._clock(), "tries": order.get("tries", 0) + 1}
        # From here on a batch may exist that nobody has heard of.
        names = ("input_file", "uploaded", "tried_at", "tries")
        change = Change(set={name: order[name] for name in names})
        await self._documents.update(BULK, [Update(order["_id"], change)])
        return await self._batches.create(order["_id"], order["input_file"])

    async def _discard_input(self, order: Document) -> None:
        if order.get("input_file"):
            await self._batches.discard(order["input_file"])

    async def _requests_of(self, order: Document) -> dict[int, bytes]:
        """Write the requests for those rows of an order that are ours, and extend their leases."""
        requests: dict[int, bytes] = {}
        async for lines in self._lines_of(order):
            numbers = {row: number for number, tokens in lines.items() for row in tokens}
            claims = await self._resume(lines)
            lost = await self._ledger.renew(claims)
            for claim in claims:
                if claim not in lost and claim.state is RowState.PROCESSING:
                    body = self._batches.body_of(order["model"], claim.task.input)
                    requests.setdefault(numbers[claim.row_id], body)
        return requests

    async def _lines_of(self, order: Document) -> AsyncGenerator[dict[int, dict[str, int]]]:
        """Read tokens by row and line, some lines at a time."""
        rows = await self._rows_of(order)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            yield {start + index: dict(tokens) for index, tokens in enumerate(some)}

    async def _rows_of(self, order: Document) -> list[list[tuple[str, int]]]:
        found = await self._documents.get(BULK, [order["_id"]], with_payload=True)
        return orjson.loads(found[order["_id"]]["payload"])

    async def _resume(self, lines: Mapping[int, Mapping[str, int]]) -> Sequence[Claim]:
        tokens = {row: token for of_line in lines.values() for row, token in of_line.items()}
        return await self._ledger.resume(tokens)

    # Answers

    async def _take_in(self, order: Document, batch: ProviderBatch, *, is_overdue: bool) -> None:
        """Keep and report what a batch brought, and give the shifts the rest."""
        if self._clock() < order.get("read_again_at", 0) and not is_overdue:
            return
        rows = await self._rows_of(order)
        used, is_counted = 0, True
        seen: set[int] = set()
        try:
            answers = self._batches.answers(batch, order["model"])
            async with aclosing(answers):
                async for some in answers:
                    answered = [one for one in some if one.index < len(rows)]
                    await self._take_in_some(rows, answered)
                    seen.update(one.index for one in answered)
                    used += sum(_tokens_of(one) or 0 for one in answered)
                    # Servers that count nothing say so of every line.
                    is_counted = is_counted and all(
                        _tokens_of(one) for one in answered if one.error is None
                    )
        except NotFound as missing:
            log.error("the answers of batch %s are gone: %s", batch.id, missing)  # noqa: TRY400
        except Unavailable as outage:
            if outage.dependency == self._batches.provider:
                await self._read_later(order)
            raise
        if batch.phase == "failed":
            log.error("batch %s was not begun: %s", batch.id, batch.reason)
        if self._is_useful:
            await self._note(is_useful=True)
        # What is said of some lines only is not what the batch has cost.
        is_counted = is_counted and len(seen) >= order.get("uploaded", order["lines"])
        await self._close(
            order,
            "overdue" if batch.phase == "running" else batch.status,
            used=used if is_counted else None,
            is_free=batch.phase == "failed",
            reason=batch.reason,
            batch=batch,
        )

    async def _read_later(self, order: Document) -> None:
        """Put a pause between readings that break off, the longer the more there were."""
        reads = order.get("reads", 0) + 1
        further = reads - READS_AT_ONCE
        pause = 0 if further < 0 else min(60.0 * 2**further, MAX_PAUSE_S)
        values = {"reads": reads, "read_again_at": self._clock() + pause}
        await self._documents.update(BULK, [Update(order["_id"], Change(set=values))])

    async def _take_in_some(
        self, rows: Sequence[Sequence[tuple[str, int]]], some: Sequence[Finished]
    ) -> None:
        answers = {row: one for one in some for row, _ in rows[one.index]}
        lines = {one.index: dict(rows[one.index]) for one in some}
        claims = await self._desk.take(self._resume(lines))
        ready = [claim for claim in claims if claim.state is RowState.KEPT]
        outcomes: list[tuple[Claim, Outcome]] = []
        later: list[Claim] = []
        tried: list[Claim] = []
        for claim in claims:
            if claim.state is not RowState.PROCESSING:
                continue
            try:
                outcomes.append((claim, outcome_of(answers[claim.row_id])))
            except OUTAGES:
                later.append(claim)
            except AletheiaError as problem:
                if problem.retryable and self._may_try_again(claim):
                    tried.append(claim)
                else:
                    outcomes.append((claim, failed(problem)))
        kept = self._desk.keep_ours(
            [claim for claim, _ in outcomes], await self._ledger.keep(outcomes)
        )
        self.tally.computed += len(kept)
        self._is_useful = self._is_useful or bool(kept)
        made = {claim.row_id: outcome for claim, outcome in outcomes}
        for claim in kept:
            self.tally.count_use(made[claim.row_id])
        await self._ledger.count_attempts(tried)
        await self._hand_back([*later, *tried])
        await self._reporter.send([*ready, *kept])

    def _may_try_again(self, claim: Claim) -> bool:
        task = claim.task
        most = self._settings.max_retries if task.max_retries is None else task.max_retries
        return claim.attempts < most - task.retry_count

    async def _hand_back(self, claims: Sequence[Claim]) -> None:
        await self._desk.release(claims)
        self._handed_back += len(claims)

    async def _close(
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

        Args:
            order: which.
            outcome: what became of it.
            used: tokens; where it is not known, the estimate counts as spent.
            is_free: whether nothing can have been spent.
            reason: why, where it failed.
            batch: what it was, if its files may go.
        """
        async for lines in self._lines_of(order):
            claims = await self._desk.take(self._resume(lines))
            await self._hand_back([one for one in claims if one.state is RowState.PROCESSING])
            await self._reporter.send([one for one in claims if one.state is RowState.KEPT])
        for reservation in await self._spending.reservations(order["_id"]):
            if is_free:
                await self._spending.release(reservation)
            elif used is not None:
                await self._spending.settle(reservation, Tokens(used))
        values = {
            "state": "done",
            "outcome": outcome,
            "reason": reason,
            "used": used,
            "finished_at": self._clock(),
        }
        change = Change(set=values, unset=["payload"])
        await self._documents.update(BULK, [Update(order["_id"], change)])
        if batch is not None:
            await self._batches.forget(batch)
        else:
            await self._discard_input(order)


async def is_for_bulk(
    upstream: Upstream, documents: Documents, *, above: int | None, now: float
) -> bool:
    """Tell whether a shift should leave what is pending to the lane.

    A text is left alone until the next run of the lane has seen it, and no longer: a run either
    claims it, or it is the shifts'. So all of this has to be the case:

    - A run was there not long ago, so that one will come.
    - No batch is under way that the next one would have to wait for.
    - The last run was of use: it found too little to do, or some batch of it brought answers.
      Otherwise one has to be at work. A run that fails, is killed, is held up, finds nothing that
      fits, or is refused by the provider leaves everything to the shifts until a later run is of
      use, or finds the backlog gone.
    - More tasks than `above` are pending, by the lane's count and by ours, and most of the first
      are texts, none of which the last run has passed over.

    Args:
        upstream: what the shift polls.
        documents: the store of ledger and orders.
        above: `OPENAI_BULK_ABOVE`.
        now: Unix time, seconds.
    """
    if above is None or await documents.count(BULK, UNDER_WAY):
        return False
    lane = (await documents.get(BULK, [LANE])).get(LANE, {})
    # A moment far ahead of the clock is none to go by: the clock has been moved back.
    if abs(now - lane.get("seen_at", float("-inf"))) > AWAKE_FOR_S:
        return False
    is_at_work = lane["holder"] is not None and now < lane["until"]
    if not is_at_work and not lane.get("is_useful", False):
        return False
    above = max(above, lane.get("above", above))
    try:
        pending = await upstream.pending(above + 1)
    except Refused as refusal:
        if isinstance(refusal, Unauthorized):
            raise
        return False  # it serves no page of that size
    if len(pending) <= above:
        return False
    page = parse_page(pending[:PASSED_OVER], max_entry_bytes=Pace().max_entry_bytes)
    tasks = {one.id: one.task for one in page.entries if isinstance(one.task, Task)}
    texts = {task_id for task_id, task in tasks.items() if task.type == TASK_TYPE}
    return 2 * len(texts) > page.size and texts.isdisjoint(lane.get("passed_over", ()))


def _tokens_of(one: Finished) -> int | None:
    tokens = (one.usage or {}).get("tokens")
    return tokens if isinstance(tokens, int) else None

"""The backlog: texts that are claimed for batches, and the orders they make."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import Final

from aletheia.errors import BudgetExceeded, Deferred, InvalidTask, RateLimited
from aletheia.intake.admission import Admission
from aletheia.intake.bulk.claims import OWNER, LaneLedger
from aletheia.intake.bulk.orders import Draft, Orders, draft_orders
from aletheia.intake.bulk.ports import LaneDeps
from aletheia.intake.collector import Collector
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.models import UNFINISHED, Claim, Entry, Page, Tally, Task
from aletheia.intake.pages import pending_if_served
from aletheia.intake.ports import Processors
from aletheia.intake.reporter import Reporter
from aletheia.llm.prices import Tokens
from aletheia.llm.usage import Call

TASK_TYPE: Final = "text_embedding"

MAX_PASSED_OVER: Final = 1000
"""How many texts that the lane has passed over are remembered, the oldest."""

_CLAIMS_AT_ONCE = 500


@dataclass(slots=True)
class Capacity:
    """How much may still be claimed before a budget is spent; `None` is no bound.

    What is not claimed stays pending upstream. Others spend, too: the reservation decides.
    """

    tokens: int | None
    nanousd: int | None
    cost: Callable[[str, int], int]  # nanodollars of a model's tokens
    is_full: bool = False  # whether some task did not fit
    _seen: set[str] = field(default_factory=set[str])
    _taken: dict[str, int] = field(default_factory=dict[str, int])

    def take(self, row_id: str, model: str, tokens: int) -> bool:
        """Take capacity for a task, once; `False` where there is too little."""
        if row_id in self._seen:
            return True
        taken = {**self._taken, model: self._taken.get(model, 0) + tokens}
        self.is_full = (
            self.is_full
            or (self.tokens is not None and sum(taken.values()) > self.tokens)
            or (self.nanousd is not None and sum(starmap(self.cost, taken.items())) > self.nanousd)
        )
        if not self.is_full:
            self._taken = taken
            self._seen.add(row_id)
        return not self.is_full


class BacklogAdmission(Admission):
    """Admits texts to embed that fit a batch, and leaves everything else to the shifts."""

    def __init__(
        self, processors: Processors, held: HeldClaims, fits: Callable[[Entry, Task, str], bool]
    ) -> None:
        super().__init__(processors, held)
        self._fits = fits
        self.passed_over: dict[str, None] = {}  # ids of texts, in the order they were seen

    def check(self, entry: Entry) -> tuple[InvalidTask | None, str | None]:
        """Return the model of a text that fits, and nothing about any other task."""
        task = entry.task
        if isinstance(task, InvalidTask) or task.type != TASK_TYPE:
            return None, None
        problem, group = super().check(entry)
        if problem is not None or group is None or not self._fits(entry, task, group):
            self.passed_over[entry.id] = None
            return None, None
        return None, group

    async def find_deferred(
        self, tasks: Iterable[tuple[Task, str]], batch: Batch, *, asks_again: bool = False
    ) -> set[str]:
        """Defer nothing: `fits` asks the budgets, and limits of single requests are no batch's."""
        del tasks, batch, asks_again
        return set()


class BacklogCollector(Collector):
    """Collects texts that a `BacklogAdmission` admits, and notes what that passes over."""

    _admission: BacklogAdmission

    async def _note_blocked_head(self, count: int) -> None:
        """Ignore it: what is none of the lane's waits for the shifts."""

    async def _take_misplaced(self, batch: Batch) -> None:
        """Ignore it, likewise."""

    async def _act_on(self, page: Page, batch: Batch) -> tuple[int, int]:
        done = await super()._act_on(page, batch)
        # What somebody else has claimed only a shift takes over.
        rows = await self._held.ledger.rows.of_ids([entry.id for entry in page.entries])
        for task_id, of_id in rows.items():
            if any(row["state"] in UNFINISHED and row["owner"] != OWNER for row in of_id):
                self._admission.passed_over[task_id] = None
        return done


class Backlog:
    """What one run of the lane claims."""

    def __init__(self, deps: LaneDeps, ledger: LaneLedger, orders: Orders, tally: Tally) -> None:
        self._deps, self._ledger, self._orders = deps, ledger, orders
        self.held = HeldClaims(ledger)
        self.held.tally = tally
        self.deferred: Deferred | None = None  # what was in the way of writing an order
        self.handed_back = 0  # tasks that were claimed and left to the shifts

    async def is_too_little(self, above: int) -> bool:
        """Return whether the upstream has few tasks; where it serves no such page, it may not."""
        left = await self._ledger.claims.count_left()
        if left > above:
            return False
        entries = await pending_if_served(self._deps.upstream, above - left + 1)
        return entries is not None and left + len(entries) <= above

    async def capacity(self) -> Capacity:
        """Return what breaker, limits and budgets leave; raise `Deferred` where that is nothing."""
        provider, run_id = self._deps.batches.provider, self._deps.run_id
        await self._deps.breakers.check(provider)
        until = await self._deps.limiter.peek(provider, 1)
        if until is not None:
            raise RateLimited(provider, until)
        tokens: list[int] = []
        nanousd: list[int] = []
        for budget in await self._deps.spending.budgets(run_id):
            if budget.limit is None:
                continue
            if budget.is_spent:
                raise BudgetExceeded(budget.name, budget.limit, budget.spent, 0, budget.until)
            left = budget.limit - budget.spent
            if "_USD_" in budget.name:
                nanousd.append(int(left * 10**9))
            else:
                tokens.append(int(left))
        return Capacity(min(tokens, default=None), min(nanousd, default=None), self._cost)

    async def claim(self, limit: int, capacity: Capacity) -> tuple[list[Claim], list[str]]:
        """Claim texts that fit; return them, and the ids of the others that were seen."""

        def fits(entry: Entry, task: Task, model: str) -> bool:
            tokens = self._deps.batches.weigh(model, task.input)
            return tokens is not None and capacity.take(entry.row_id, model, tokens)

        held, upstream = self.held, self._deps.upstream
        held.batch = limit
        reporter = Reporter(upstream, held)
        admission = BacklogAdmission(self._deps.processors, held, fits)
        collector = BacklogCollector(upstream, admission, reporter, held)
        batch = await collector.collect()
        await reporter.send(batch.ready)
        return batch.work, list(admission.passed_over)[:MAX_PASSED_OVER]

    async def write_orders(self, claims: Sequence[Claim]) -> int:
        """Reserve the cost of claims and write orders for them; return how many these are."""
        drafts = draft_orders(claims, self._deps.batches)
        return sum([await self._write_order(draft) for draft in drafts])

    async def hand_back(self, claims: Sequence[Claim]) -> None:
        """Leave claims to the shifts."""
        await self.held.release(claims)
        self.handed_back += len(claims)

    async def hand_back_left(self) -> None:
        """Leave to the shifts what an earlier run claimed and wrote no order for."""
        while claims := await self.held.take(self._ledger.claims.take_over(_CLAIMS_AT_ONCE)):
            await self.hand_back(claims)

    async def _write_order(self, draft: Draft) -> bool:
        key, provider, claims = uuid.uuid4().hex, self._deps.batches.provider, draft.all_claims
        run_id, spending = self._deps.run_id, self._deps.spending
        call = Call(
            key,
            provider,
            draft.model,
            "embedding",
            run_id=run_id,
            computation=key,
            tasks=len(claims),
            is_batch=True,
        )
        try:
            reservation = await spending.reserve(call, Tokens(draft.tokens))
            try:
                await self._deps.limiter.acquire(provider, 1)
            except Deferred:
                await spending.release(reservation)
                raise
        except Deferred as problem:
            # Somebody else was faster: the upstream has no such tasks any more, the ledger has.
            self.deferred = problem
            now_s = self._deps.clock.unix_s()
            until_s = problem.until.timestamp() if problem.until else now_s
            await self._ledger.claims.wait(claims, until_s, problem)
            self.held.drop(claims)
            self.held.tally.waiting += len(claims)
            return False
        about = {"provider": provider, "reservation": reservation.id, "run_id": run_id}
        await self._orders.write(key, draft, self._deps.clock.unix_s(), **about)
        self.held.drop(claims)
        return True

    def _cost(self, model: str, tokens: int) -> int:
        call = Call("", self._deps.batches.provider, model, "embedding", is_batch=True)
        return self._deps.spending.cost(call, Tokens(tokens))

"""Collecting batches: pages read, tasks checked, claimed, and taken off the pending list."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from aletheia import telemetry
from aletheia.documents import Document
from aletheia.errors import AletheiaError, TooLong, Unauthorized, Unavailable
from aletheia.intake.admission import Admission
from aletheia.intake.concurrency import all_of, isolated
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.lanes.capacity import LANE_MAX_WAITING, LaneCapacity
from aletheia.intake.models import (
    UNFINISHED,
    Claim,
    Entry,
    Listed,
    NewTask,
    Page,
    RowState,
    Task,
)
from aletheia.intake.pages import PageReader
from aletheia.intake.ports import UPSTREAM, Upstream
from aletheia.intake.reporter import Reporter

MAX_TAKEOVERS: Final = 10
"""How often a batch takes over what nobody holds: pushed tasks that wait for a full lane must hide
no others, and a hundred thousand of them must keep nobody from polling."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Plan:
    """What to do about the entries of a page."""

    new: list[NewTask] = field(default_factory=list[NewTask])
    again: list[Listed] = field(default_factory=list[Listed])
    superseded: list[Document] = field(default_factory=list[Document])


class Collector:
    """Fills batches from the ledger and from the upstream's pending list.

    `lane_max_waiting` is how many tasks may wait in a lane before further ones stay pending.
    """

    def __init__(
        self,
        upstream: Upstream,
        admission: Admission,
        reporter: Reporter,
        held: HeldClaims,
        lane_max_waiting: int = LANE_MAX_WAITING,
    ) -> None:
        self._admission, self._reporter, self._held = admission, reporter, held
        self._lanes = LaneCapacity(held.ledger.claims.queue, lane_max_waiting)
        self._pages = PageReader(upstream, held)
        self._blocked_head: int | None = None
        self._has_sought_misplaced = False

    async def collect(self) -> Batch:
        """Take over what nobody holds, then claim pages until the batch is full or nothing is new.

        Raises what is in the upstream's way where there is nothing else to do; or `Unauthorized`,
        with everything released.
        """
        with telemetry.span(telemetry.POLL) as span:
            batch = Batch(traceparent=telemetry.current_traceparent())
            await self._collect_into(batch)
            tasks = [claim.entry.id for claim in [*batch.work, *batch.ready]]
            span.set_attribute(telemetry.TASKS, len(tasks))
            span.set_attribute(telemetry.TASK_IDS, tasks[: telemetry.MAX_TASK_IDS])
        return batch

    async def _collect_into(self, batch: Batch) -> None:
        try:
            await self._admission.read_pauses()
            await self._take_misplaced(batch)
            for _ in range(MAX_TAKEOVERS):
                # What was handed over, or has to wait, has made capacity for more.
                if not await self._take_over(batch):
                    break
            await self._claim_pages(batch)
        except AletheiaError as problem:
            # What was claimed and did not make it into the batch is nobody's work now.
            is_over = not batch.size or isinstance(problem, Unauthorized)
            in_batch = set[str]() if is_over else {c.row_id for c in [*batch.work, *batch.ready]}
            await self._release([c for c in batch.taken if c.row_id not in in_batch])
            if is_over:
                raise
            self._held.troubles[UPSTREAM] = problem
            log.warning("%s; going on with the %d tasks there are", problem, batch.size)

    async def _claim_pages(self, batch: Batch) -> None:
        is_growing = False
        while not self._held.is_stopping and (left := self._held.batch - batch.size) > 0:
            try:
                page = await self._pages.read(left, is_growing=is_growing)
            except TooLong:
                # The first task alone is longer than a page may be; there is no way past it.
                await self._note_blocked_head(1)
                raise
            self._held.troubles.pop(UPSTREAM, None)
            done, unseen = await self._act_on(page, batch)
            # A full page with nothing to do hides what comes after it.
            is_growing = self._pages.note(done, page.size - done - unseen) and not done
            if not done and not is_growing:
                await self._note_blocked_head(page.size if self._pages.is_full else 0)
                return

    async def _note_blocked_head(self, count: int) -> None:
        """Write down how many entries hide what comes after them, where that has changed."""
        self._held.tally.blocked_head = count
        if count != self._blocked_head:
            self._blocked_head = count
            await self._held.ledger.set_flags(blocked_head=count)
        if count:
            log.warning("blocked_head: %d pending tasks must wait, and hide others", count)

    async def _take_over(self, batch: Batch) -> bool:
        """Take over what nobody holds; return whether there may be more that could be taken."""
        held, ledger = self._held, self._held.ledger
        limit, known = held.batch - batch.size, {claim.row_id for claim in batch.taken}
        claims = await held.take(ledger.claims.take_over(limit), batch)
        await self._sort_taken_over(claims, batch)
        return len(claims) == limit > 0 and any(claim.row_id not in known for claim in claims)

    async def _take_misplaced(self, batch: Batch) -> None:
        """Take, once, what was handed over to a lane that does not compute its type any more."""
        if self._has_sought_misplaced:
            return
        held, claims = self._held, self._held.ledger.claims
        for lane, types in self._admission.types_of_other_lanes().items():
            while (limit := held.batch - batch.size) > 0:
                rows = await claims.queue.find_misplaced(lane, types, limit)
                await self._sort_taken_over(await held.take(claims.take_rows(rows), batch), batch)
                if len(rows) < limit:
                    break
        self._has_sought_misplaced = held.batch > batch.size

    async def _sort_taken_over(self, claims: Sequence[Claim], batch: Batch) -> None:
        """Add claims that others began to a batch, or send them where they belong."""
        held, ledger = self._held, self._held.ledger
        held.tally.taken_over += len(claims)
        unsent: list[Claim] = []
        superseded = await ledger.claims.newer_work([claim.entry.id for claim in claims])
        held.tally.superseded += await ledger.claims.supersede(list(superseded))
        for claim in claims:
            if claim.row_id in superseded:
                held.drop([claim])
                continue
            if claim.state is RowState.KEPT:
                batch.ready.append(claim)
                continue
            # What could be computed when it was claimed may not be now.
            problem, group = self._admission.check(claim.entry)
            claim.group, claim.lane = group or "", self._admission.lane(claim.entry)
            if problem is None and group is None:
                await held.release([claim], for_s=held.settings.polling_interval_seconds)
            elif problem is not None:
                outcome = ledger.rows.wording(claim.entry).failed(problem)
                kept = await ledger.reports.keep([(claim, outcome)])
                batch.ready += held.keep_ours([claim], kept)
            elif claim.state is RowState.CLAIMED:
                unsent.append(claim)
            elif claim.lane is not None:
                await self._reporter.hand_over([claim])
            else:
                batch.work.append(claim)
        tasks = [(claim.task, claim.group) for claim in unsent]
        deferred = await self._admission.find_deferred(tasks, batch, asks_again=True)
        deferred |= await self._lanes.find_surplus([(c.task.id, c.lane) for c in unsent])
        # What exceeds the capacity is still pending upstream.
        left_over = [claim for claim in unsent if claim.task.id in deferred]
        await held.release(left_over, for_s=held.settings.polling_interval_seconds)
        to_send = [claim for claim in unsent if claim.task.id not in deferred]
        await self._reporter.send_processing(to_send, batch)

    async def _act_on(self, page: Page, batch: Batch) -> tuple[int, int]:
        """Act on as many entries of a page as fit the batch, after those that must wait.

        Leaves out what fails; returns for how many there was anything to do, and how many are left.
        """
        claims, tally = self._held.ledger.claims, self._held.tally
        tally.rejected += await claims.reject(page.rejected)
        rows = await self._held.ledger.rows.of_ids([entry.id for entry in page.entries])

        async def act(entries: Sequence[Entry]) -> Sequence[int]:
            taken = len(batch.taken)
            try:
                return [await self._act_on_entries(entries, rows, batch)]
            except Exception:
                await self._release(batch.taken[taken:])
                raise

        async def leave_out(entry: Entry, fault: Exception) -> Sequence[int]:
            await self._held.ledger.rows.leave_out(entry, fault)
            tally.rejected += 1
            return []

        entries, capacity, done = page.entries, self._held.batch - batch.size, 0
        while entries and not done:
            done = sum(await isolated(act, entries[:capacity], leave_out))
            entries = entries[capacity:]
        return done, len(entries)

    async def _act_on_entries(
        self, entries: Sequence[Entry], rows: dict[str, list[Document]], batch: Batch
    ) -> int:
        held, ledger, tally = self._held, self._held.ledger, self._held.tally
        plan = self._plan(entries, rows)
        bodies = await ledger.reports.bodies_of([listed.row for listed in plan.again])
        await self._leave_deferred(plan, bodies, batch)
        taken = await held.take(ledger.claims.claim(plan.new), batch)
        reopened = await held.take(ledger.claims.reopen(plan.again, bodies), batch)
        tally.claimed += len(taken)
        to_compute = [claim for claim in [*taken, *reopened] if claim.state is RowState.CLAIMED]
        # What cannot be done is reported at once, or it would stand on the next page again.
        to_report = [claim for claim in [*taken, *reopened] if claim.state is RowState.KEPT]
        tally.resent += sum(claim.is_resend for claim in to_report)
        processing = self._reporter.send_processing(to_compute, batch)
        await all_of(processing, self._reporter.send(to_report))
        accepted = [
            claim for claim in to_compute if claim.state in (RowState.PROCESSING, RowState.QUEUED)
        ]
        # What an id was handed out for before is given up once the upstream has taken the new.
        ids = {claim.entry.id for claim in [*accepted, *to_report]}
        old = [row["_id"] for row in plan.superseded if row["task_id"] in ids]
        tally.superseded += await ledger.claims.supersede(old)
        return len(taken) + len(reopened)

    async def _leave_deferred(self, plan: _Plan, bodies: dict[str, bytes], batch: Batch) -> None:
        """Leave pending what breakers, limits and budgets defer now."""
        again = [listed for listed in plan.again if listed.row["_id"] not in bodies]
        wanted = [
            *((task.entry, task.group, task.lane) for task in plan.new if task.problem is None),
            *((listed.entry, listed.group, listed.lane) for listed in again),
        ]
        tasks = [(e.task, group) for e, group, _ in wanted if isinstance(e.task, Task)]
        ids = await self._admission.find_deferred(tasks, batch)
        left = [(entry.id, lane) for entry, _, lane in wanted if entry.id not in ids]
        if ids := ids | await self._lanes.find_surplus(left):
            plan.new = [task for task in plan.new if task.entry.id not in ids]
            plan.again = [listed for listed in plan.again if listed.entry.id not in ids]

    async def _release(self, claims: Sequence[Claim]) -> None:
        try:
            await self._held.release(claims)
        except Unavailable as outage:
            log.warning("claims not released, their leases will run out: %s", outage)

    def _plan(self, entries: Sequence[Entry], rows: dict[str, list[Document]]) -> _Plan:
        plan = _Plan()
        for entry in entries:
            of_id = rows.get(entry.id, [])
            same = next((row for row in of_id if row["_id"] == entry.row_id), None)
            if same is not None and same["state"] in (*UNFINISHED, RowState.REJECTED):
                continue
            problem, group = self._admission.check(entry)
            if problem is None and group is None:
                continue
            group, lane = group or "", self._admission.lane(entry)
            if same is not None and self._held.ledger.claims.is_settled(same):
                continue
            plan.superseded += [
                row for row in of_id if row is not same and row["state"] in UNFINISHED
            ]
            if same is not None:
                plan.again.append(Listed(same, entry, group, lane))
            else:
                plan.new.append(NewTask(entry, group, len(of_id) + 1, problem, lane))
        return plan

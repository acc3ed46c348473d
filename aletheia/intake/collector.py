"""Collecting batches: pages read, tasks checked, claimed, and taken off the pending list."""

import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from aletheia.documents import Document
from aletheia.errors import (
    AletheiaError,
    BudgetExceeded,
    Conflict,
    Deferred,
    InvalidTask,
    Misconfigured,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
    retry_after_s,
)
from aletheia.intake.concurrency import all_of, together
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.models import UNFINISHED, Claim, Entry, Page, RowState, Task
from aletheia.intake.parsing import PROCESSING, failed, parse_entry, parse_page
from aletheia.intake.ports import Processors, Upstream
from aletheia.intake.reporter import Reporter

MIN_PAGE = 10
"""Page size every upstream accepts (SPEC §1, Pages and batches)."""

UPSTREAM = "upstream"
"""Under what name the held has the upstream's own trouble."""

INVALID = (400, 422)
"""What an upstream answers to a page size, or a change of state, that it does not allow."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Plan:
    """What to do about the entries of a page."""

    new: list[tuple[Entry, str, int]] = field(default_factory=list[tuple[Entry, str, int]])
    faulty: list[tuple[Entry, InvalidTask, int]] = field(
        default_factory=list[tuple[Entry, InvalidTask, int]]
    )
    again: list[tuple[Document, Entry, str]] = field(
        default_factory=list[tuple[Document, Entry, str]]
    )
    superseded: list[Document] = field(default_factory=list[Document])

    def leave(self, ids: set[str]) -> None:
        """Leave some entries as they are for now, by task id."""
        self.new = [one for one in self.new if one[0].id not in ids]
        self.again = [one for one in self.again if one[1].id not in ids]


class Collector:
    """Fills batches from the ledger and from the upstream's pending list."""

    def __init__(
        self, upstream: Upstream, processors: Processors, reporter: Reporter, held: HeldClaims
    ) -> None:
        self._upstream, self._processors = upstream, processors
        self._reporter, self._desk = reporter, held
        self._page = held.pace.page
        self._batches = 0

    async def collect(self) -> Batch:
        """Take over what nobody holds, then claim pages until the batch is full or nothing is new.

        Raises:
            Unauthorized: the upstream no longer lets us in; everything is given back.
            Unavailable: the upstream is out of reach and there is nothing else to do.
        """
        self._batches += 1
        batch = Batch(self._batches)
        try:
            await self._take_over(batch)
            await self._claim_pages(batch)
        except AletheiaError as problem:
            # What was claimed and did not make it into the batch is nobody's work now.
            is_over = not batch.size or isinstance(problem, Unauthorized)
            in_batch = set[str]() if is_over else {c.row_id for c in [*batch.work, *batch.ready]}
            await self._give_back([c for c in batch.taken if c.row_id not in in_batch])
            if is_over:
                raise
            self._desk.troubles[UPSTREAM] = problem
            log.warning("%s; going on with the %d tasks there are", problem, batch.size)
        return batch

    async def _claim_pages(self, batch: Batch) -> None:
        blocked = 0
        while not self._desk.is_stopping and (room := self._desk.pace.batch - batch.size) > 0:
            page, limit = await self._read_page(
                min(self._page, room) + blocked, most=room + blocked, blocked=blocked
            )
            self._desk.troubles.pop(UPSTREAM, None)
            if await self._act_on(page, batch):
                blocked = 0
            elif not blocked and page.size >= limit:
                # A full page with nothing to do hides what comes after it: look past it, once.
                blocked = page.size
            else:
                self._desk.tally.blocked_head = max(blocked, page.size) if blocked else 0
                return

    async def _read_page(self, limit: int, *, most: int, blocked: int) -> tuple[Page, int]:
        """Read a page of so many tasks, or of what the upstream serves; say how many that is.

        Of a page that is longer than was asked for, no more is looked at than there is room for.
        """
        try:
            entries = await self._upstream.pending(limit)
        except Refused as refusal:
            if refusal.status not in INVALID or limit <= MIN_PAGE:
                raise
            if blocked:
                return Page(0, (), (), ()), limit
            log.info("the upstream serves no pages of %d, asking for %d", limit, MIN_PAGE)
            self._page = limit = MIN_PAGE
            entries = await self._upstream.pending(limit)
        self._desk.tally.pages += 1
        page = parse_page(entries[:most], max_entry_bytes=self._desk.pace.max_entry_bytes)
        if page.not_pending:
            log.info("listed as pending, and not pending: %s", ", ".join(page.not_pending[:10]))
        return page, limit

    async def _take_over(self, batch: Batch) -> None:
        ledger, most = self._desk.ledger, self._desk.pace.batch
        claims = await self._take(batch, ledger.take_over(most))
        self._desk.tally.taken_over += len(claims)
        unsent: list[Claim] = []
        superseded = await ledger.newer_work([claim.entry.id for claim in claims])
        self._desk.tally.superseded += await ledger.supersede(list(superseded))
        for claim in claims:
            if claim.row_id in superseded:
                self._desk.drop([claim])
                continue
            if claim.state is RowState.KEPT:
                batch.ready.append(claim)
                continue
            # What could be computed when it was claimed may not be now.
            problem, group = self._check(claim.entry)
            claim.group = group or ""
            if problem is None and group is None:
                await self._desk.release([claim], for_s=self._desk.pace.outage_s)
            elif problem is not None:
                batch.ready += await self._fail(claim, problem)
            elif claim.state is RowState.CLAIMED:
                unsent.append(claim)
            else:
                batch.work.append(claim)
        batch.work += await self._send_processing(await self._with_room(unsent, batch))

    async def _with_room(self, claims: Sequence[Claim], batch: Batch) -> list[Claim]:
        """Give back the claims for which there is no room now; they are still pending upstream."""
        groups: dict[tuple[str, str], list[Task]] = {}
        for claim in claims:
            groups.setdefault((claim.task.type, claim.group), []).append(claim.task)
        held: set[str] = set()
        for (task_type, group), tasks in groups.items():
            held |= await self._find_held(task_type, group, tasks, batch)
        await self._desk.release(
            [claim for claim in claims if claim.task.id in held], for_s=self._desk.pace.outage_s
        )
        return [claim for claim in claims if claim.task.id not in held]

    async def _act_on(self, page: Page, batch: Batch) -> int:
        """Do what there is to do about a page; say for how many entries there was anything."""
        ledger, tally = self._desk.ledger, self._desk.tally
        tally.rejected += await ledger.reject(page.rejected)
        plan = self._plan(page, await ledger.rows_of([entry.id for entry in page.entries]))
        await self._hold_back(plan, batch)
        claims = await self._take(batch, ledger.claim(plan.new))
        failures = await self._take(batch, ledger.claim_faulty(plan.faulty))
        reopened = await self._take(batch, ledger.reopen(plan.again))
        tally.claimed += len(claims) + len(failures)
        again = [claim for claim in reopened if claim.state is RowState.CLAIMED]
        resent = [claim for claim in reopened if claim.state is RowState.KEPT]
        tally.resent += len(resent)
        # What cannot be done is reported at once, or it would stand on the next page again.
        sending = self._reporter.send([*failures, *resent])
        accepted, _ = await together(self._send_processing([*claims, *again]), sending)
        batch.work += accepted
        # What an id was handed out for before is given up once the upstream has taken the new.
        ids = {claim.entry.id for claim in [*accepted, *failures, *resent]}
        old = [row["_id"] for row in plan.superseded if row["task_id"] in ids]
        tally.superseded += await ledger.supersede(old)
        return len(claims) + len(failures) + len(reopened)

    async def _hold_back(self, plan: _Plan, batch: Batch) -> None:
        """Leave pending what there is no room for now: breakers, limits, budgets."""
        reports = await self._desk.ledger.bodies_of([row for row, _, _ in plan.again])
        wanted = [
            *((entry, group) for entry, group, _ in plan.new),
            *((entry, group) for row, entry, group in plan.again if row["_id"] not in reports),
        ]
        groups: dict[tuple[str, str], list[Task]] = {}
        for entry, group in wanted:
            if isinstance(entry.task, Task):
                groups.setdefault((entry.task.type, group), []).append(entry.task)
        held: set[str] = set()
        for (task_type, group), tasks in groups.items():
            if self._desk.is_held_up(task_type, group):
                held.update(task.id for task in tasks)
            else:
                held |= await self._find_held(task_type, group, tasks, batch)
        if held:
            plan.leave(held)

    async def _find_held(
        self, task_type: str, group: str, tasks: Sequence[Task], batch: Batch
    ) -> set[str]:
        """Find those of some tasks, oldest first, for which there is no room beside a batch."""
        collected = [
            claim.task.input
            for claim in batch.work
            if claim.task.type == task_type and claim.group == group
        ]
        left, held = list(tasks), set[str]()
        while left:
            inputs = [*collected, *(task.input for task in left)]
            try:
                room = await self._processors.room(task_type, group, inputs) - len(collected)
            except BudgetExceeded as problem:
                if collected or problem.asked <= problem.limit:
                    self._hold_up(task_type, group, problem)
                    break
                # No budget ever has room for this one, which is no reason for others to wait.
                never = left.pop(0)
                held.add(never.id)
                self._desk.tally.held_up[f"task {never.id}"] = str(problem)
                continue
            except (Deferred, Misconfigured) as problem:
                self._hold_up(task_type, group, problem)
                break
            return held | {task.id for task in left[max(0, room) :]}
        return held | {task.id for task in left}

    def _hold_up(self, task_type: str, group: str, problem: AletheiaError) -> None:
        self._desk.hold_up(task_type, group, problem)
        log.warning("%s tasks for %r stay pending: %s", task_type, group, problem)

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        try:
            await self._desk.release(claims)
        except Unavailable as outage:
            log.warning("claims not given back, their leases will run out: %s", outage)

    async def _take(
        self, batch: Batch, claiming: Coroutine[Any, Any, Sequence[Claim]]
    ) -> Sequence[Claim]:
        claims = await self._desk.take(claiming)
        batch.taken += claims
        return claims

    def _plan(self, page: Page, rows: dict[str, list[Document]]) -> _Plan:
        plan = _Plan()
        for entry in page.entries:
            of_id = rows.get(entry.id, [])
            same = next((row for row in of_id if row["_id"] == entry.row_id), None)
            problem, group = self._check(entry)
            if same is not None and same["state"] in UNFINISHED:
                continue
            if problem is None and group is None:
                continue
            group = group or ""
            if same is not None and self._desk.ledger.is_settled(same):
                continue
            plan.superseded += [
                row for row in of_id if row is not same and row["state"] in UNFINISHED
            ]
            if same is not None:
                plan.again.append((same, entry, group))
            elif problem is not None:
                plan.faulty.append((entry, problem, len(of_id) + 1))
            else:
                plan.new.append((entry, group, len(of_id) + 1))
        return plan

    def _check(self, entry: Entry) -> tuple[InvalidTask | None, str | None]:
        """Say what is wrong with a task, and else what group it is computed with.

        Returns:
            The fault, or the group; neither where that cannot be told for now.
        """
        if isinstance(entry.task, InvalidTask):
            return entry.task, None
        try:
            return None, self._processors.admit(entry.task.type, entry.task.input)
        except InvalidTask as problem:
            return problem, None
        except AletheiaError as outage:
            log.warning("task %r has to wait: %s", entry.id, outage)
            return None, None

    async def _fail(self, claim: Claim, problem: InvalidTask) -> list[Claim]:
        kept = await self._desk.ledger.keep([(claim, failed(problem))])
        return self._desk.keep_ours([claim], kept)

    async def _send_processing(self, claims: Sequence[Claim]) -> list[Claim]:
        """Take tasks off the pending list; return those that are ours to compute."""
        answers = await all_of([self._answer_in_turn(claim) for claim in claims])
        # What was not sent any more is no longer ours, and still pending upstream.
        pairs = [
            (claim, answer)
            for claim, answer in zip(claims, answers, strict=True)
            if claim in self._desk
        ]
        accepted = [claim for claim, answer in pairs if answer is None]
        acknowledged = await self._desk.ledger.acknowledge(accepted)
        accepted = self._desk.keep_ours(accepted, acknowledged)
        for claim, answer in pairs:
            if answer is not None:
                await self._settle(claim, answer)
        denied = next((answer for answer in answers if isinstance(answer, Unauthorized)), None)
        if denied is not None:
            raise denied
        return accepted

    async def _answer_in_turn(self, claim: Claim) -> AletheiaError | None:
        """Send `processing`; give the claim back if nothing more is to be claimed by now."""
        async with self._desk.turns:
            if self._desk.is_stopping:
                await self._desk.release([claim])
                return None
            return await self._answer(claim)

    async def _answer(self, claim: Claim) -> AletheiaError | None:
        try:
            await self._upstream.report(claim.entry.id, PROCESSING)
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

    async def _settle(self, claim: Claim, answer: AletheiaError) -> None:
        if isinstance(answer, Conflict | NotFound):
            self._desk.tally.conflicts += 1
            await self._desk.ledger.conflicted([claim])
            self._desk.drop([claim])
        elif isinstance(answer, Refused) and not isinstance(answer, Unauthorized):
            self._desk.tally.dead += 1
            await self._desk.ledger.refused(claim, "claim_refused", answer)
            self._desk.drop([claim])
            log.error("task %r: dead letter, %s", claim.entry.id, answer)
        else:
            pause = max(self._desk.pace.outage_s, retry_after_s(answer))
            is_down = not isinstance(answer, Unauthorized)
            await self._desk.release([claim], for_s=pause if is_down else 0)
            log.warning("task %r: %s", claim.entry.id, answer)

    async def recall(self, letters: Sequence[str]) -> Batch:
        """Send `processing` again for dead letters and collect those that are taken back.

        Args:
            letters: row ids; one that is no dead letter any more is passed over.

        Raises:
            Unauthorized: the upstream no longer lets us in; the letters stay.
        """
        self._batches += 1
        batch = Batch(self._batches)
        found = await self._desk.ledger.letters(letters)
        superseded = await self._desk.ledger.newer_work([one["task_id"] for one in found])
        for letter in found:
            if self._desk.is_stopping:
                break
            entry = parse_entry(letter["task_json"])
            problem, group = self._check(entry)
            is_superseded = letter["_id"] in superseded
            if is_superseded:
                problem = InvalidTask("superseded", "the upstream has handed out other work since")
            elif problem is None and group is None and letter.get("payload") is None:
                continue  # nobody can tell for now how it is computed
            reviving = self._desk.ledger.revive(letter, entry, group or "")
            for claim in await self._take(batch, reviving):
                if problem is not None and (claim.body is None or is_superseded):
                    await self._desk.ledger.refuse_replay(claim, problem, None)
                    self._desk.tally.refused_replays += 1
                    self._desk.drop([claim])
                else:
                    await self._recall(claim, batch)
        return batch

    async def _recall(self, claim: Claim, batch: Batch) -> None:
        answer = await self._answer(claim)
        if answer is not None:
            status = answer.status if isinstance(answer, Refused) else None
            await self._desk.ledger.refuse_replay(claim, answer, status)
            self._desk.tally.refused_replays += 1
            self._desk.drop([claim])
            log.warning("task %r: not replayed, %s", claim.entry.id, answer)
            if isinstance(answer, Unauthorized):
                raise answer
            return
        if not await self._desk.ledger.recall(claim):
            self._desk.drop([claim])
        elif claim.body is None:
            batch.work.append(claim)
        else:
            batch.ready.append(claim)

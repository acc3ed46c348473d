"""An attempt at a gather run, step by step (SPEC §4).

Each step can be repeated after a crash: it reads what earlier ones decided from the store.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from aletheia.errors import BudgetExceeded
from aletheia.gather.batches import (
    STEPS,
    GatherDeps,
    drop_duplicates,
    make_items,
    read_context,
    write_batch,
)
from aletheia.gather.errors import TimeIsUp
from aletheia.gather.event_derivation import EventEmitter, deduplicating
from aletheia.gather.generation import Batch
from aletheia.gather.progress import (
    STALLED_AFTER,
    DepartmentProgress,
    GatherReport,
    Iteration,
    Run,
    RunStatus,
    StopReason,
    allowance,
    find_outer_reason,
    is_given_up,
    stop_reason,
)
from aletheia.gather.scoring import Scored
from aletheia.items.content import Item, SavedItem
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.attribution import spending_on
from aletheia.llm.usage import BudgetUsage
from aletheia.metrics import STEP_DURATION
from aletheia.store.counters import timing

log = logging.getLogger(__name__)

_MAX_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class Turn:
    """A department's turn in a run."""

    run_id: str
    project_id: str
    position: int  # the department's place in the run, from 0
    department: str


@dataclass(frozen=True, slots=True)
class BatchRef:
    """The batch of one iteration; its content is in the store."""

    turn: Turn
    iteration: int  # of the department, from 1
    items: int


@dataclass(slots=True)
class _Iteration:
    """The iteration under way, as `BatchRef` names it."""

    turn: Turn
    number: int
    batch: Batch
    answers: SavedAnswers
    fresh: Sequence[Item] = ()
    saved: Sequence[SavedItem] = ()


class Attempt:
    """An attempt at a run, whose steps are taken in the order of the methods."""

    def __init__(self, deps: GatherDeps, run: Run, emitter: EventEmitter) -> None:
        self.run = run
        self._deps, self._emitter = deps, emitter
        self._iteration: _Iteration | None = None

    @property
    def is_mock(self) -> bool:
        """Whether a mock writes."""
        return self._deps.chat.is_mock

    def next_turn(self) -> Turn | None:
        """Return the turn of the next department; `None` after the last one."""
        position = self.run.progress.position if self.run.report is None else None
        return None if position is None else self._turn(position)

    def list_turns(self, reason: StopReason) -> list[Turn]:
        """List the turns that ended for a reason, in their order."""
        return [
            self._turn(position)
            for position, department in enumerate(self.run.progress.departments)
            if department.reason is reason
        ]

    def reason_of(self, turn: Turn) -> StopReason | None:
        """Return why a department has ended; `None` if it has not."""
        return self._department(turn).reason

    async def find_stop_reason(self, turn: Turn) -> StopReason | None:
        """Find out, and store, whether a department stops; `None` if it goes on.

        Scores the department first if it has no score yet and an iteration may begin.
        """
        self.run, budgets = await asyncio.gather(
            self._deps.runs.refresh(self.run), self._deps.budgets(self.run.id)
        )
        if (reason := self._department(turn).reason) is None:
            reason = await self._decide(turn.position, budgets)
            if reason is not None:
                await self._finish(turn, reason)
                self._log_end(self._department(turn), reason)
        await self._note_passed_over()
        await self.emit()
        return reason

    async def generate_items(self, turn: Turn) -> BatchRef | None:
        """Generate a batch; `None` if no budget or no time is left, which ends the department."""
        number = len(self._department(turn).iterations) + 1
        answers = self._deps.runs.answers(self.run, turn.position, number)
        context, _ = await asyncio.gather(
            read_context(self._deps, self.run, turn.position), answers.read_ahead(*STEPS)
        )
        try:
            with (
                timing(self._deps.runs.note, STEP_DURATION, "llm"),
                spending_on(turn.project_id, turn.department),
            ):
                batch = await write_batch(self._deps, self.run, turn.position, context, answers)
        except (TimeIsUp, BudgetExceeded) as spent:
            log.warning("[AutoGather] No more is generated: %s", spent)
            reason = StopReason.TIME_BUDGET
            if isinstance(spent, BudgetExceeded):
                is_money = "_USD_" in spent.budget
                reason = StopReason.COST_BUDGET if is_money else StopReason.TOKEN_BUDGET
            return await self._finish(turn, reason)
        log.debug("[AutoGather] Generated %d items in iteration %d", len(batch.items), number)
        if batch.failure is not None:
            code, said = batch.failure.code, batch.failure.message
            log.error("[AutoGather] Nothing generated in iteration %d: %s: %s", number, code, said)
        self._iteration = _Iteration(turn, number, batch, answers)
        return BatchRef(turn, number, len(batch.items))

    async def drop_duplicates(self, ref: BatchRef) -> BatchRef:
        """Decide which items of a batch repeat something, and drop those."""
        iteration = self._find(ref)
        async with self._emitting_start(iteration):
            with (
                timing(self._deps.runs.note, STEP_DURATION, "dedup"),
                spending_on(ref.turn.project_id, ref.turn.department),
            ):
                iteration.fresh = await drop_duplicates(
                    self._deps, self.run, ref.turn.position, iteration.batch, iteration.answers
                )
        return replace(ref, items=len(iteration.fresh))

    async def save_items(self, ref: BatchRef) -> BatchRef:
        """Save what is left of a batch, and announce it to the Brain."""
        iteration = self._find(ref)
        deps, position = self._deps, ref.turn.position
        items = make_items(deps, self.run, position, iteration.batch, iteration.fresh)
        if items:
            department = self._department(ref.turn).department
            key = f"{self.run.id}:{position}:{iteration.number}"
            await deps.brain.announce(key, department, [item.id for item in items])
        with timing(deps.runs.note, STEP_DURATION, "mongodb"):
            iteration.saved = await deps.items.save(items)
        if items:
            deps.brain.index()
        return replace(ref, items=len(iteration.saved))

    async def score_department(self, ref: BatchRef) -> float | None:
        """Score a department, and record the iteration; return its quality, 0 to 100."""
        iteration, position = self._find(ref), ref.turn.position
        scored = await self._score(position, iteration.answers)
        failure = iteration.batch.failure
        done = Iteration(
            number=iteration.number,
            generated=len(iteration.batch.items),
            kept=len(iteration.fresh),
            item_ids=tuple(item.id for item in iteration.saved),
            score=scored.score,
            failure="" if failure is None else failure.code,
            failure_message="" if failure is None else failure.message,
            notes=scored.notes,
        )
        self.run = await self._deps.runs.record(self.run, position, done, scored.details)
        self._iteration = None
        self._log_iteration(self._department(ref.turn), position)
        await self.emit()
        return self._department(ref.turn).score

    async def list_item_ids(self, turn: Turn) -> list[str]:
        """List the items that a department has now, oldest first."""
        await self._deps.items.refresh()
        return [item.id for item in self._deps.items.of_department(turn.department)]

    async def emit(self) -> None:
        """Add the events to the log that the run has come to imply."""
        await self._emitter.emit(self.run)

    async def close_cancelled(self) -> GatherReport:
        """Close a run that is cancelled in the middle of a step, which may have been stored."""
        taken = await self._deps.runs.overtake(self.run.id)
        new = {"token": taken.token, "progress": taken.progress, "report": taken.report}
        self.run = replace(self.run, **new)
        log.info("[AutoGather] Task cancelled by user")
        return await self.close("cancelled")

    async def close(self, status: RunStatus = "completed") -> GatherReport:
        """Close the run, once, and emit its end."""
        runs, report = self._deps.runs, self.run.report
        if report is None:
            created = await self._deps.items.content.count_created(self.run.id)
            report = await runs.close(self.run, status, created)
            self.run = replace(self.run, report=report)
        await self.emit()
        await runs.mark_emitted(self.run.id)
        return report

    @contextlib.asynccontextmanager
    async def _emitting_start(self, iteration: _Iteration) -> AsyncGenerator[None]:
        """Emit, beside the block, that the items of a batch are compared."""
        if not iteration.batch.items:
            yield
            return
        progress = self._department(iteration.turn)
        implied = deduplicating(self.run.project_id, progress, iteration.number)
        emitting = asyncio.create_task(self._emitter.emit_one(self.run, implied))
        try:
            yield
        except BaseException:
            emitting.cancel()
            await asyncio.wait({emitting})
            raise
        await emitting

    async def _decide(self, position: int, budgets: Sequence[BudgetUsage]) -> StopReason | None:
        runs, progress = self._deps.runs, self.run.progress
        outer = find_outer_reason(budgets, is_time_spent=runs.time_left_s(self.run) <= 0)
        may_begin = allowance(progress, position) and not is_given_up(progress, position)
        department = progress.departments[position]
        if department.first_score is None and outer is None and may_begin:
            await self._deps.items.refresh()
            scored = await self._score(position, runs.answers(self.run, position, 0))
            self.run = await runs.start_department(
                self.run, position, scored.score, scored.notes, scored.details
            )
            name, threshold = department.department.name, department.threshold
            log.info("[AutoGather] Started dept %s (threshold: %g%%)", name, threshold)
        return stop_reason(self.run.progress, position, outer)

    async def _finish(self, turn: Turn, reason: StopReason) -> None:
        self.run = await self._deps.runs.finish_department(self.run, turn.position, reason)

    async def _score(self, position: int, answers: SavedAnswers) -> Scored:
        deps = self._deps
        slug = self.run.progress.departments[position].department.slug
        items = deps.items.of_department(slug)
        with spending_on(self.run.project_id, slug):
            return await deps.scorer.score(self.run, position, items, answers)

    def _turn(self, position: int) -> Turn:
        slug = self.run.progress.departments[position].department.slug
        return Turn(self.run.id, self.run.project_id, position, slug)

    def _department(self, turn: Turn) -> DepartmentProgress:
        return self.run.progress.departments[turn.position]

    async def _note_passed_over(self) -> None:
        """Name the documents of the project that cannot be embedded among the run's warnings."""
        passed_over = self._deps.items.passed_over
        warnings = [
            f"document {item_id!r} is compared with nothing, as it cannot be embedded: {fault}"
            for item_id, fault in islice(passed_over.items(), _MAX_NAMED)
        ]
        if len(passed_over) > _MAX_NAMED:
            warnings.append(f"more than {_MAX_NAMED} documents cannot be embedded")
        new = [warning for warning in warnings if warning not in self.run.warnings]
        for warning in new:
            log.warning("[AutoGather] %s", warning)
        if new:
            self.run = await self._deps.runs.add_warnings(self.run, new)

    def _log_iteration(self, department: DepartmentProgress, position: int) -> None:
        done = department.iterations[-1]
        log.info(
            "[AutoGather] Iteration %d complete for dept %s: %d items, quality %.1f%%",
            done.number,
            department.department.name,
            len(done.item_ids),
            done.score,
        )
        left = allowance(self.run.progress, position) - done.number
        if left == 1 and not department.has_reached:
            log.warning("[AutoGather] Approaching max iterations: 1 is left for this department")

    def _log_end(self, department: DepartmentProgress, reason: StopReason) -> None:
        name, score = department.department.name, department.score or 0.0
        match reason:
            case StopReason.NO_IMPROVEMENT:
                said = "[AutoGather] Quality stagnant at %g%% for %d iterations"
                log.warning(said, score, STALLED_AFTER)
            case StopReason.MAX_ITERATIONS_REACHED | StopReason.NO_ITERATIONS_LEFT:
                limit = self.run.progress.max_iterations
                log.warning("[AutoGather] Max iterations (%d) reached in dept %s", limit, name)
            case StopReason.TOKEN_BUDGET | StopReason.COST_BUDGET | StopReason.TIME_BUDGET:
                budget = reason.replace("_", " ").capitalize()
                log.warning("[AutoGather] %s spent in dept %s", budget, name)
            case StopReason.UNREADABLE_ANSWERS:
                log.error("[AutoGather] No answer of the model can be used for dept %s", name)
            case _:
                pass
        words = reason.replace("_", " ")
        log.info("[AutoGather] Finished dept %s at %.1f%%: %s", name, score, words)

    def _find(self, ref: BatchRef) -> _Iteration:
        found = self._iteration
        if found is None or (found.turn, found.number) != (ref.turn, ref.iteration):
            raise RuntimeError(f"not the batch under way: {ref!r}")
        return found

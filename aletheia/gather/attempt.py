"""An attempt at a gather run, step by step (SPEC §4): what flows, crash suites and benches work.

What a step needs of an earlier one it finds by the reference that it is given; both the content of
a batch and the decisions about it are in the store, so that another attempt finds them as well.
"""

import logging
from dataclasses import dataclass, replace

from aletheia.errors import BudgetExceeded
from aletheia.gather import loop
from aletheia.gather.deps import GatherDeps
from aletheia.gather.errors import TimeIsUp
from aletheia.gather.event_derivation import EventEmitter, deduplicating
from aletheia.gather.loop import FreshItems
from aletheia.gather.models import Batch, Run
from aletheia.gather.progress import GatherReport, RunStatus, StopReason
from aletheia.items.content import SavedItem

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """A department's turn in a run.

    Attributes:
        run_id: the run.
        project_id: its project.
        position: the department's place in the run, from 0.
        department: its slug.
    """

    run_id: str
    project_id: str
    position: int
    department: str


@dataclass(frozen=True, slots=True)
class BatchRef:
    """The batch of one iteration; its content is in the store.

    Attributes:
        turn: the department's turn.
        iteration: of the department, from 1.
        items: how many the last step has left of it.
    """

    turn: Turn
    iteration: int
    items: int


@dataclass(slots=True)
class _Iteration:
    """The iteration under way."""

    position: int
    number: int
    batch: Batch
    fresh: FreshItems | None = None
    saved: list[SavedItem] | None = None


class Attempt:
    """An attempt at a run.

    The steps of an iteration are taken in the order of the methods.

    Args:
        deps: what the steps work with.
        run: as it was opened.
        emitter: adds the events that the run implies to the log; `None` adds none.

    Attributes:
        run: with the progress that the last step has stored.
    """

    def __init__(self, deps: GatherDeps, run: Run, emitter: EventEmitter | None = None) -> None:
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
        return self.run.progress.departments[turn.position].reason

    async def find_stop_reason(self, turn: Turn) -> StopReason | None:
        """Find out, and store, whether a department stops; `None` if it goes on.

        Raises:
            LockLost: another attempt is at the run.
        """
        self.run, reason = await loop.find_verdict(self._deps, self.run, turn.position)
        await self.emit()
        return reason

    async def generate_items(self, turn: Turn) -> BatchRef | None:
        """Generate a batch; `None` if no budget or no time is left, which ends the department.

        Raises:
            AletheiaError: see `loop.write_batch`.
        """
        context = await loop.read_context(self._deps, self.run, turn.position)
        try:
            batch = await loop.write_batch(self._deps, self.run, turn.position, context)
        except (BudgetExceeded, TimeIsUp) as spent:
            log.warning("no more is generated: %s", spent)
            reason = loop.reason_of(spent)
            self.run = await self._deps.runs.finish_department(self.run, turn.position, reason)
            return None
        number = len(self.run.progress.departments[turn.position].iterations) + 1
        self._iteration = _Iteration(turn.position, number, batch)
        return BatchRef(turn, number, len(batch.items))

    async def drop_duplicates(self, ref: BatchRef) -> BatchRef:
        """Decide which items of a batch repeat something, and drop those."""
        iteration, position = self._find(ref), ref.turn.position
        if iteration.batch.items and self._emitter is not None:
            await self._emitter.emit_one(self.run, deduplicating(self.run, position))
        iteration.fresh = await loop.drop_duplicates(
            self._deps, self.run, position, iteration.batch
        )
        return replace(ref, items=len(iteration.fresh.items))

    async def save_items(self, ref: BatchRef) -> BatchRef:
        """Save what is left of a batch, and announce it to the Brain."""
        iteration = self._find(ref)
        assert iteration.fresh is not None, "before drop_duplicates()"
        iteration.saved = await loop.save_items(
            self._deps, self.run, ref.turn.position, iteration.batch, iteration.fresh
        )
        return replace(ref, items=len(iteration.saved))

    async def score_department(self, ref: BatchRef) -> float | None:
        """Score a department with the items of a batch, and record the iteration.

        Returns:
            Its quality, 0 to 100.

        Raises:
            LockLost: another attempt is at the run.
        """
        iteration, position = self._find(ref), ref.turn.position
        assert iteration.fresh is not None, "before drop_duplicates()"
        assert iteration.saved is not None, "before save_items()"
        self.run = await loop.score_department(
            self._deps,
            self.run,
            position,
            iteration.batch,
            fresh=iteration.fresh,
            saved=iteration.saved,
        )
        self._iteration = None
        await self.emit()
        return self.run.progress.departments[position].score

    async def list_item_ids(self, turn: Turn) -> list[str]:
        """List the items that a department has now, oldest first."""
        await self._deps.items.refresh()
        return [item.id for item in self._deps.items.of_department(turn.department)]

    async def emit(self) -> None:
        """Add the events to the log that the run has come to imply."""
        if self._emitter is not None:
            await self._emitter.emit(self.run)

    async def close(self) -> GatherReport:
        """Close the run, once, and emit its end; it is cancelled if a department was."""
        reasons = {department.reason for department in self.run.progress.departments}
        return await self._close("cancelled" if StopReason.CANCELLED in reasons else "completed")

    async def close_cancelled(self) -> GatherReport:
        """Close a run that is cancelled in the middle of a step, which may have been stored."""
        taken = await self._deps.runs.overtake(self.run.id)
        self.run = replace(
            self.run, token=taken.token, progress=taken.progress, report=taken.report
        )
        return await self._close("cancelled")

    async def _close(self, status: RunStatus) -> GatherReport:
        runs, report = self._deps.runs, self.run.report
        if report is None:
            created = await self._deps.items.count_created(self.run.id)
            report = await runs.close(self.run, status, created)
            self.run = replace(self.run, report=report)
        await self.emit()
        await runs.mark_told(self.run.id)
        return report

    def _turn(self, position: int) -> Turn:
        slug = self.run.progress.departments[position].department.slug
        return Turn(self.run.id, self.run.project_id, position, slug)

    def _find(self, ref: BatchRef) -> _Iteration:
        iteration = self._iteration
        if iteration is None or (iteration.position, iteration.number) != (
            ref.turn.position,
            ref.iteration,
        ):
            raise RuntimeError(f"not the batch under way: {ref!r}")
        return iteration

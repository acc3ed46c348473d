"""Gather runs: opening, resuming, writing and closing them (SPEC §4, State and resume)."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Insert, Update
from aletheia.errors import InvalidTask
from aletheia.gather.errors import LockLost, RunSuperseded
from aletheia.gather.progress import (
    MAX_ITERATIONS,
    GatherReport,
    Iteration,
    Run,
    RunOrder,
    RunStatus,
    StopReason,
    report,
)
from aletheia.gather.project_lock import LEASE_S, ProjectLocks, StateOf
from aletheia.gather.resumption import Overrides, apply_overrides, override_change
from aletheia.gather.run_records import OPEN, QUALITY, RUNS, SUPERSEDED, RunRecords
from aletheia.items.departments import DepartmentList
from aletheia.llm.answers import SavedAnswers
from aletheia.metrics import (
    GATHER_DEPARTMENTS,
    GATHER_ITEMS,
    GATHER_ITERATION_ITEMS,
    GATHER_ITERATIONS,
    GATHER_QUALITY,
    GATHER_RUNS,
    GATHER_TIME_TO_THRESHOLD,
)
from aletheia.series import Counts, merged
from aletheia.store.clock import SYSTEM_CLOCK, Clock
from aletheia.store.lease import renewing
from aletheia.store.project_id import check_project_id

TIME_BUDGET_S: Final = 570.0
"""How long one attempt works; Prefect ends it after 600 s (SPEC §4, Time)."""


class GatherRuns(RunRecords):
    """All gather runs of one store, each written by one attempt at a time.

    What writes a run raises `LockLost` once another attempt is at it; what reads one raises
    `UnknownRun`, and where it has to be open, `RunOver` or `RunSuperseded`.

    `documents`: the store, open and durable. `lease_s`: how long a project's lock lasts without
    renewal, seconds.
    """

    def __init__(
        self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK, lease_s: float = LEASE_S
    ) -> None:
        super().__init__(documents, clock)
        self._lease_s = lease_s
        self._locks = ProjectLocks(documents, clock=clock, lease_s=lease_s)

    async def open(
        self,
        order: RunOrder,
        list_departments: Callable[[], Awaitable[DepartmentList]],
        state_of: StateOf,
    ) -> Run:
        """Begin a run, whose departments are listed only then, or resume it.

        A cancelled run is resumed, too, unless another one had its project meanwhile.

        Returns:
            The run; if it is over already, with its report.

        Raises:
            ProjectBusy: another run has the project.
            InvalidTask: `invalid_project_id`, `invalid_max_iterations`.
        """
        check_project_id(order.project_id)
        if not 0 <= order.max_iterations <= MAX_ITERATIONS:
            message = f"max_iterations must be 0 to {MAX_ITERATIONS:,}, not {order.max_iterations}"
            raise InvalidTask("invalid_max_iterations", message)
        run_id, found = order.run_id, await self.find(order.run_id)
        if found is None:
            lock = await self._locks.take(order.project_id, run_id, state_of)
        else:
            is_over = _is_over(found)
            if is_over and found["state"] != "cancelled":
                await self._locks.free(order.project_id, run_id)
                return await self.load_progress(found)
            try:
                lock = await self._locks.retake(found)
            except RunSuperseded:
                if not is_over:
                    raise
                return await self.load_progress(found)
        token = int(lock["token"])
        if (previous := lock["previous"]) is not None:
            await self.supersede(previous, run_id, token)
        if found is None:
            await self.begin(order, token, await list_departments())
        await self.stamp(run_id, token)
        # A run that has taken the lock meanwhile may not have seen what was written just now.
        if not await self._locks.renew(order.project_id, run_id, token):
            raise LockLost(run_id)
        opened = {"state": OPEN, "report": None, "closed_at": None, "is_told": True}
        change = Change(set={**opened, "attempt_reason": None}, increase={"attempt": 1})
        await self.write(run_id, token, change)
        return await self._reopen(await self.load(run_id))

    async def list_open(self) -> list[str]:
        """Return the ids of the runs that are neither over nor taken over, oldest first."""
        found = await self._documents.find(RUNS, {"state": OPEN}, sort="opened_at")
        return [document["_id"] for document in found]

    async def list_unemitted(self, older_than_s: float) -> list[str]:
        """Return the ids of runs closed that long ago whose events may be incomplete."""
        where = {"is_told": False, "closed_at": {"$lt": self._clock() - older_than_s}}
        found = await self._documents.find(RUNS, where, sort="closed_at")
        return [document["_id"] for document in found]

    async def mark_emitted(self, run_id: str) -> None:
        """Note that all events of a run that is over are in the log. Idempotent."""
        change = Change(set={"is_told": True})
        await self._documents.update(RUNS, [Update(run_id, change, {"is_told": False})])

    async def overtake(self, run_id: str) -> Run:
        """Take a run, in order to close it, from an attempt, which writes nothing from then on.

        Returns:
            The run; if it is over already, with its report.
        """
        found = await self.read(run_id)
        if _is_over(found):
            return await self.load_progress(found)
        lock = await self._locks.retake(found)
        await self.stamp(run_id, int(lock["token"]))
        return await self.load(run_id)

    async def close(self, run: Run, status: RunStatus, created: Mapping[str, int]) -> GatherReport:
        """End a run and free its project. A second time returns the same report."""
        worked_s = self.worked_s(run)
        made = report(run.progress, status=status, created=created, worked_s=worked_s)
        change = Change(
            set={
                "state": status,
                "report": made.model_dump(mode="json"),
                "closed_at": self._clock(),
                "is_told": False,
                "worked_s": worked_s,
            }
        )
        where = {"token": run.token, "state": OPEN}
        update = Update(run.id, change, where, GATHER_RUNS.add(status))
        if not (await self._documents.update(RUNS, [update]))[0]:
            found = await self.read(run.id)
            if not _is_over(found):
                raise LockLost(run.id)
            made = GatherReport.model_validate(found["report"])
        await self._locks.free(run.project_id, run.id)
        return made

    async def end_attempt(self, run: Run, reason: StopReason) -> None:
        """Store why an attempt ends though the run does not; the run keeps its project."""
        change = Change(set={"attempt_reason": reason, "worked_s": self.worked_s(run)})
        await self.write(run.id, run.token, change)

    async def add_warnings(self, run: Run, warnings: Sequence[str]) -> Run:
        """Store what else somebody should know of a run; return the run with it."""
        run = replace(run, warnings=(*run.warnings, *warnings))
        await self.write(run.id, run.token, Change(set={"warnings": list(run.warnings)}))
        return run

    async def renew(self, run: Run) -> None:
        """Keep the project's lock for another lease."""
        if not await self._locks.renew(run.project_id, run.id, run.token):
            raise LockLost(run.id)
        change = Change(set={"worked_s": self.worked_s(run)})
        await self.write(run.id, run.token, change)

    @contextlib.asynccontextmanager
    async def holding(self, run: Run) -> AsyncGenerator[None]:
        """Renew the lock until the end of the context; the next write finds out if it is lost."""

        async def renew() -> bool:
            with contextlib.suppress(LockLost):
                await self.renew(run)
                return True
            return False

        async with renewing(renew, length_s=self._lease_s, name=f"project {run.project_id!r}"):
            yield

    async def is_abandoned(self, run_id: str) -> bool:
        """Return whether a run's lock has not been renewed for longer than its lease."""
        found = await self.read(run_id)
        return await self._locks.is_abandoned(found["project_id"], run_id)

    async def refresh(self, run: Run) -> Run:
        """Return the run with an operator's overrides."""
        found = await self.read(run.id)
        if found["token"] != run.token or found["state"] != OPEN:
            raise LockLost(run.id)
        progress = apply_overrides(run.progress, found)
        return replace(run, progress=progress)

    async def start_department(
        self,
        run: Run,
        position: int,
        score: float,
        notes: Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Run:
        """Store a department's quality, 0 to 100, before its first iteration; return the run.

        `details` is what the score rests on.
        """
        values = {"first_score": score, "first_notes": dict(notes or {})}
        quality = self._quality_of(run, position, 0, details)
        return await self.advance(run, position, values, {"first_score": None}, before=quality)

    async def record(
        self, run: Run, position: int, done: Iteration, details: Mapping[str, Any] | None = None
    ) -> Run:
        """Store an iteration, unless it is stored; return the run with it.

        `details` is what its score rests on.
        """
        values = {"iteration": done.number, f"iterations.i{done.number}": asdict(done)}
        counts = _counts_of(run.progress.departments[position].department.slug, done)
        quality = self._quality_of(run, position, done.number, details)
        where = {"iteration": done.number - 1}
        return await self.advance(run, position, values, where, counts, before=quality)

    async def finish_department(self, run: Run, position: int, reason: StopReason) -> Run:
        """Store why a department is done; return the run with it."""
        counts = GATHER_DEPARTMENTS.add(reason)
        is_reached = reason is StopReason.THRESHOLD_REACHED
        if is_reached and run.progress.departments[position].iterations:
            took = GATHER_TIME_TO_THRESHOLD.observe(amount=self.worked_s(run))
            counts = merged(counts, took)
        return await self.advance(run, position, {"reason": reason}, {"reason": None}, counts)

    def answers(self, run: Run, position: int, iteration: int) -> SavedAnswers:
        """Return the answers saved for an iteration."""
        key = f"{run.id}:{position}:{iteration}"
        return SavedAnswers(self._documents, key, clock=self._clock)

    def time_left_s(self, run: Run) -> float:
        """Return how long this attempt may go on, seconds."""
        return max(0.0, TIME_BUDGET_S - (self._clock() - run.began_at))

    async def override(self, run_id: str, overrides: Overrides) -> None:
        """Change the limits of a run that is not over; raises as `override_change` does."""
        run = await self.load_open(run_id)
        change = override_change(run.progress, overrides)
        if change.set:
            await self.change_open(run_id, change)

    def _quality_of(
        self, run: Run, position: int, number: int, details: Mapping[str, Any] | None
    ) -> list[Insert]:
        """Return the write of what a score rests on; number 0 is before the first iteration."""
        if details is None:
            return []
        document: Document = {
            "_id": f"{run.id}:{position}:{number}",
            "run_id": run.id,
            "project_id": run.project_id,
            "department": run.progress.departments[position].department.slug,
            "iteration": number,
            "at": self._clock(),
            "quality": dict(details),
        }
        return [Insert(QUALITY, [document])]

    async def _reopen(self, run: Run) -> Run:
        """Reopen departments that had no iteration left, if by now there are some."""
        if run.progress.iterations >= run.progress.max_iterations:
            return run
        for position, department in enumerate(run.progress.departments):
            if department.reason is StopReason.NO_ITERATIONS_LEFT and not department.iterations:
                where = {"reason": StopReason.NO_ITERATIONS_LEFT}
                run = await self.advance(run, position, {"reason": None}, where)
        return run


def _counts_of(department: str, done: Iteration) -> Counts:
    """Return what an iteration adds to counters."""
    saved = len(done.item_ids)
    return merged(
        GATHER_ITERATIONS.add(department),
        GATHER_ITEMS.add("generated", by=done.generated),
        GATHER_ITEMS.add("duplicate", by=done.generated - done.kept),
        GATHER_ITEMS.add("saved", by=saved),
        GATHER_ITERATION_ITEMS.observe(amount=saved),
        GATHER_QUALITY.observe(amount=done.score),
    )


def _is_over(found: Document) -> bool:
    return found["state"] not in (OPEN, SUPERSEDED)

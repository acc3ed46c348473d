"""What a gather run is resumed from: its lock, its progress, and what models answered it.

A project has one lock, and it names the run that holds it, with a token that grows each time it is
taken. All that belongs to a run carries the token of the attempt that may write it, and every
write names its own: an attempt that was overtaken changes nothing any more. The lock is written
first, then everything of the run gets its token, so whoever opens a run after a kill anywhere in
between does the rest.

A run holds its project until it is closed. Another one takes the project only if Prefect says
that the holder has ended, or if its lease ran out while it was neither suspended nor waiting; from
then on the former holder cannot be resumed (SPEC §4, State and resume).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import AletheiaError, InvalidTask, Unavailable
from aletheia.gather.ports import DepartmentSource
from aletheia.gather.progress import (
    MAX_ITERATIONS,
    Circumstances,
    DepartmentProgress,
    GatherReport,
    Iteration,
    Overrides,
    RunProgress,
    RunStatus,
    StopReason,
    report,
)
from aletheia.items.departments import Department
from aletheia.llm.answers import ANSWERS, SavedAnswers
from aletheia.llm.usage import BudgetUsage
from aletheia.store.project_id import check_project_id

RUNS: Final = "aletheia_gather_runs"
PROGRESS: Final = "aletheia_gather_progress"
LOCKS: Final = "aletheia_gather_locks"
QUALITY: Final = "aletheia_gather_quality"

LEASE_S: Final = 60.0
TIME_BUDGET_S: Final = 570.0
"""How long one attempt works; Prefect ends it after 600 s (SPEC §4, Time)."""

RENEWALS_PER_LEASE: Final = 3
_PURGED_AT_ONCE: Final = 10_000

_OPEN: Final = "open"
_SUPERSEDED: Final = "superseded"

log = logging.getLogger(__name__)


class HolderState(StrEnum):
    """What Prefect says of the run that holds a project.

    `waiting` is a run that will be started by itself: scheduled, pending, or waiting for a retry.
    """

    RUNNING = "running"
    SUSPENDED = "suspended"
    WAITING = "waiting"
    ENDED = "ended"
    UNKNOWN = "unknown"


StateOf: TypeAlias = Callable[[str], Awaitable[HolderState]]
"""Tells the state of another flow run, by its id."""


class ProjectBusy(AletheiaError):
    """Another run holds the project.

    Args:
        project_id: the project.
        run_id: the run that holds it.
        state: what that run is doing.
    """

    code = "project_busy"

    def __init__(self, project_id: str, run_id: str, state: str) -> None:
        super().__init__(project_id, run_id, state)
        self.project_id, self.run_id, self.state = project_id, run_id, state

    def __str__(self) -> str:
        return (
            f"project {self.project_id!r} is held by run {self.run_id!r}, which is {self.state}: "
            "resume, cancel or await that one"
        )


class RunSuperseded(AletheiaError):
    """A run cannot be resumed, as another one has taken its project over.

    Args:
        run_id: the run.
        by: the other one.
    """

    code = "run_superseded"

    def __init__(self, run_id: str, by: str) -> None:
        super().__init__(run_id, by)
        self.run_id, self.by = run_id, by

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} cannot be resumed: run {self.by!r} has taken its project over, "
            "and goes on from the items it had saved"
        )


class LockLost(AletheiaError):
    """Another attempt, or another run, has taken over what this one was at work on.

    Args:
        run_id: the run that lost it.
    """

    code = "lock_lost"

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {self.run_id!r} was taken over by another attempt or run"


class UnknownRun(AletheiaError):
    """There is no such run.

    Args:
        run_id: what was asked for.
    """

    code = "unknown_run"

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"there is no gather run {self.run_id!r}, or it has not begun"


class RunOver(AletheiaError):
    """A run is over and stays as it is.

    Args:
        run_id: the run.
        status: how it ended.
    """

    code = "run_over"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(run_id, status)
        self.run_id, self.status = run_id, status

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} is over ({self.status}): start another one, which goes on from "
            "the items that are saved"
        )


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a run is started with.

    Attributes:
        run_id: of the Prefect flow run; the same for its retries and resumes.
        project_id: `[A-Za-z0-9_-]{1,48}`.
        user_id: whose items they will be.
        max_iterations: of the whole run, 0 to `MAX_ITERATIONS`.
    """

    run_id: str
    project_id: str
    user_id: str
    max_iterations: int = 50


@dataclass(frozen=True, slots=True)
class Run:
    """An attempt at a run.

    Attributes:
        id: of the flow run.
        project_id: the project.
        user_id: whose items they are.
        token: of this attempt.
        progress: how far the run has come.
        attempt: from 1.
        began_at: when this attempt began, or the run was looked at, Unix time.
        worked_before_s: how long it had been at work by then, seconds.
        is_cancel_requested: whether somebody asked for its end.
        report: what it came to, once it is closed.
        warnings: what was odd about the departments, those that were passed over among it.
    """

    id: str
    project_id: str
    user_id: str
    token: int
    progress: RunProgress
    attempt: int
    began_at: float
    worked_before_s: float
    is_cancel_requested: bool = False
    report: GatherReport | None = None
    warnings: tuple[str, ...] = ()


class GatherRuns:
    """All gather runs of one store.

    Args:
        documents: the store, open and durable.
        clock: Unix time, seconds.
        lease_s: how long a lock holds without renewal.
        skew_s: how far the clocks of others may be off.
        time_budget_s: how long one attempt works.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        clock: Callable[[], float] = time.time,
        lease_s: float = LEASE_S,
        skew_s: float = 5.0,
        time_budget_s: float = TIME_BUDGET_S,
    ) -> None:
        self._documents, self._clock = documents, clock
        self._lease_s, self._skew_s, self._time_budget_s = lease_s, skew_s, time_budget_s

    async def prepare(self) -> None:
        """Make the look-ups below fast."""
        await self._documents.ensure_index(PROGRESS, ["run_id"])
        await self._documents.ensure_index(ANSWERS, ["at"])
        await self._documents.ensure_index(QUALITY, ["run_id"])
        await self._documents.ensure_index(RUNS, ["project_id", "opened_at"])
        await self._documents.ensure_index(RUNS, ["state", "opened_at"])
        await self._documents.ensure_index(RUNS, ["is_told", "closed_at"])

    # Opening and closing

    async def open(self, order: RunOrder, source: DepartmentSource, state_of: StateOf) -> Run:
        """Begin a run, or go on with it where it was.

        The departments are read when it begins, and never again.

        Returns:
            The run; if it is over already, with its report.

        Raises:
            ProjectBusy: another run holds the project.
            RunSuperseded: another run has taken the project over from this one.
            LockLost: another attempt, or run, has begun meanwhile.
            InvalidTask: `invalid_project_id`, `invalid_max_iterations`.
            Misconfigured: see `DepartmentSource`.
            Unavailable: see `DepartmentSource`.
            Refused: see `DepartmentSource`.
        """
        check_project_id(order.project_id)
        if not 0 <= order.max_iterations <= MAX_ITERATIONS:
            message = f"max_iterations must be 0 to {MAX_ITERATIONS:,}, not {order.max_iterations}"
            raise InvalidTask("invalid_max_iterations", message)
        found = await self._document(order.run_id)
        if found is not None and found["state"] not in (_OPEN, _SUPERSEDED):
            await self._free(order.project_id, order.run_id)
            return await self._load(found)
        lock = await self._take_lock(order, found, state_of)
        token = int(lock["token"])
        if (previous := lock["previous"]) is not None:
            await self._supersede(previous, order.run_id, token)
        if found is None:
            await self._begin(order, token, source)
        await self._stamp(order.run_id, token)
        # Whoever has taken the lock meanwhile may not have seen what was only now written.
        lease = Change(set={"lease_until": self._clock() + self._lease_s})
        await self._write(LOCKS, order.project_id, lease, order.run_id, token)
        change = Change(set={"attempt_reason": None}, increase={"attempt": 1})
        await self._write(RUNS, order.run_id, change, order.run_id, token)
        return await self._reopen(await self._load(await self._known(order.run_id)))

    async def load(self, run_id: str) -> Run:
        """Read a run as it stands, for whoever looks at it, or closes it for a killed one.

        Raises:
            UnknownRun: there is none.
        """
        return await self._load(await self._known(run_id))

    async def load_open(self, run_id: str) -> Run:
        """Read a run that is neither over nor taken over.

        Raises:
            UnknownRun: there is none.
            RunOver: it is over.
            RunSuperseded: another run has taken its project over.
        """
        return await self._load(await self._known_open(run_id))

    async def list_open(self) -> list[str]:
        """List the runs that are neither over nor taken over, oldest first."""
        found = await self._documents.find(RUNS, {"state": _OPEN}, sort="opened_at")
        return [one["_id"] for one in found]

    async def list_untold(self, older_than_s: float) -> list[str]:
        """List the runs that ended so long ago and have not said so, oldest first."""
        where = {"is_told": False, "closed_at": {"$lt": self._clock() - older_than_s}}
        return [one["_id"] for one in await self._documents.find(RUNS, where, sort="closed_at")]

    async def mark_told(self, run_id: str) -> None:
        """Note that all events of a run that is over are in the log. Idempotent."""
        change = Change(set={"is_told": True})
        await self._documents.update(RUNS, [Update(run_id, change, {"is_told": False})])

    async def overtake(self, run_id: str) -> Run:
        """Take a run from an attempt that has ended, or is to end, in order to close it.

        What that attempt still writes changes nothing any more.

        Returns:
            The run; if it is over already, with its report.

        Raises:
            UnknownRun: there is none.
            RunSuperseded: another run has taken its project over.
        """
        found = await self._known(run_id)
        if found["state"] not in (_OPEN, _SUPERSEDED):
            return await self._load(found)
        order = RunOrder(run_id, found["project_id"], found["user_id"])
        lock = await self._take_lock(order, found, _never_asked)
        await self._stamp(run_id, int(lock["token"]))
        return await self._load(await self._known(run_id))

    async def close(self, run: Run, status: RunStatus, created: Mapping[str, int]) -> GatherReport:
        """End a run and free its project. A second time gives the same report.

        Args:
            run: the run.
            status: how it ended.
            created: items of the run that are saved, by their department's slug.

        Raises:
            LockLost: another attempt is at it.
        """
        made = report(run.progress, status=status, created=created, worked_s=self.worked_s(run))
        change = Change(
            set={
                "state": status,
                "report": made.model_dump(mode="json"),
                "closed_at": self._clock(),
                "is_told": False,
                "worked_s": self.worked_s(run),
            }
        )
        update = Update(run.id, change, {"token": run.token, "state": _OPEN})
        if not (await self._documents.update(RUNS, [update]))[0]:
            found = await self._known(run.id)
            if found["state"] in (_OPEN, _SUPERSEDED):
                raise LockLost(run.id)
            made = GatherReport.model_validate(found["report"])
        await self._free(run.project_id, run.id)
        return made

    async def end_attempt(self, run: Run, reason: StopReason) -> None:
        """Write down why an attempt ends though the run does not; it keeps the project."""
        change = Change(set={"attempt_reason": reason, "worked_s": self.worked_s(run)})
        await self._write(RUNS, run.id, change, run.id, run.token)

    # The lock

    async def renew(self, run: Run) -> None:
        """Hold the project for another lease.

        Raises:
            LockLost: it is not ours any more.
        """
        now = self._clock()
        change = Change(set={"lease_until": now + self._lease_s})
        await self._write(LOCKS, run.project_id, change, run.id, run.token)
        worked = Change(set={"worked_s": self.worked_s(run)})
        await self._write(RUNS, run.id, worked, run.id, run.token)

    @contextlib.asynccontextmanager
    async def holding(self, run: Run) -> AsyncGenerator[None]:
        """Renew the lock every third of its lease, until the end of the context."""
        renewing = asyncio.create_task(self._renew_for_ever(run))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew_for_ever(self, run: Run) -> None:
        while True:
            await asyncio.sleep(self._lease_s / RENEWALS_PER_LEASE)
            try:
                await self.renew(run)
            except Unavailable as outage:
                # The lease holds for two more tries; what that loses is found at the next write.
                log.warning("the lock of %r was not renewed: %s", run.project_id, outage)
            except LockLost as lost:
                log.warning("%s", lost)
                return

    async def is_abandoned(self, run_id: str) -> bool:
        """Tell whether nobody has renewed a run's lock for longer than its lease."""
        found = await self._known(run_id)
        locks = await self._documents.get(LOCKS, [found["project_id"]])
        lock = locks.get(found["project_id"])
        if lock is None or lock["run_id"] != run_id:
            return True
        return lock["lease_until"] + self._skew_s <= self._clock()

    # Progress

    async def refresh(self, run: Run) -> Run:
        """Read what an operator has changed of a run, and whether somebody asked for its end.

        Raises:
            LockLost: it was taken over.
        """
        found = await self._known(run.id)
        if found["token"] != run.token or found["state"] != _OPEN:
            raise LockLost(run.id)
        progress = _override(run.progress, found)
        return replace(run, progress=progress, is_cancel_requested=found["is_cancel_requested"])

    async def start_department(
        self, run: Run, position: int, score: float, notes: Mapping[str, Any] | None = None
    ) -> Run:
        """Write down what a department's items were worth before the first iteration.

        Args:
            run: the run.
            position: of the department.
            score: 0 to 100.
            notes: what the next scoring wants to know, as JSON.

        Raises:
            LockLost: another attempt is at it.
        """
        values = {"first_score": score, "first_notes": dict(notes or {})}
        return await self._advance(run, position, values, {"first_score": None})

    async def record(self, run: Run, position: int, done: Iteration) -> Run:
        """Write down an iteration; one that is written already stays as it is.

        Raises:
            LockLost: another attempt is at it.
        """
        values = {"iteration": done.number, f"iterations.i{done.number}": asdict(done)}
        return await self._advance(run, position, values, {"iteration": done.number - 1})

    async def finish_department(self, run: Run, position: int, reason: StopReason) -> Run:
        """Write down why a department is done.

        Raises:
            LockLost: another attempt is at it.
        """
        return await self._advance(run, position, {"reason": reason}, {"reason": None})

    async def save_quality(
        self, run: Run, position: int, number: int, details: Mapping[str, Any]
    ) -> None:
        """Keep what a score rests on; number 0 is that before the first iteration."""
        document: Document = {
            "_id": f"{run.id}:{position}:{number}",
            "run_id": run.id,
            "project_id": run.project_id,
            "department": run.progress.departments[position].department.slug,
            "iteration": number,
            "at": self._clock(),
            "quality": dict(details),
        }
        await self._documents.insert(QUALITY, [document])

    def answers(self, run: Run, position: int, iteration: int) -> "SavedAnswers":
        """Give what is kept of an iteration that is under way."""
        key = f"{run.id}:{position}:{iteration}"
        return SavedAnswers(self._documents, key, clock=self._clock)

    # Time, money and operators

    def worked_s(self, run: Run) -> float:
        """Say how long a run has been at work, seconds."""
        return run.worked_before_s + max(0.0, self._clock() - run.began_at)

    def time_left_s(self, run: Run) -> float:
        """Say how long this attempt may go on, seconds; a longer wait ends it."""
        return max(0.0, self._time_budget_s - (self._clock() - run.began_at))

    def circumstances(self, run: Run, budgets: Sequence[BudgetUsage] = ()) -> Circumstances:
        """Say what stops a run from outside.

        Args:
            run: refreshed.
            budgets: those of the run, and of the day.
        """
        spent = {one.name.split("_")[1] for one in budgets if one.is_spent}
        return Circumstances(
            is_cancelled=run.is_cancel_requested,
            is_token_budget_spent="TOKENS" in spent,
            is_cost_budget_spent="USD" in spent,
            is_time_spent=self.time_left_s(run) <= 0,
        )

    async def override(self, run_id: str, overrides: Overrides) -> None:
        """Change what a run that is not over may do; what is not named stays.

        Raises:
            UnknownRun: there is none.
            RunOver: it is over.
            RunSuperseded: another run has taken its project over.
            ValueError: it has no such department, or that is done and was announced as such.
        """
        run = await self.load_open(run_id)
        values: dict[str, Any] = {}
        if overrides.max_iterations is not None:
            values["overrides.max_iterations"] = overrides.max_iterations
        places = {one.department.slug: at for at, one in enumerate(run.progress.departments)}
        for slug, threshold in overrides.thresholds.items():
            if slug not in places:
                raise ValueError(f"no department {slug!r} in this run, only {sorted(places)}")
            reason = run.progress.departments[places[slug]].reason
            if reason not in (None, StopReason.NO_ITERATIONS_LEFT):
                said = reason.replace("_", " ")
                raise ValueError(f"department {slug!r} is done in this run ({said})")
            values[f"overrides.thresholds.d{places[slug]}"] = float(threshold)
        if values:
            await self._change_open(run_id, Change(set=values))

    async def request_cancel(self, run_id: str) -> None:
        """Ask for the end of a run after the iteration under way.

        Raises:
            UnknownRun: there is none.
            RunOver: it is over.
            RunSuperseded: another run has taken its project over.
        """
        await self._change_open(run_id, Change(set={"is_cancel_requested": True}))

    async def purge(self, older_than_s: float) -> int:
        """Delete kept answers that are older than that; say how many."""
        old = {"at": {"$lt": self._clock() - older_than_s}}
        return await self._documents.delete(ANSWERS, old, limit=_PURGED_AT_ONCE)

    # Inside

    async def _take_lock(
        self, order: RunOrder, found: Document | None, state_of: StateOf
    ) -> Document:
        """Take a project's lock for this attempt, and return it."""
        while True:
            now = self._clock()
            lease = {"run_id": order.run_id, "is_held": True, "lease_until": now + self._lease_s}
            locks = await self._documents.get(LOCKS, [order.project_id])
            if (lock := locks.get(order.project_id)) is None:
                if found is not None:
                    raise RunSuperseded(order.run_id, found["superseded_by"] or "unknown")
                fresh = {"_id": order.project_id, "token": 1, "previous": None, **lease}
                if await self._documents.insert(LOCKS, [fresh]):
                    return fresh
                continue
            is_ours = lock["run_id"] == order.run_id
            if not is_ours:
                if found is not None:
                    raise RunSuperseded(order.run_id, found["superseded_by"] or lock["run_id"])
                await self._check_free(lock, now, state_of)
                lease["previous"] = lock["run_id"]
            change = Change(set=lease, increase={"token": 1})
            update = Update(order.project_id, change, {"token": lock["token"]})
            if (await self._documents.update(LOCKS, [update]))[0]:
                return lock | lease | {"token": lock["token"] + 1}

    async def _check_free(self, lock: Document, now: float, state_of: StateOf) -> None:
        """See that a lock of another run may be taken.

        Raises:
            ProjectBusy: it may not.
        """
        if not lock["is_held"]:
            return
        state = await state_of(lock["run_id"])
        is_over = lock["lease_until"] + self._skew_s <= now
        is_gone = state in (HolderState.RUNNING, HolderState.UNKNOWN) and is_over
        if state is not HolderState.ENDED and not is_gone:
            raise ProjectBusy(lock["_id"], lock["run_id"], state)
        log.warning("project %r is taken over from run %r", lock["_id"], lock["run_id"])

    async def _supersede(self, run_id: str, by: str, token: int) -> None:
        """End a run that was not closed, and take what is its from its attempts."""
        values = {"state": _SUPERSEDED, "superseded_by": by}
        await self._documents.update(RUNS, [Update(run_id, Change(set=values), {"state": _OPEN})])
        await self._stamp(run_id, token)

    async def _begin(self, order: RunOrder, token: int, source: DepartmentSource) -> None:
        listed = await source.list_departments()
        odd = [*listed.warnings, *(f"{one.department}: {one.message}" for one in listed.faults)]
        for said in odd:
            log.warning("departments: %s", said)
        document: Document = {
            "_id": order.run_id,
            "project_id": order.project_id,
            "user_id": order.user_id,
            "max_iterations": order.max_iterations,
            "departments": [one.model_dump(mode="json") for one in listed.departments],
            "warnings": odd,
            "state": _OPEN,
            "token": token,
            "attempt": 0,
            "attempt_reason": None,
            "opened_at": self._clock(),
            "closed_at": None,
            "worked_s": 0.0,
            "is_cancel_requested": False,
            "overrides": {"max_iterations": None, "thresholds": {}},
            "superseded_by": None,
            "report": None,
        }
        await self._documents.insert(RUNS, [document])

    async def _stamp(self, run_id: str, token: int) -> None:
        """Give all that belongs to a run the token of who may write it."""
        found = await self._document(run_id)
        if found is None:
            return
        places = [_place_of(run_id, place) for place in range(len(found["departments"]))]
        fresh: Document = {"iteration": 0, "iterations": {}, "first_score": None, "reason": None}
        fresh |= {"run_id": run_id, "token": token, "worked_s": 0.0, "first_notes": {}}
        if places:
            await self._documents.insert(PROGRESS, [{"_id": place, **fresh} for place in places])
        change, where = Change(set={"token": token}), {"token": {"$lt": token}}
        await self._documents.update(RUNS, [Update(run_id, change, where)])
        await self._documents.update(PROGRESS, [Update(place, change, where) for place in places])

    async def _advance(
        self, run: Run, position: int, values: Mapping[str, Any], where: Mapping[str, Any]
    ) -> Run:
        """Change a department's progress unless that was done before, and read it again."""
        place = _place_of(run.id, position)
        change = Change(set={**values, "worked_s": self.worked_s(run)})
        update = Update(place, change, {**where, "token": run.token})
        await self._documents.update(PROGRESS, [update])
        row = (await self._documents.get(PROGRESS, [place]))[place]
        if row["token"] != run.token:
            raise LockLost(run.id)
        known = _with_row(run.progress.departments[position], row)
        return replace(run, progress=run.progress.with_department(position, known))

    async def _write(
        self, collection: str, document_id: str, change: Change, run_id: str, token: int
    ) -> None:
        update = Update(document_id, change, {"token": token})
        if not (await self._documents.update(collection, [update]))[0]:
            raise LockLost(run_id)

    async def _free(self, project_id: str, run_id: str) -> None:
        change = Change(set={"is_held": False})
        await self._documents.update(LOCKS, [Update(project_id, change, {"run_id": run_id})])

    async def _document(self, run_id: str) -> Document | None:
        return (await self._documents.get(RUNS, [run_id])).get(run_id)

    async def _known(self, run_id: str) -> Document:
        found = await self._document(run_id)
        if found is None:
            raise UnknownRun(run_id)
        return found

    async def _known_open(self, run_id: str) -> Document:
        found = await self._known(run_id)
        if found["state"] == _SUPERSEDED:
            raise RunSuperseded(run_id, found["superseded_by"])
        if found["state"] != _OPEN:
            raise RunOver(run_id, found["state"])
        return found

    async def _change_open(self, run_id: str, change: Change) -> None:
        if not (await self._documents.update(RUNS, [Update(run_id, change, {"state": _OPEN})]))[0]:
            await self._known_open(run_id)

    async def _reopen(self, run: Run) -> Run:
        """Let departments go on for which no iteration was left, if by now some are.

        Nothing was announced of them. Those that were announced as complete stay so.
        """
        if run.progress.iterations >= run.progress.max_iterations:
            return run
        for position, one in enumerate(run.progress.departments):
            if one.reason is StopReason.NO_ITERATIONS_LEFT and not one.iterations:
                left = {"reason": StopReason.NO_ITERATIONS_LEFT}
                run = await self._advance(run, position, {"reason": None}, left)
        return run

    async def _load(self, found: Document) -> Run:
        departments = _departments_of(found)
        places = [_place_of(found["_id"], place) for place in range(len(departments))]
        rows = await self._documents.get(PROGRESS, places) if places else {}
        fresh = [DepartmentProgress(one, one.quality_threshold) for one in departments]
        known = tuple(
            _with_row(one, rows[place]) if place in rows else one
            for place, one in zip(places, fresh, strict=True)
        )
        progress = _override(RunProgress(found["max_iterations"], known), found)
        made = found["report"]
        # What an attempt last said of its time, there or with an iteration.
        worked_s = max([found["worked_s"], *(row["worked_s"] for row in rows.values())])
        return Run(
            id=found["_id"],
            project_id=found["project_id"],
            user_id=found["user_id"],
            token=found["token"],
            progress=progress,
            attempt=found["attempt"],
            began_at=self._clock(),
            worked_before_s=worked_s,
            is_cancel_requested=found["is_cancel_requested"],
            report=None if made is None else GatherReport.model_validate(made),
            warnings=tuple(found["warnings"]),
        )


async def _never_asked(run_id: str) -> HolderState:
    raise AssertionError(run_id)


def _place_of(run_id: str, position: int) -> str:
    return f"{run_id}:{position}"


def _departments_of(found: Document) -> list[Department]:
    return [Department.model_validate(one) for one in found["departments"]]


def _override(progress: RunProgress, found: Document) -> RunProgress:
    """Put in force what an operator has changed."""
    changed = found["overrides"]
    departments = tuple(
        replace(
            one,
            threshold=changed["thresholds"].get(f"d{place}", one.department.quality_threshold),
        )
        for place, one in enumerate(progress.departments)
    )
    most = changed["max_iterations"] or found["max_iterations"]
    return RunProgress(most, departments)


def _with_row(one: DepartmentProgress, row: Document) -> DepartmentProgress:
    reason = row["reason"]
    return replace(
        one,
        first_score=row["first_score"],
        first_notes=row["first_notes"],
        iterations=tuple(
            _read_iteration(row["iterations"][f"i{number}"])
            for number in range(1, row["iteration"] + 1)
        ),
        reason=None if reason is None else StopReason(reason),
    )


def _read_iteration(values: dict[str, Any]) -> Iteration:
    return replace(Iteration(**values), item_ids=tuple(values["item_ids"]))

"""The stored documents of gather runs and of their departments' progress.

Each carries the token of the attempt that may write it, and every write names its own.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Take, Update, Write
from aletheia.gather.errors import LockLost, RunOver, RunSuperseded, UnknownRun
from aletheia.gather.progress import (
    DepartmentProgress,
    GatherReport,
    Iteration,
    Run,
    RunOrder,
    RunProgress,
    StopReason,
)
from aletheia.gather.resumption import apply_overrides
from aletheia.items.departments import Department, DepartmentList
from aletheia.series import NOTHING, Counts
from aletheia.store.clock import Clock

RUNS: Final = "aletheia_gather_runs"
PROGRESS: Final = "aletheia_gather_progress"
QUALITY: Final = "aletheia_gather_quality"

OPEN: Final = "open"
SUPERSEDED: Final = "superseded"

log = logging.getLogger(__name__)


class RunRecords:
    """The documents of one store."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents, self._clock, self.note = documents, clock.unix_s, documents.note

    async def prepare(self) -> None:
        """Create the indices."""
        await self._documents.ensure_index(QUALITY, ["run_id"])
        await self._documents.ensure_index(PROGRESS, ["run_id"])
        await self._documents.ensure_index(RUNS, ["project_id", "opened_at"])
        await self._documents.ensure_index(RUNS, ["state", "opened_at"])
        await self._documents.ensure_index(RUNS, ["is_told", "closed_at"])

    async def find(self, run_id: str) -> Document | None:
        """Return the document of a run; `None` if there is none."""
        return (await self._documents.get(RUNS, [run_id])).get(run_id)

    async def read(self, run_id: str) -> Document:
        """Return the document of a run."""
        found = await self.find(run_id)
        if found is None:
            raise UnknownRun(run_id)
        return found

    async def read_open(self, run_id: str) -> Document:
        """Return the document of a run that is neither over nor taken over."""
        found = await self.read(run_id)
        if found["state"] == SUPERSEDED:
            raise RunSuperseded(run_id, found["superseded_by"])
        if found["state"] != OPEN:
            raise RunOver(run_id, found["state"])
        return found

    async def load(self, run_id: str) -> Run:
        """Read a run as it is stored."""
        return await self.load_progress(await self.read(run_id))

    async def load_open(self, run_id: str) -> Run:
        """Read a run that is neither over nor taken over."""
        return await self.load_progress(await self.read_open(run_id))

    async def load_progress(self, found: Document) -> Run:
        """Read the progress of a run, and return the run."""
        run_id = found["_id"]
        departments = [Department.model_validate(values) for values in found["departments"]]
        places = [_place_of(run_id, position) for position in range(len(departments))]
        rows = await self._documents.get(PROGRESS, places) if places else {}
        known: list[DepartmentProgress] = []
        for place, department in zip(places, departments, strict=True):
            fresh = DepartmentProgress(department, department.quality_threshold)
            known.append(_with_row(fresh, rows[place]) if place in rows else fresh)
        report = found["report"]
        # An attempt writes how long it has worked to its run, or with a department's progress.
        worked_s = max([found["worked_s"], *(row["worked_s"] for row in rows.values())])
        return Run(
            id=run_id,
            project_id=found["project_id"],
            user_id=found["user_id"],
            token=found["token"],
            progress=apply_overrides(RunProgress(found["max_iterations"], tuple(known)), found),
            attempt=found["attempt"],
            began_at=self._clock(),
            worked_before_s=worked_s,
            report=None if report is None else GatherReport.model_validate(report),
            warnings=tuple(found["warnings"]),
        )

    async def begin(self, order: RunOrder, token: int, listed: DepartmentList) -> None:
        """Insert the document of a run with the departments that it works on."""
        warnings = [*listed.warnings, *listed.faults]
        for warning in warnings:
            log.warning("departments: %s", warning)
        departments = [department.model_dump(mode="json") for department in listed.departments]
        document: Document = {
            "_id": order.run_id,
            "project_id": order.project_id,
            "user_id": order.user_id,
            "max_iterations": order.max_iterations,
            "departments": departments,
            "warnings": warnings,
            "state": OPEN,
            "token": token,
            "attempt": 0,
            "attempt_reason": None,
            "opened_at": self._clock(),
            "closed_at": None,
            "worked_s": 0.0,
            "overrides": {"max_iterations": None, "thresholds": {}},
            "superseded_by": None,
            "report": None,
        }
        await self._documents.insert(RUNS, [document])

    async def supersede(self, run_id: str, by: str, token: int) -> None:
        """End a run that was not closed, and bar its attempts from writing."""
        change = Change(set={"state": SUPERSEDED, "superseded_by": by})
        await self._documents.update(RUNS, [Update(run_id, change, {"state": OPEN})])
        await self.stamp(run_id, token)

    async def stamp(self, run_id: str, token: int) -> None:
        """Write the token of the attempt that may write a run to everything of the run."""
        found = await self.find(run_id)
        if found is None:
            return
        places = [_place_of(run_id, position) for position in range(len(found["departments"]))]
        fresh: Document = {"iteration": 0, "iterations": {}, "first_score": None, "reason": None}
        fresh |= {"run_id": run_id, "token": token, "worked_s": 0.0, "first_notes": {}}
        if places:
            await self._documents.insert(PROGRESS, [{"_id": place, **fresh} for place in places])
        change, where = Change(set={"token": token}), {"token": {"$lt": token}}
        await self._documents.update(RUNS, [Update(run_id, change, where)])
        await self._documents.update(PROGRESS, [Update(place, change, where) for place in places])

    async def advance(
        self,
        run: Run,
        position: int,
        values: Mapping[str, Any],
        where: Mapping[str, Any],
        counts: Counts = NOTHING,
        *,
        before: Sequence[Write] = (),
    ) -> Run:
        """Change a department's progress where a condition holds; return the run with it.

        `counts` is what that adds to counters; `before` is written with it, and before it.
        """
        place = _place_of(run.id, position)
        change = Change(set={**values, "worked_s": self.worked_s(run)})
        ours = {**where, "_id": place, "token": run.token}
        answers = await self._documents.write([*before, Take(PROGRESS, ours, change, counts)])
        row: Document | None = answers[-1]
        if row is None:
            row = (await self._documents.get(PROGRESS, [place]))[place]
            if row["token"] != run.token:
                raise LockLost(run.id)
        changed = _with_row(run.progress.departments[position], row)
        return replace(run, progress=run.progress.with_department(position, changed))

    def worked_s(self, run: Run) -> float:
        """Return how long a run has been at work, seconds."""
        return run.worked_before_s + max(0.0, self._clock() - run.began_at)

    async def write(self, run_id: str, token: int, change: Change) -> None:
        """Change the document of a run."""
        update = Update(run_id, change, {"token": token})
        if not (await self._documents.update(RUNS, [update]))[0]:
            raise LockLost(run_id)

    async def change_open(self, run_id: str, change: Change) -> None:
        """Change the document of a run that is neither over nor taken over; see `read_open`."""
        if not (await self._documents.update(RUNS, [Update(run_id, change, {"state": OPEN})]))[0]:
            await self.read_open(run_id)


def _place_of(run_id: str, position: int) -> str:
    return f"{run_id}:{position}"


def _with_row(progress: DepartmentProgress, row: Document) -> DepartmentProgress:
    numbers = range(1, row["iteration"] + 1)
    rows = [row["iterations"][f"i{number}"] for number in numbers]
    reason = row["reason"]
    return replace(
        progress,
        first_score=row["first_score"],
        first_notes=row["first_notes"],
        iterations=tuple(
            replace(Iteration(**values), item_ids=tuple(values["item_ids"])) for values in rows
        ),
        reason=None if reason is None else StopReason(reason),
    )

"""What came of the demo's gather, read from the stores, and what is wrong with it."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.events.log import EventLog, SavedEvent
from aletheia.events.models import AutomationComplete, IterationComplete
from aletheia.gather.models import Run
from aletheia.gather.progress import DepartmentProgress
from aletheia.gather.run_records import RUNS
from aletheia.gather.runs import GatherRuns
from aletheia.items.content import SavedItem
from aletheia.quality.evaluation_store import EVALUATIONS, REQUESTS
from deployments.demo.runs import LOOK_EVERY_S, artifacts_of
from deployments.examples.departments import EXAMPLE_TEXTS, ExampleDepartment
from deployments.local import Local
from deployments.steps import Steps

PROJECT: Final = "demo"

EVALUATIONS_WITHIN_S: Final = 25.0
"""For the evaluations after the run; one takes some 8 s, most of it the start of a process."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation that the run asked for: the run that does it, and the score, once known."""

    run_id: str | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of the gather, as stores and server have it.

    Attributes:
        faults: what was said of departments that cannot be used.
        made: items that the run has saved, by department; `mocks` are marked as made up.
        theirs: documents of the application.
        repeats: what was dropped; rows of the run's artifact.
        evaluations: those that were asked for, by department.
    """

    run: Run
    faults: Sequence[str]
    made: Mapping[str, int]
    mocks: int
    theirs: int
    events: Sequence[SavedEvent]
    repeats: Sequence[Mapping[str, Any]]
    evaluations: Mapping[str, Evaluated]

    @property
    def departments(self) -> Sequence[DepartmentProgress]:
        """What became of each, in the order of the run."""
        return self.run.progress.departments


def find_problems(outcome: Outcome, departments: Sequence[ExampleDepartment]) -> list[str]:
    """Return what a gather did wrong, a sentence each."""
    problems: list[str] = []
    report = outcome.run.report
    if report is None or report.status != "completed":
        return [f"the run is {'open' if report is None else report.status}"]
    wanted = [example.slug for example in departments if example.is_listed and example.is_good]
    worked = [row.department for row in report.summary]
    if worked != wanted:
        problems.append(f"it worked on {worked}, not on {wanted}")
    rows = {row.department: row.items_created for row in report.summary if row.items_created}
    if rows != dict(outcome.made) or report.items_created != sum(outcome.made.values()):
        problems.append(f"it reports {report.items_created} items, {rows}; saved: {outcome.made}")
    if outcome.mocks != report.items_created:
        problems.append(f"{report.items_created - outcome.mocks} items are not marked as mock")
    if outcome.theirs != len(EXAMPLE_TEXTS):
        problems.append(f"{outcome.theirs} documents of {len(EXAMPLE_TEXTS)} are left")
    for example in departments:
        is_named = any(example.document["id"] in fault for fault in outcome.faults)
        if example.is_listed and not example.is_good and not is_named:
            problems.append(f"nothing is said of {example.slug}, which cannot be used")
    if not outcome.repeats:
        problems.append("nothing was dropped as a duplicate")
    return problems + _find_event_problems(outcome.events, report.items_created)


def _find_event_problems(events: Sequence[SavedEvent], created: int) -> list[str]:
    problems: list[str] = []
    numbers = [event.seq for event in events]
    if numbers != list(range(1, len(events) + 1)):
        problems.append(f"the events are numbered {numbers}")
    read = [event.read() for event in events]
    if not (read and isinstance(read[-1], AutomationComplete)):
        problems.append("the last event is not automation_complete")
    shown = sum(event.items_created for event in read if isinstance(event, IterationComplete))
    if shown != created:
        problems.append(f"the events show {shown} items, the report {created}")
    return problems


async def save_documents(directory: Path) -> None:
    """Save the application's documents in the project's collection, as it would itself."""
    content = EmbeddedContent(directory, PROJECT)
    await content.open()
    try:
        await content.insert_items(
            [SavedItem(f"{place:024x}", text) for place, text in enumerate(EXAMPLE_TEXTS, start=1)]
        )
    finally:
        await content.close()


async def read_outcome(
    directory: Path, run_id: str, repeats: Sequence[Mapping[str, Any]]
) -> Outcome:
    """Read the outcome of a run from the stores in a directory."""
    async with AsyncExitStack() as opened:
        documents, content = EmbeddedDocuments(directory), EmbeddedContent(directory, PROJECT)
        for store in (documents, content):
            await store.open()
            opened.push_async_callback(store.close)
        run = await GatherRuns(documents).load(run_id)
        ids = [item_id async for page in content.list_ids() for item_id in page]
        items = (await content.read_items(ids)).values()
        origins = [item.automation for item in items if item.automation is not None]
        ours = [origin for origin in origins if origin.run_id == run_id]
        return Outcome(
            run=run,
            faults=(await documents.get(RUNS, [run_id]))[run_id]["warnings"],
            made=Counter(origin.department for origin in ours),
            mocks=sum(origin.mock for origin in ours),
            theirs=len(items) - len(origins),
            events=await EventLog(documents).read(PROJECT),
            repeats=repeats,
            evaluations=await _read_evaluations(documents),
        )


async def await_evaluations(directory: Path, steps: Steps) -> str:
    """Wait until the evaluations that have a run are done; return how many are, in words."""
    began = time.monotonic()
    documents = EmbeddedDocuments(directory)
    await documents.open()
    try:
        while True:
            known = (await _read_evaluations(documents)).values()
            done = sum(evaluated.score is not None for evaluated in known)
            is_due = any(
                evaluated.run_id is not None and evaluated.score is None for evaluated in known
            )
            if not is_due or time.monotonic() - began > EVALUATIONS_WITHIN_S:
                return f"{done} of {len(known)} done"
            if steps.is_live:
                steps.say(f"{done} of {len(known)} evaluations are done")
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        await documents.close()


async def _read_evaluations(documents: EmbeddedDocuments) -> dict[str, Evaluated]:
    where = {"project_id": PROJECT}
    asked = await documents.find(REQUESTS, where, sort="department_number")
    stored = await documents.find(EVALUATIONS, where)
    done = {row["department"]: row["score"] for row in stored}
    return {
        row["department"]: Evaluated(row["run_id"], done.get(row["department"])) for row in asked
    }


def read_repeats(local: Local, run: str) -> list[dict[str, Any]]:
    """Read what was dropped from the run's table of duplicates."""
    for artifact in artifacts_of(local, run):
        if artifact["key"] == "gather-duplicates":
            rows = cast("list[dict[str, Any]]", json.loads(artifact["data"]))
            return [read_row(row) for row in rows if "repeats" in row]
    return []


def read_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the escapes of markdown."""
    return {
        name: re.sub(r"\\([^0-9A-Za-z\s])", r"\1", value) if isinstance(value, str) else value
        for name, value in row.items()
    }

"""The second half of the demo: a gather of a few departments, and what came of it.

The project holds some documents of the application before the run begins. A mock writes the items.
"""

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

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.events.log import EventLog, SavedEvent
from aletheia.events.models import AutomationComplete, Deduplicating, IterationComplete
from aletheia.gather.models import Run
from aletheia.gather.progress import WARNINGS, DepartmentProgress, StopReason
from aletheia.gather.run_records import RUNS
from aletheia.gather.runs import GatherRuns
from aletheia.items.content import SavedItem
from aletheia.quality.evaluation_store import EVALUATIONS, REQUESTS
from deployments.demo_runs import LOOK_EVERY_S, artifacts_of, show_links, watch
from deployments.event_lines import describe
from deployments.examples.departments import EXAMPLE_TEXTS, ExampleDepartment, example_departments
from deployments.local import Local
from deployments.steps import Steps
from deployments.up import start_run

GATHER: Final = "automated_gather_creation/automated_gather_creation"

PROJECT: Final = "demo"

MAX_ITERATIONS: Final = 13
"""One department stalls only after its fourth iteration, and the last one is to have too few."""

MAX_REPEATS: Final = 6
"""Rows of the table of duplicates."""

EVALUATIONS_WITHIN_S: Final = 25.0
"""For the evaluations after the run; one takes some 8 s, most of it the start of a process."""

_SHOWN: Final = 48
"""Characters of an item in that table."""

_BARS: Final = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How an evaluation stands that the run asked for.

    Attributes:
        run_id: the run that does it; `None` as long as none is known.
        score: 0 to 100; `None` while it is not done.
    """

    run_id: str | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the gather, as stores and server have it.

    Attributes:
        run: with its progress and its report.
        faults: what was said of departments that cannot be used.
        made: items that the run has saved, by department.
        mocks: those of them that are marked as made up.
        theirs: documents of the application.
        events: of the project, in order.
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


def run_gather(local: Local, steps: Steps, *, is_made_up: bool) -> bool:
    """Run a gather and print what came of it.

    Args:
        local: where everything runs; its embedded store is used.
        steps: told what happens.
        is_made_up: whether vectors mean nothing, as they are a mock's or a fake's.

    Returns:
        Whether it did what it should.

    Raises:
        ProgramFailed: the run did not complete.
    """
    departments = example_departments()
    _introduce(steps.console, departments)
    with steps.step(f"Save {len(EXAMPLE_TEXTS)} documents of the application"):
        asyncio.run(save_documents(local.directory))
    with steps.step(f"Run automated_gather_creation, {MAX_ITERATIONS} iterations at most") as step:
        parameters = {"project_id": PROJECT, "user_id": "demo", "max_iterations": MAX_ITERATIONS}
        run = start_run(local, GATHER, parameters)
        step.detail = _follow(local, run, steps)
    with steps.step("Wait for the evaluations of those that reached their threshold") as step:
        step.detail = asyncio.run(_await_evaluations(local.directory, steps))
    outcome = asyncio.run(read_outcome(local.directory, run, _read_repeats(local, run)))
    is_as_expected = show(steps.console, outcome, departments, is_made_up=is_made_up)
    show_links(steps.console, local, run, "The gather")
    return is_as_expected


def show(
    console: Console,
    outcome: Outcome,
    departments: Sequence[ExampleDepartment],
    *,
    is_made_up: bool,
) -> bool:
    """Print what came of a gather, and whether that is what should have.

    Args:
        console: where to.
        outcome: of the gather.
        departments: those of the application.
        is_made_up: whether vectors, and so similarities, mean nothing.

    Returns:
        Whether it is.
    """
    console.print()
    console.print(_tabulate_departments(outcome))
    for said in outcome.faults:
        console.print(Padding(Text(f"Passed over: {said}"), (0, 2)))
    console.print()
    console.print(_tabulate_quality(outcome.departments))
    console.print()
    if outcome.repeats:
        console.print(_tabulate_repeats(outcome.repeats, is_made_up=is_made_up))
        left = len(outcome.repeats) - MAX_REPEATS
        more = f" {left} more stand in the artifact gather-duplicates." if left > 0 else ""
        console.print(f"  * a document of the application.{more}\n", highlight=False)
    what = "items and vectors" if is_made_up else "items"
    console.print(f"  [bold red]These {what} are made up by a mock and mean nothing.[/]")
    problems = find_problems(outcome, departments)
    if problems:
        console.print("\n  [bold red]The gather did not do what it should:[/]")
        for problem in problems:
            console.print(f"    {problem}", markup=False, highlight=False)
    else:
        _confirm(console, outcome, departments)
    return not problems


def find_problems(outcome: Outcome, departments: Sequence[ExampleDepartment]) -> list[str]:
    """Say in what a gather differs from what it should have done, a sentence each."""
    problems: list[str] = []
    report = outcome.run.report
    if report is None or report.status != "completed":
        return [f"the run is {'open' if report is None else report.status}"]
    wanted = [one.slug for one in departments if one.is_listed and one.is_good]
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
    for one in departments:
        is_told = any(one.document["id"] in said for said in outcome.faults)
        if one.is_listed and not one.is_good and not is_told:
            problems.append(f"nothing is said of {one.slug}, which cannot be used")
    if not outcome.repeats:
        problems.append("nothing was dropped as a duplicate")
    return problems + _find_event_problems(outcome.events, report.items_created)


def _find_event_problems(events: Sequence[SavedEvent], created: int) -> list[str]:
    problems: list[str] = []
    numbers = [one.seq for one in events]
    if numbers != list(range(1, len(events) + 1)):
        problems.append(f"the events are numbered {numbers}")
    said = [one.read() for one in events]
    if not (said and isinstance(said[-1], AutomationComplete)):
        problems.append("the last event is not automation_complete")
    told = sum(one.items_created for one in said if isinstance(one, IterationComplete))
    if told != created:
        problems.append(f"the events tell of {told} items, the report of {created}")
    return problems


async def save_documents(directory: Path) -> None:
    """Put the application's documents into the project's collection, as it would itself."""
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
    """Read from the stores what came of a run.

    Args:
        directory: of the stores.
        run_id: the run.
        repeats: rows of the run's table of duplicates.
    """
    async with AsyncExitStack() as opened:
        documents, content = EmbeddedDocuments(directory), EmbeddedContent(directory, PROJECT)
        for store in (documents, content):
            await store.open()
            opened.push_async_callback(store.close)
        run = await GatherRuns(documents).load(run_id)
        ids = [one async for page in content.list_ids() for one in page]
        items = (await content.read_items(ids)).values()
        origins = [one.automation for one in items if one.automation is not None]
        ours = [one for one in origins if one.run_id == run_id]
        return Outcome(
            run=run,
            faults=(await documents.get(RUNS, [run_id]))[run_id]["warnings"],
            made=Counter(one.department for one in ours),
            mocks=sum(one.mock for one in ours),
            theirs=len(items) - len(origins),
            events=await EventLog(documents).read(PROJECT),
            repeats=repeats,
            evaluations=await _read_evaluations(documents),
        )


async def _await_evaluations(directory: Path, steps: Steps) -> str:
    """Wait until the evaluations that have a run are done; say how many are."""
    began = time.monotonic()
    documents = EmbeddedDocuments(directory)
    await documents.open()
    try:
        while True:
            known = (await _read_evaluations(documents)).values()
            done = sum(one.score is not None for one in known)
            is_due = any(one.run_id is not None and one.score is None for one in known)
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
    done = {one["department"]: one["score"] for one in await documents.find(EVALUATIONS, where)}
    return {
        one["department"]: Evaluated(one["run_id"], done.get(one["department"])) for one in asked
    }


def _read_repeats(local: Local, run: str) -> list[dict[str, Any]]:
    for artifact in artifacts_of(local, run):
        if artifact["key"] == "gather-duplicates":
            rows = cast("list[dict[str, Any]]", json.loads(artifact["data"]))
            return [read_row(row) for row in rows if "repeats" in row]
    return []


def read_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Take back what makes texts stand as they are in markdown."""
    return {
        name: re.sub(r"\\([^0-9A-Za-z\s])", r"\1", value) if isinstance(value, str) else value
        for name, value in row.items()
    }


def _follow(local: Local, run: str, steps: Steps) -> str:
    """Print a run's events as they come, until its end; return what is to be said about it."""
    documents = EmbeddedDocuments(local.directory)
    log = EventLog(documents)
    events: list[SavedEvent] = []
    with asyncio.Runner() as runner:
        runner.run(documents.open())
        try:

            def look(state: str) -> str:
                for event in runner.run(log.read(PROJECT, after=len(events))):
                    events.append(event)
                    if not isinstance(event.read(), Deduplicating):
                        steps.console.print(f"    {describe(event)}", highlight=False)
                if state == "RUNNING":
                    return _say_stage(events)
                return f"run {state.lower()}; a worker starts a process for it"

            return watch(local, run, GATHER, steps, look)
        finally:
            runner.run(documents.close())


def _say_stage(events: Sequence[SavedEvent]) -> str:
    if any(isinstance(event.read(), IterationComplete) for event in events):
        return f"the run writes and compares items; {len(events)} events so far"
    return "the run reads its departments and loads the embedding model"


def _introduce(console: Console, departments: Sequence[ExampleDepartment]) -> None:
    good = sum(one.is_listed and one.is_good for one in departments)
    console.print(
        f"\n[bold]2. Gather[/]\n\nAn example application has {len(departments)} departments: "
        f"{good} to fill with items, a faulty one, a closed one.\nThe deployment "
        "automated_gather_creation writes items for each, drops what repeats something,\nsaves the "
        "rest and scores the department, until it is good enough or a stop rule ends it.\n"
        "[bold red]A mock writes and judges: no key is needed, nothing is paid. Every record says "
        "so.[/]\n",
        highlight=False,
    )


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold")


def _tabulate_departments(outcome: Outcome) -> Table:
    iterations = outcome.run.progress.iterations
    table = _table(f"What became of the departments in {iterations} iterations")
    table.add_column("department")
    for heading in ("quality", "items"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why it ended", no_wrap=True)
    table.add_column("evaluated", no_wrap=True)
    for one in outcome.departments:
        slug = one.department.slug
        table.add_row(
            escape(one.department.name),
            f"{_score(one.score)} of {one.threshold:g}",
            str(outcome.made.get(slug, 0)),
            _reason(one.reason),
            _say_evaluation(outcome.evaluations.get(slug)),
        )
    table.add_section()
    table.add_row("all", "", str(sum(outcome.made.values())), "", "")
    return table


def _tabulate_quality(departments: Sequence[DepartmentProgress]) -> Table:
    """Show quality over iterations: a bar, 0 to 100, and a number each."""
    longest = max((len(one.iterations) for one in departments), default=0)
    table = _table("Quality, 0 to 100, before the first iteration and after each")
    table.add_column("department")
    table.add_column("", no_wrap=True)
    for number in range(longest + 1):
        table.add_column(str(number) if number else "before", justify="right")
    for one in departments:
        scores = [
            f"[green]{score:.0f}[/]" if score >= one.threshold else f"{score:.0f}"
            for score in one.scores
        ]
        table.add_row(escape(one.department.name), draw_bars(one.scores), *scores)
    return table


def draw_bars(scores: Sequence[float]) -> str:
    """Draw scores, 0 to 100, as one bar each."""
    steps = len(_BARS)
    return "".join(_BARS[min(steps - 1, int(score * steps / 100))] for score in scores)


def _tabulate_repeats(repeats: Sequence[Mapping[str, Any]], *, is_made_up: bool) -> Table:
    table = _table(f"What was dropped as a repetition: {len(repeats)} items")
    table.add_column("dropped")
    table.add_column("repeats")
    table.add_column("found by", no_wrap=True)
    table.add_column("alike", no_wrap=True)
    table.add_column("decision", no_wrap=True)
    for row in repeats[:MAX_REPEATS]:
        table.add_row(
            _shorten(row["dropped"]),
            f"{_mark_theirs(row['repeats'])}{_shorten(row['repeats'])}",
            row["found by"],
            "" if is_made_up else row["similarity"],
            row.get("decision", ""),
        )
    return table


def _mark_theirs(text: str) -> str:
    start = text.removesuffix("…")
    is_theirs = any(one.startswith(start) for one in EXAMPLE_TEXTS)
    return "[bold]*[/] " if is_theirs else ""


def _shorten(text: str) -> str:
    return escape(text if len(text) <= _SHOWN else f"{text[:_SHOWN].rsplit(' ', 1)[0]} …")


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:.1f}"


def _reason(reason: StopReason | None) -> str:
    words = "it did not" if reason is None else reason.replace("_", " ")
    if reason is StopReason.THRESHOLD_REACHED:
        return f"[green]{words}[/]"
    return f"[yellow]{words}[/]" if reason in WARNINGS else words


def _say_evaluation(evaluation: Evaluated | None) -> str:
    if evaluation is None:
        return ""
    if evaluation.score is not None:
        return f"{evaluation.score:.1f}"
    return "asked for" if evaluation.run_id is None else "under way"


def _confirm(console: Console, outcome: Outcome, departments: Sequence[ExampleDepartment]) -> None:
    asked = len(outcome.evaluations)
    done = sum(one.score is not None for one in outcome.evaluations.values())
    verb = "is" if done == 1 else "are"
    faulty = [one.document["name"] for one in departments if one.is_listed and not one.is_good]
    absent = [one.document["name"] for one in departments if not one.is_listed]
    console.print(
        f"\n  [green]As it should be:[/] store, report and events agree on "
        f"{sum(outcome.made.values())} items; the {len(outcome.events)} events are\n"
        f"  numbered without a gap; {', '.join(faulty)} was reported as faulty and passed over;\n"
        f"  {', '.join(absent)}, closed, does not appear; the application's {outcome.theirs} "
        f"documents are untouched;\n  {asked} evaluations were asked for, {done} of them {verb} "
        "done.",
        highlight=False,
    )

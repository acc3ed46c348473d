"""What came of the demo's gather: its tables, and what is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Final, TypeAlias

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aletheia.events.log import SavedEvent
from aletheia.events.models import AutomationComplete, IterationComplete
from aletheia.gather.progress import WARNINGS, DepartmentProgress, Run, StopReason
from aletheia.items.content import SavedItem
from aletheia.items.decisions import KeptDecision
from deployments.console import console
from deployments.demo.runs import conclude, titled_table
from deployments.examples.departments import EXAMPLE_DEPARTMENTS, EXAMPLE_TEXTS

MAX_REPEATS: Final = 6
"""Rows of the table of duplicates."""

GOOD: Final = [it for it in EXAMPLE_DEPARTMENTS if it.is_listed and it.is_good]
FAULTY: Final = [it for it in EXAMPLE_DEPARTMENTS if it.is_listed and not it.is_good]
CLOSED: Final = [it for it in EXAMPLE_DEPARTMENTS if not it.is_listed]

Repeat: TypeAlias = tuple[KeptDecision, SavedItem | None]
"""What was dropped, and what it repeats, unless that is not there any more."""

_BARS: Final = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of the gather, as stores and server have it."""

    run: Run
    faults: Sequence[str]  # what was said of departments that cannot be used
    made: Mapping[str, int]  # items that the run has saved, by department
    mocks: int  # those of them that are marked as made up
    theirs: int  # documents of the application
    events: Sequence[SavedEvent]
    repeats: Sequence[Repeat]
    evaluations: Mapping[str, float | str]  # by department; `under way` or `asked for`


def find_problems(outcome: Outcome) -> list[str]:
    """Return what a gather did wrong, a sentence each."""
    report = outcome.run.report
    if report is None or report.status != "completed":
        return [f"the run is {'open' if report is None else report.status}"]
    wanted = [example.slug for example in GOOD]
    worked = [row.department for row in report.summary]
    created, made = report.items_created, dict(outcome.made)
    rows = {row.department: row.items_created for row in report.summary if row.items_created}
    numbers = [event.seq for event in outcome.events]
    events = [event.read() for event in outcome.events]
    shown = sum(event.items_created for event in events if isinstance(event, IterationComplete))
    is_right = {
        f"it worked on {worked}, not on {wanted}": worked == wanted,
        f"it reports {created} items, {rows}; saved: {made}": rows == made
        and created == sum(made.values()),
        f"{created - outcome.mocks} items are not marked as mock": outcome.mocks == created,
        f"{outcome.theirs} documents of {len(EXAMPLE_TEXTS)} are left": outcome.theirs
        == len(EXAMPLE_TEXTS),
        "nothing was dropped as a duplicate": bool(outcome.repeats),
        f"the events are numbered {numbers}": numbers == list(range(1, len(numbers) + 1)),
        "the last event is not automation_complete": isinstance(
            next(reversed(events), None), AutomationComplete
        ),
        f"the events show {shown} items, the report {created}": shown == created,
    }
    is_right |= {
        f"nothing is said of {example.slug}, which cannot be used": any(
            example.document["id"] in fault for fault in outcome.faults
        )
        for example in FAULTY
    }
    return [problem for problem, holds in is_right.items() if not holds]


def show(outcome: Outcome, *, is_made_up: bool) -> bool:
    """Print the outcome of a gather; return whether it is as expected."""
    console.print()
    console.print(_tabulate_departments(outcome))
    for said in outcome.faults:
        console.print(Padding(Text(f"Passed over: {said}"), (0, 2)))
    console.print()
    console.print(_tabulate_quality(outcome.run.progress.departments))
    console.print()
    if outcome.repeats:
        console.print(_tabulate_repeats(outcome.repeats, is_made_up=is_made_up))
        left = len(outcome.repeats) - MAX_REPEATS
        more = f" {left} more stand in the artifact gather-duplicates." if left > 0 else ""
        console.print(f"  * a document of the application.{more}\n")
    what = "items and vectors" if is_made_up else "items"
    console.print(f"  [bold red]These {what} are made up by a mock and mean nothing.[/]")
    asked = len(outcome.evaluations)
    done = sum(not isinstance(score, str) for score in outcome.evaluations.values())
    return conclude(
        "The gather did not do what it should:",
        find_problems(outcome),
        "store, report and events agree on "
        f"{sum(outcome.made.values())} items; the {len(outcome.events)} events are\n"
        f"  numbered without a gap; {FAULTY[0].name} was reported as faulty and passed over;\n"
        f"  {CLOSED[0].name}, closed, does not appear; the application's {outcome.theirs} "
        f"documents are untouched;\n  {asked} evaluations were asked for, {done} of them "
        f"{'is' if done == 1 else 'are'} done.",
    )


def _tabulate_departments(outcome: Outcome) -> Table:
    title = f"What became of the departments in {outcome.run.progress.iterations} iterations"
    headings = ("department", "quality", "items", "why it ended", "evaluated")
    table = titled_table(title, *headings, right=["quality", "items"])
    for column in table.columns[1:]:
        column.no_wrap = True
    for progress in outcome.run.progress.departments:
        slug = progress.department.slug
        score = "none" if progress.score is None else f"{progress.score:.1f}"
        evaluated = outcome.evaluations.get(slug, "")
        table.add_row(
            escape(progress.department.name),
            f"{score} of {progress.threshold:g}",
            str(outcome.made.get(slug, 0)),
            _reason(progress.reason),
            evaluated if isinstance(evaluated, str) else f"{evaluated:.1f}",
        )
    table.add_section()
    table.add_row("all", "", str(sum(outcome.made.values())), "", "")
    return table


def _tabulate_quality(departments: Sequence[DepartmentProgress]) -> Table:
    """Show quality over iterations: a bar, 0 to 100, and a number each."""
    iterations = max((len(progress.iterations) for progress in departments), default=0)
    numbers = ["before", *map(str, range(1, iterations + 1))]
    title = "Quality, 0 to 100, before the first iteration and after each"
    table = titled_table(title, "department", "", *numbers, right=numbers)
    table.columns[1].no_wrap = True
    for progress in departments:
        scores = [
            f"[green]{score:.0f}[/]" if score >= progress.threshold else f"{score:.0f}"
            for score in progress.scores
        ]
        table.add_row(escape(progress.department.name), draw_bars(progress.scores), *scores)
    return table


def draw_bars(scores: Sequence[float]) -> str:
    """Draw scores, 0 to 100, as one bar each."""
    steps = len(_BARS)
    return "".join(_BARS[min(steps - 1, int(score * steps / 100))] for score in scores)


def _tabulate_repeats(repeats: Sequence[Repeat], *, is_made_up: bool) -> Table:
    title = f"What was dropped as a repetition: {len(repeats)} items"
    table = titled_table(title, "dropped", "repeats", "found by", "alike", "decision")
    for column in table.columns[2:]:
        column.no_wrap = True
    for drop, match in repeats[:MAX_REPEATS]:
        mark = "[bold]*[/] " if match is not None and match.automation is None else ""
        score = drop.decision.score
        table.add_row(
            _shorten(drop.item.content),
            f"{mark}{_shorten('' if match is None else match.content)}",
            drop.decision.tier.replace("_", " "),
            "" if is_made_up or score is None else f"{score:.3f}",
            drop.id,
        )
    return table


def _shorten(text: str) -> str:
    return escape(shorten(text, 50, placeholder=" …"))


def _reason(reason: StopReason | None) -> str:
    words = "it did not" if reason is None else reason.replace("_", " ")
    if reason is StopReason.THRESHOLD_REACHED:
        return f"[green]{words}[/]"
    return f"[yellow]{words}[/]" if reason in WARNINGS else words

"""Tables of what came of the demo's gather."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aletheia.gather.progress import WARNINGS, DepartmentProgress, StopReason
from deployments.demo.gather_outcome import Evaluated, Outcome, find_problems
from deployments.examples.departments import EXAMPLE_TEXTS, ExampleDepartment

MAX_REPEATS: Final = 6
"""Rows of the table of duplicates."""

_SHOWN: Final = 48
"""Characters of an item in that table."""

_BARS: Final = "▁▂▃▄▅▆▇█"


def show(
    console: Console,
    outcome: Outcome,
    departments: Sequence[ExampleDepartment],
    *,
    is_made_up: bool,
) -> bool:
    """Print the outcome of a gather; return whether it is as expected.

    Vectors that are made up, and so similarities, mean nothing.
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
        console.print(f"  * a document of the application.{more}\n")
    what = "items and vectors" if is_made_up else "items"
    console.print(f"  [bold red]These {what} are made up by a mock and mean nothing.[/]")
    problems = find_problems(outcome, departments)
    if problems:
        console.print("\n  [bold red]The gather did not do what it should:[/]")
        for problem in problems:
            console.print(f"    {problem}", markup=False)
    else:
        _confirm(console, outcome, departments)
    return not problems


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
    for progress in outcome.departments:
        slug = progress.department.slug
        table.add_row(
            escape(progress.department.name),
            f"{_score(progress.score)} of {progress.threshold:g}",
            str(outcome.made.get(slug, 0)),
            _reason(progress.reason),
            _say_evaluation(outcome.evaluations.get(slug)),
        )
    table.add_section()
    table.add_row("all", "", str(sum(outcome.made.values())), "", "")
    return table


def _tabulate_quality(departments: Sequence[DepartmentProgress]) -> Table:
    """Show quality over iterations: a bar, 0 to 100, and a number each."""
    iterations = max((len(progress.iterations) for progress in departments), default=0)
    table = _table("Quality, 0 to 100, before the first iteration and after each")
    table.add_column("department")
    table.add_column("", no_wrap=True)
    for number in range(iterations + 1):
        table.add_column(str(number) if number else "before", justify="right")
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
    is_theirs = any(text.startswith(start) for text in EXAMPLE_TEXTS)
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
    done = sum(evaluated.score is not None for evaluated in outcome.evaluations.values())
    verb = "is" if done == 1 else "are"
    faulty = [
        example.document["name"]
        for example in departments
        if example.is_listed and not example.is_good
    ]
    absent = [example.document["name"] for example in departments if not example.is_listed]
    console.print(
        f"\n  [green]As it should be:[/] store, report and events agree on "
        f"{sum(outcome.made.values())} items; the {len(outcome.events)} events are\n"
        f"  numbered without a gap; {', '.join(faulty)} was reported as faulty and passed over;\n"
        f"  {', '.join(absent)}, closed, does not appear; the application's {outcome.theirs} "
        f"documents are untouched;\n  {asked} evaluations were asked for, {done} of them {verb} "
        "done."
    )

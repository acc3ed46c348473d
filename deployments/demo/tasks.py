"""The first half of the demo: what became of the tasks of the example upstream."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Final, cast
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from deployments.console import console
from deployments.demo.runs import artifacts_of, conclude, titled_table
from deployments.examples.tasks import ExampleTask
from deployments.examples.upstream import read_identity
from deployments.local import Local
from deployments.processes import request

NEIGHBOURS: Final = 3

REPETITION_COSINE: Final = 0.8
"""From here on two texts have nearly the same words, which would prove little."""

MAX_NAMED: Final = 10
"""Tasks that ended otherwise than they should, by their names."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one task, as the upstream shows it; the state of one without an id is ours."""

    task: ExampleTask
    shown: Mapping[str, Any]

    @property
    def state(self) -> str:
        """Its state; `rejected` is one that has no id."""
        return cast("str", self.shown.get("state", "?"))

    @property
    def code(self) -> str:
        """The code of its error, if it failed."""
        return cast("str", self.shown.get("error", {}).get("code", ""))

    @property
    def wanted(self) -> tuple[str, str]:
        """The state and code it should have."""
        if not self.task.is_reportable:
            return "rejected", ""
        return ("succeeded", "") if self.task.code is None else ("failed", self.task.code)

    @property
    def is_expected(self) -> bool:
        """Whether it should have ended just so."""
        return (self.state, self.code) == self.wanted

    @property
    def text(self) -> str:
        """The beginning of the text it asked to embed, in whichever dialect."""
        entry = self.task.entry
        content = next(entry[name] for name in ("data", "content", "input_data") if name in entry)
        return escape(shorten(content["text"], 160, placeholder=" …"))


def show(outcomes: Sequence[Outcome], stats: Mapping[str, Any], *, is_made_up: bool) -> bool:
    """Print the outcomes of all tasks; return whether they are as expected."""
    console.print(_tabulate(outcomes))
    if done := [outcome for outcome in outcomes if "result" in outcome.shown]:
        seconds = float(stats.get("elapsed_s") or 0) or 1e-9
        tokens = sum(int(outcome.shown.get("usage", {}).get("tokens", 0)) for outcome in done)
        makers = Counter(
            f"{made['provider']}: {made['model']}, {made['dimensions']} dimensions"
            for made in (outcome.shown["result"] for outcome in done)
        )
        by = "\n".join(f"  {count} by {maker}" for maker, count in makers.most_common())
        console.print(
            f"  {len(outcomes)} tasks in {seconds:.1f} s, {len(outcomes) / seconds:.0f} a second, "
            "from the first page to the last report;\n"
            f"  {'' if is_made_up else 'that includes loading the model. '}"
            f"{tokens:,} tokens.\n{by}\n"
        )
        if is_made_up:
            console.print("  [bold red]These vectors are made up and mean nothing.[/]\n")
        else:
            console.print(_tabulate_neighbours(done))
    unexpected = [outcome for outcome in outcomes if not outcome.is_expected]
    good = sum(outcome.wanted[0] == "succeeded" for outcome in outcomes)
    return conclude(
        f"{len(unexpected)} tasks did not end as they should:",
        [
            f"{outcome.task.id}: {outcome.state} {outcome.code}, "
            f"expected {' with '.join(filter(None, outcome.wanted))}"
            for outcome in unexpected[:MAX_NAMED]
        ],
        f"{good} good tasks were reported succeeded,\n"
        f"  {len(outcomes) - good} broken ones told apart, each with its code.",
    )


def find_neighbours(
    vectors: NDArray[np.float64], *, count: int = NEIGHBOURS
) -> tuple[int, list[tuple[int, float]]]:
    """Find the text whose `count` nearest are nearest; repetitions are no neighbours.

    `vectors` is `(n, d)`. Returns its index, and those of the nearest and the farthest with cosine.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    all_cosines = unit @ unit.T
    cosines = np.where(all_cosines >= REPETITION_COSINE, -1.0, all_cosines)
    nearest = np.argsort(-cosines, axis=1)[:, :count]
    last = np.take_along_axis(cosines, nearest[:, -1:], axis=1)[:, 0]
    chosen = int(np.argmax(last))
    shown = [*nearest[chosen], np.argmin(all_cosines[chosen])]
    return chosen, [(int(index), float(all_cosines[chosen, index])) for index in shown]


def count_states(local: Local, state: str) -> str:
    """Return the state of the run, and of the tasks, in words."""
    states: dict[str, int] = read_upstream(local, "/stats").get("by_state", {})
    counts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
    return f"run {state}; upstream: {counts}"


def read_upstream(local: Local, path: str) -> dict[str, Any]:
    """Read a page of the example upstream."""
    upstream = local.running("upstream")
    if upstream is None:
        raise local.failure("upstream", "has ended")
    return cast("dict[str, Any]", request("GET", f"{upstream.url}{path}") or {})


def collect_outcomes(local: Local, run: str, tasks: Sequence[ExampleTask]) -> list[Outcome]:
    """Read the end of each task from the upstream, and of nameless ones from the report."""
    upstream = local.running("upstream")
    url = f"{upstream.url if upstream is not None else ''}/api/ai-tasks/"
    rejected = _count_rejected(local, run)
    outcomes: list[Outcome] = []
    for task in tasks:
        if task.is_reportable:
            found = request("GET", f"{url}{quote(task.id, safe='')}")
            shown = cast("dict[str, Any]", found or {})
        else:
            shown = {"state": "rejected" if rejected > 0 else "pending"}
            rejected -= 1
        outcomes.append(Outcome(task, shown))
    return outcomes


def _count_rejected(local: Local, run: str) -> int:
    """Return the number of entries without an id, from the run's table."""
    for artifact in artifacts_of(local, run):
        if artifact["key"] == "shift-report":
            rows = json.loads(artifact["data"])
            return sum(row["tasks"] for row in rows if row["what"] == "rejected")
    return 0


def _tabulate(outcomes: Sequence[Outcome]) -> Table:
    counts = Counter(
        (read_identity(outcome.task.entry)[1], outcome.state, outcome.code, outcome.is_expected)
        for outcome in outcomes
    )
    headings = ("type", "state", "code", "tasks", "as expected")
    table = titled_table("What became of the tasks", *headings, right=["tasks"])
    for (kind, state, code, is_expected), count in sorted(counts.items()):
        verdict = "[green]yes[/]" if is_expected else "[bold red]no[/]"
        table.add_row(kind, state, code, str(count), verdict)
    return table


def _tabulate_neighbours(done: Sequence[Outcome]) -> Table:
    vectors = np.array([outcome.shown["result"]["embedding"] for outcome in done], np.float64)
    chosen, neighbours = find_neighbours(vectors)
    table = titled_table("Nearest neighbours of one text, by cosine, and the farthest")
    table.show_header = False
    table.add_row("text", done[chosen].text, end_section=True)
    for index, cosine in neighbours[:-1]:
        table.add_row(f"{cosine:.2f}", done[index].text)
    table.add_section()
    index, cosine = neighbours[-1]
    table.add_row(f"{cosine:.2f}", f"[dim]{done[index].text}[/]")
    return table

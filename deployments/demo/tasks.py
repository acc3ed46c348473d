"""The first half of the demo: what became of the tasks of the example upstream."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from deployments.demo.runs import artifacts_of
from deployments.examples.tasks import ExampleTask
from deployments.local import TITLES, Local
from deployments.processes import ProgramFailed, request

NEIGHBOURS: Final = 3

REPETITION_COSINE: Final = 0.8
"""From here on two texts have nearly the same words, which would prove little."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one task, as the upstream has it; `rejected` is one that has no id."""

    task: ExampleTask
    type: str
    state: str
    code: str | None
    result: Mapping[str, Any]
    usage: Mapping[str, Any]

    @property
    def is_expected(self) -> bool:
        """Whether it should have ended just so."""
        if not self.task.is_reportable:
            return self.state == "rejected"
        wanted = "succeeded" if self.task.code is None else "failed"
        return self.state == wanted and self.code == self.task.code

    @property
    def text(self) -> str:
        """The text it asked to embed, in whichever dialect."""
        for name in ("data", "content", "input_data"):
            if name in self.task.entry:
                return cast("str", self.task.entry[name]["text"])
        return ""


def show(
    console: Console, outcomes: Sequence[Outcome], stats: Mapping[str, Any], *, is_made_up: bool
) -> bool:
    """Print the outcomes of all tasks; return whether they are as expected.

    Vectors that are made up, by a mock or an example, mean nothing.
    """
    console.print(_tabulate(outcomes))
    done = [outcome for outcome in outcomes if outcome.result]
    if done:
        seconds = float(stats.get("elapsed_s") or 0) or 1e-9
        tokens = sum(int(outcome.usage.get("tokens", 0)) for outcome in done)
        makers = Counter(
            f"{made['provider']}: {made['model']}, {made['dimensions']} dimensions"
            for made in (outcome.result for outcome in done)
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
            _show_neighbours(console, done)
    return _conclude(console, outcomes)


def find_neighbours(
    vectors: NDArray[np.float64], *, count: int = NEIGHBOURS
) -> tuple[int, list[tuple[int, float]]]:
    """Find the text whose `count` nearest are nearest; repetitions are no neighbours.

    `vectors` is `(n, d)`, not zero, `n > count`. Returns the index of the text, and index and
    cosine of each neighbour, nearest first.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    cosines[cosines >= REPETITION_COSINE] = -1.0
    nearest = np.argsort(-cosines, axis=1)[:, :count]
    last = np.take_along_axis(cosines, nearest[:, -1:], axis=1)[:, 0]
    chosen = int(np.argmax(last))
    return chosen, [(int(index), float(cosines[chosen, index])) for index in nearest[chosen]]


def count_states(local: Local, state: str) -> str:
    """Return the state of the run, and of the tasks, in words."""
    stats = read_upstream(local, "/stats")
    states: dict[str, int] = stats.get("by_state", {})
    counts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
    return f"run {state.lower()}; upstream: {counts}"


def read_upstream(local: Local, path: str) -> dict[str, Any]:
    """Read a page of the example upstream."""
    upstream = local.running("upstream")
    if upstream is None:
        log, tail = local.log("upstream"), local.tail("upstream")
        raise ProgramFailed(TITLES["upstream"], "has ended", log, tail)
    return cast("dict[str, Any]", request("GET", f"{upstream.url}{path}") or {})


def collect_outcomes(local: Local, run: str, tasks: Sequence[ExampleTask]) -> list[Outcome]:
    """Read the end of each task from the upstream, and of nameless ones from the report."""
    upstream = local.running("upstream")
    url = f"{upstream.url if upstream is not None else ''}/api/ai-tasks/"
    rejected = _rejected(local, run)
    outcomes: list[Outcome] = []
    with httpx.Client(trust_env=False, timeout=10) as client:
        for task in tasks:
            entry = task.entry
            kind = str(entry.get("type", entry.get("task_type"))).lower()
            if not task.is_reportable:
                state = "rejected" if rejected > 0 else "pending"
                rejected -= 1
                outcomes.append(Outcome(task, kind, state, None, {}, {}))
                continue
            task_id = quote(str(entry.get("id", entry.get("_id"))), safe="")
            shown: dict[str, Any] = client.get(f"{url}{task_id}").json()
            code = shown.get("error", {}).get("code")
            result, usage = shown.get("result", {}), shown.get("usage", {})
            outcomes.append(Outcome(task, kind, shown.get("state", "?"), code, result, usage))
    return outcomes


def _rejected(local: Local, run: str) -> int:
    """Return the number of entries without an id, from the run's table."""
    for artifact in artifacts_of(local, run):
        if artifact["key"] == "shift-report":
            rows = json.loads(artifact["data"])
            return sum(row["tasks"] for row in rows if row["what"] == "rejected")
    return 0


def _tabulate(outcomes: Sequence[Outcome]) -> Table:
    counts = Counter(
        (outcome.type, outcome.state, outcome.code or "", outcome.is_expected)
        for outcome in outcomes
    )
    table = Table(title="What became of the tasks", title_justify="left", title_style="bold")
    for heading in ("type", "state", "code", "tasks", "as expected"):
        table.add_column(heading, justify="right" if heading == "tasks" else "left")
    for (kind, state, code, is_expected), count in sorted(counts.items()):
        verdict = "[green]yes[/]" if is_expected else "[bold red]no[/]"
        table.add_row(kind, state, code, str(count), verdict)
    return table


def _show_neighbours(console: Console, done: Sequence[Outcome]) -> None:
    vectors = np.array([outcome.result["embedding"] for outcome in done], dtype=np.float64)
    chosen, neighbours = find_neighbours(vectors)
    table = Table(
        title="Nearest neighbours of one text, by cosine, and the farthest",
        title_justify="left",
        title_style="bold",
        show_header=False,
    )
    table.add_row("text", _shorten(done[chosen].text))
    table.add_section()
    for index, cosine in neighbours:
        table.add_row(f"{cosine:.2f}", _shorten(done[index].text))
    farthest = int(np.argmin(vectors @ vectors[chosen]))
    table.add_section()
    cosine = float(_unit(vectors[farthest]) @ _unit(vectors[chosen]))
    table.add_row(f"{cosine:.2f}", f"[dim]{_shorten(done[farthest].text)}[/]")
    console.print(table)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def _shorten(text: str, length: int = 160) -> str:
    text = " ".join(text.split()).replace("[", r"\[")
    return text if len(text) <= length else f"{text[:length].rsplit(' ', 1)[0]} …"


def _conclude(console: Console, outcomes: Sequence[Outcome]) -> bool:
    unexpected = [outcome for outcome in outcomes if not outcome.is_expected]
    if not unexpected:
        good = sum(outcome.task.code is None for outcome in outcomes if outcome.task.is_reportable)
        console.print(
            f"\n  [green]As it should be:[/] {good} good tasks were reported succeeded,\n"
            f"  {len(outcomes) - good} broken ones told apart, each with its code."
        )
        return True
    console.print(f"\n  [bold red]{len(unexpected)} tasks did not end as they should:[/]")
    for outcome in unexpected[:10]:
        task = outcome.task
        wanted = "succeeded" if task.code is None else f"failed with {task.code}"
        name = task.entry.get("id", task.entry.get("_id", "(no id)"))
        console.print(
            f"    {name}: {outcome.state} {outcome.code or ''}, expected {wanted}", markup=False
        )
    return False

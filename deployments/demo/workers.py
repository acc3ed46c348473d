"""The demo's tasks for workers: handed over by the shift, computed by the workers of a lane."""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any, Final, cast
from urllib.parse import quote

from rich.markup import escape

from deployments.console import console
from deployments.demo.runs import conclude, titled_table, watch
from deployments.demo.tasks import count_states
from deployments.examples.worker_tasks import NO_ENGINES, WorkerExample, worker_examples
from deployments.local import Local
from deployments.processes import request
from deployments.steps import Steps
from deployments.up import request_run

MAX_SHOWN: Final = 110
"""Characters of a result that are shown."""


def run_workers(local: Local, steps: Steps) -> bool:
    """Run a shift of each lane that has examples; print and return whether all is as it should."""
    examples = worker_examples()
    lanes = dict.fromkeys(example.lane for example in examples)
    for lane in lanes:
        if lane == "intake":  # the shift itself has computed these
            continue
        name = f"process_lane/{lane}"
        with steps.step(f"Run {name}, until nothing waits (shift_seconds=0)") as step:
            run = request_run(local, name, {"shift_seconds": 0})
            for state in watch(local, run, name, step):
                steps.say(count_states(local, state))
    return show(examples, [read_outcome(local, example) for example in examples])


def read_outcome(local: Local, example: WorkerExample) -> Mapping[str, Any]:
    """Read what the upstream shows of a task."""
    upstream = local.running("upstream")
    if upstream is None:
        raise local.failure("upstream", "has ended")
    url = f"{upstream.url}/api/ai-tasks/{quote(example.task.id, safe='')}"
    return cast("Mapping[str, Any]", request("GET", url) or {})


def show(examples: Sequence[WorkerExample], outcomes: Sequence[Mapping[str, Any]]) -> bool:
    """Print what became of the examples; return whether their results are true."""
    table = titled_table("What workers made of real input", "type", "by", "result", "true")
    problems: list[str] = []
    for example, shown in zip(examples, outcomes, strict=True):
        kind = example.task.entry["task_type"]
        result, error = shown.get("result"), shown.get("error", {})
        if missing := NO_ENGINES.get(error.get("code", "")):
            table.add_row(kind, "none", missing, "none")
            continue
        is_true = result is not None and example.is_true(result)
        said = example.describe(result) if result else f"{shown.get('state')} {error}"
        by = f"{result['provider']}: {result['model']}" if result else "none"
        verdict = "[green]yes[/]" if is_true else "[bold red]no[/]"
        table.add_row(kind, escape(by), escape(shorten(said, MAX_SHOWN, placeholder=" …")), verdict)
        if not is_true:
            problems.append(f"{kind}: {said[:300]}")
    console.print(table)
    return conclude(
        f"{len(problems)} tasks of workers did not end as they should:",
        problems,
        "what workers made of the examples is what is in them.",
    )

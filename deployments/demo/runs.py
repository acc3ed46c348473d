"""A run of the demo: followed to its end, with links into the Prefect UI, and its verdict."""

import time
from collections.abc import Generator, Sequence
from typing import Any, Final, cast

from rich.table import Table

from deployments.console import console
from deployments.explaining import say
from deployments.local import Local
from deployments.processes import ProgramFailed
from deployments.steps import Step

RUN_TIMEOUT_S: Final = 300.0
"""For a run, from its start to its end; it takes some 20 s."""

POLL_EVERY_S: Final = 0.3

FINAL_STATES: Final = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


def watch(local: Local, run: str, name: str, step: Step) -> Generator[str]:
    """Yield a run's state some times a second and once more after its end, which the step shows."""
    began = time.monotonic()
    while True:
        found: dict[str, Any] = local.api.call("GET", f"/flow_runs/{run}") or {}
        state = cast("str", found.get("state_type") or "?")
        yield state.lower()
        if state in FINAL_STATES:
            break
        if time.monotonic() - began > RUN_TIMEOUT_S or local.running("worker") is None:
            raise _failure(local, name, f"is still {state.lower()}")
        time.sleep(POLL_EVERY_S)
    if state != "COMPLETED":
        raise _failure(local, name, f"ended as {state.lower()}")
    step.detail = f"{found['name']}, {found['total_run_time']:.1f} s"


def _failure(local: Local, name: str, reason: str) -> ProgramFailed:
    # The worker's log has what the run wrote to the end, which its log in the server may lack.
    return local.failure("worker", reason, title=f"run of {name}")


def artifacts_of(local: Local, run: str) -> list[dict[str, Any]]:
    """Read the artifacts of a run, newest first."""
    body = {"artifacts": {"flow_run_id": {"any_": [run]}}, "sort": "CREATED_DESC"}
    return local.api.read_list("/artifacts/filter", body)


def show_links(local: Local, run: str, title: str) -> None:
    """Print where the Prefect UI shows a run and its artifacts."""
    server = local.running("server")
    if server is None:
        return
    # Prefect leaves some artifacts of its own, that have no name.
    named = {
        artifact["id"]: str(name)
        for artifact in artifacts_of(local, run)
        if (name := artifact["key"] or artifact["type"])
    }
    width = max(map(len, named.values()), default=0) + 2
    say(f"\n  {title}, in the Prefect UI\n  {'run':<{width}}{server.url}/runs/flow-run/{run}")
    for id_, name in named.items():
        say(f"  {name:<{width}}{server.url}/artifacts/artifact/{id_}")


def titled_table(title: str, *headings: str, right: Sequence[str] = ()) -> Table:
    """Return a table with a title; the headings in `right` are over numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left")
    return table


def conclude(fault: str, problems: Sequence[str], success: str) -> bool:
    """Print that all is as it should be, or what is not; return whether it is."""
    if problems:
        console.print(f"\n  [bold red]{fault}[/]")
        for problem in problems:
            say(f"    {problem}")
    else:
        console.print(f"\n  [green]As it should be:[/] {success}")
    return not problems

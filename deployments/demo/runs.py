"""A run of the demo: followed to its end, with links into the Prefect UI."""

import time
from collections.abc import Callable
from typing import Any, Final, cast

from rich.console import Console

from deployments.local import Local
from deployments.processes import ProgramFailed
from deployments.steps import Steps

RUN_TIMEOUT_S: Final = 300.0
"""For a run, from its start to its end; it takes some 20 s."""

LOOK_EVERY_S: Final = 0.3

LINE_EVERY_S: Final = 5.0
"""How often a sign of life is printed where no terminal shows one that changes."""

FINAL_STATES: Final = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


def watch(local: Local, run: str, name: str, steps: Steps, look: Callable[[str], str]) -> str:
    """Follow a run to its end; return its name and time.

    `look` is called with the run's state, in capitals, some times a second and once more after its
    end; it returns how things stand.
    """
    began = time.monotonic()
    said_at, started_at = began, None
    while True:
        now = time.monotonic()
        found: dict[str, Any] = local.api.call("GET", f"/flow_runs/{run}") or {}
        state = cast("str", found.get("state_type") or "?")
        if state == "RUNNING" and started_at is None:
            started_at = now
            steps.say(f"the run has started, {now - began:.0f} s after it was asked for")
        said = look(state)
        if state in FINAL_STATES:
            break
        if now - began > RUN_TIMEOUT_S or local.running("worker") is None:
            raise _run_failed(local, name, f"is still {state.lower()}")
        if steps.is_live or now - said_at >= LINE_EVERY_S:
            said_at = now
            steps.say(said)
        time.sleep(LOOK_EVERY_S)
    if state != "COMPLETED":
        raise _run_failed(local, name, f"ended as {state.lower()}")
    return f"{found['name']}, {found['total_run_time']:.1f} s"


def _run_failed(local: Local, name: str, reason: str) -> ProgramFailed:
    # The worker's log has what the run wrote to the end, which its log in the server may lack.
    return ProgramFailed(f"run of {name}", reason, local.log("worker"), local.tail("worker"))


def artifacts_of(local: Local, run: str) -> list[dict[str, Any]]:
    """Read the artifacts of a run, newest first."""
    body = {"artifacts": {"flow_run_id": {"any_": [run]}}, "sort": "CREATED_DESC"}
    return local.api.read_list("/artifacts/filter", body)


def show_links(console: Console, local: Local, run: str, title: str) -> None:
    """Print where the Prefect UI shows a run and its artifacts."""
    server = local.running("server")
    if server is None:
        return
    lines = [("run", f"{server.url}/runs/flow-run/{run}")]
    lines += [
        (name, f"{server.url}/artifacts/artifact/{artifact['id']}")
        for artifact in artifacts_of(local, run)
        # Prefect leaves some of its own, that have no name.
        if (name := artifact["key"] or artifact["type"])
    ]
    console.print(f"\n  {title}, in the Prefect UI")
    for name, url in lines:
        console.print(f"  {name:<19}{url}", markup=False, soft_wrap=True)

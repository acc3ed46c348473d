"""`aletheia up`: everything on this machine, left running."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import cast
from uuid import uuid4

from deployments import ROOT
from deployments.environment import demo_servers, local_servers, read_environment
from deployments.local import TITLES, Local, ProgramFailed
from deployments.steps import Steps

PREFERRED_PORT = 4200
"""Port of the Prefect server where it is free: the one in Prefect's own documentation."""

SET_UP_TIMEOUT_S = 180.0

POLL_TASKS = "poll_tasks/poll_tasks"

TRIES = 5
"""Of one request to the Prefect server."""


def start_servers(
    local: Local,
    steps: Steps,
    variables: Mapping[str, str],
    *,
    port: int | None = None,
    upstream_options: Sequence[str] = (),
    is_scheduled: bool = True,
) -> None:
    """Start what does not run yet, and set it up.

    Args:
        local: where it lives.
        steps: told what happens.
        variables: added to the environment of the set-up and of the runs; unless `API_BASE_URL` is
            among them, the example upstream is started and stands in for it.
        port: for the Prefect server, where it is free.
        upstream_options: command line of the example upstream.
        is_scheduled: whether shifts start by their schedule.
    """
    variables = dict(variables)
    if "API_BASE_URL" not in variables:
        with steps.step("Start the example upstream") as step:
            upstream = local.start_upstream(upstream_options)
            step.detail = variables["API_BASE_URL"] = cast("str", upstream.url)
            variables["UPSTREAM_AUTH"] = "none"
    with steps.step("Start the Prefect server") as step:
        step.detail = cast("str", local.start_server(port=port).url)
    with steps.step("Save blocks, create the work pool, deploy the flows"):
        _set_up(local, variables)
        if not is_scheduled:
            set_schedule(local, is_active=False)
    with steps.step("Start a worker"):
        local.start_worker(variables)


def start_shift(local: Local, parameters: Mapping[str, object] | None = None) -> str:
    """Start a run of `poll_tasks` now; return its id."""
    path = f"/deployments/{_poll_tasks(local)}/create_flow_run"
    body = {
        "state": {"type": "SCHEDULED"},
        "parameters": dict(parameters or {}),
        "idempotency_key": str(uuid4()),
    }
    # On a machine with its hands full, the server is slow for a while after a start.
    for _ in range(TRIES):
        if (run := local.api("POST", path, body)) is not None:
            return cast("str", run["id"])
        time.sleep(1)
    raise _refused(local, "does not take a run of poll_tasks")


def set_schedule(local: Local, *, is_active: bool) -> None:
    """Have shifts started by their schedule, or not."""
    verb = "resume" if is_active else "pause"
    local.api("POST", f"/deployments/{_poll_tasks(local)}/{verb}_deployment")


def _poll_tasks(local: Local) -> str:
    for _ in range(TRIES):
        if (deployment := local.api("GET", f"/deployments/name/{POLL_TASKS}")) is not None:
            return cast("str", deployment["id"])
        time.sleep(1)
    raise _refused(local, "does not know poll_tasks")


def _refused(local: Local, reason: str) -> ProgramFailed:
    return ProgramFailed(TITLES["server"], reason, local.log("server"), local.tail("server"))


def up(steps: Steps) -> None:
    """Start everything that does not run yet, and leave it running."""
    local = local_servers(steps.say)
    configured = read_environment().get("API_BASE_URL")
    variables = {} if configured is None else {"API_BASE_URL": configured}
    start_servers(local, steps, variables, port=PREFERRED_PORT)
    if not local.has_run_due():
        with steps.step("Start the first shift"):
            start_shift(local)
    server, upstream = local.running("server"), local.running("upstream")
    lines = {
        "Prefect UI": server.url if server is not None else "gone",
        "upstream": f"{upstream.url}/stats (the example)" if upstream is not None else configured,
        "logs": local.log("worker").parent,
        "end it": "make down",
    }
    steps.console.print()
    for name, value in lines.items():
        steps.console.print(f"  {name:<12}{value}", markup=False, highlight=False, soft_wrap=True)


def down(steps: Steps) -> None:
    """End everything of this checkout that runs, a demo that was left running too."""
    for local in (local_servers(steps.say), demo_servers(steps.say)):
        if local.processes():
            with steps.step(f"Stop what runs below {local.directory}") as step:
                step.detail = ", ".join(local.stop())
    steps.console.print("  Nothing is running.")


def _set_up(local: Local, variables: Mapping[str, str]) -> None:
    """Run `aletheia setup` as a command of its own, which means this server."""
    completed = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "setup"],
        cwd=ROOT,
        env=local.environment() | dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SET_UP_TIMEOUT_S,
        check=False,
    )
    if completed.returncode:
        said = completed.stdout.decode(errors="replace")
        raise ProgramFailed("set-up", "failed", local.log("server"), said)

"""`aletheia up`: everything on this machine, left running."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import cast
from uuid import uuid4

from deployments import ROOT
from deployments.environment import demo_servers, local_servers, read_environment
from deployments.local import TITLES, Local, Name
from deployments.processes import ProgramFailed
from deployments.steps import Steps

PREFERRED_PORT = 4200
"""Port of the Prefect server where it is free: the one in Prefect's own documentation."""

SET_UP_TIMEOUT_S = 180.0

POLL_TASKS = "poll_tasks/poll_tasks"

PAYLOAD_URL = "NEXT_PUBLIC_APP_URL"
"""Variable with the address of the application that has the departments."""

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
        variables: added to the environment of the set-up and of the runs. Unless `API_BASE_URL` is
            among them, the example upstream is started and stands in for it, and unless
            `NEXT_PUBLIC_APP_URL` is, the example application.
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
    if PAYLOAD_URL not in variables:
        with steps.step("Start the example application, which has departments") as step:
            step.detail = variables[PAYLOAD_URL] = cast("str", local.start_payload().url)
            # A key of the real one is none of its business.
            variables["PAYLOAD_API_KEY"] = ""
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
    return start_run(local, POLL_TASKS, parameters)


def start_run(local: Local, name: str, parameters: Mapping[str, object] | None = None) -> str:
    """Start a run of a deployment now; return its id.

    Args:
        local: where.
        name: of flow and deployment.
        parameters: those that differ from the deployment's own.
    """
    path = f"/deployments/{_find_deployment(local, name)}/create_flow_run"
    body = {
        "state": {"type": "SCHEDULED"},
        "parameters": dict(parameters or {}),
        "idempotency_key": str(uuid4()),
    }
    # On a machine with its hands full, the server is slow for a while after a start.
    for _ in range(TRIES):
        if (run := local.api.call("POST", path, body)) is not None:
            return cast("str", run["id"])
        time.sleep(1)
    raise _refused(local, f"does not take a run of {name}")


def set_schedule(local: Local, *, is_active: bool) -> None:
    """Resume or pause the schedule of shifts."""
    verb = "resume" if is_active else "pause"
    local.api.call("POST", f"/deployments/{_find_deployment(local, POLL_TASKS)}/{verb}_deployment")


def _find_deployment(local: Local, name: str) -> str:
    for _ in range(TRIES):
        if (deployment := local.api.call("GET", f"/deployments/name/{name}")) is not None:
            return cast("str", deployment["id"])
        time.sleep(1)
    raise _refused(local, f"does not know {name}")


def _refused(local: Local, reason: str) -> ProgramFailed:
    return ProgramFailed(TITLES["server"], reason, local.log("server"), local.tail("server"))


def up(steps: Steps) -> None:
    """Start everything that does not run yet, and leave it running."""
    local = local_servers(steps.say)
    known = read_environment()
    variables = {name: known[name] for name in ("API_BASE_URL", PAYLOAD_URL) if name in known}
    start_servers(local, steps, variables, port=PREFERRED_PORT)
    if not local.api.has_run_due():
        with steps.step("Start the first shift"):
            start_shift(local)
    examples = {
        "API_BASE_URL": f"{_address(local, 'upstream')}/stats (the example)",
        PAYLOAD_URL: f"{_address(local, 'payload')}/api/departments (the example)",
    }
    lines = {
        "Prefect UI": _address(local, "server"),
        "upstream": variables.get("API_BASE_URL", examples["API_BASE_URL"]),
        "departments": variables.get(PAYLOAD_URL, examples[PAYLOAD_URL]),
        "logs": local.log("worker").parent,
        "end it": "make down",
    }
    steps.console.print()
    for name, value in lines.items():
        steps.console.print(f"  {name:<12}{value}", markup=False, highlight=False, soft_wrap=True)


def _address(local: Local, name: Name) -> str:
    program = local.running(name)
    return "gone" if program is None else f"{program.url}"


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

"""`aletheia up`: everything on this machine, left running."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import uuid4

import typer

from aletheia.adapters.payload_cms import ADDRESS as APPLICATION
from aletheia.adapters.upstream.client import ADDRESS as UPSTREAM
from aletheia.service.settings import ServiceSettings
from deployments import ROOT
from deployments.console import console
from deployments.environment import (
    demo_servers,
    local_servers,
    make_secrets,
    read_environment,
)
from deployments.explaining import say
from deployments.local import TITLES, Local, Name
from deployments.processes import ProgramFailed, run_module
from deployments.steps import Steps

app = typer.Typer()

PREFERRED_PORT = 4200
"""Port of the Prefect server where it is free: the one in Prefect's own documentation."""

SET_UP_TIMEOUT_S = 180.0

POLL_TASKS = "poll_tasks/poll_tasks"

SYSTEM_REASONING: Final = "system_reasoning/system_reasoning"

FIRST_SHIFTS: Final = (POLL_TASKS, SYSTEM_REASONING, "process_lane/media", "process_lane/llm")
"""All deployments that work in shifts. They are started at once: their schedules would start them
within ten minutes."""

EXAMPLES: Final[Mapping[str, tuple[Name, Mapping[str, str]]]] = {
    UPSTREAM: ("upstream", {"UPSTREAM_AUTH": "none"}),
    APPLICATION: ("payload", {"PAYLOAD_API_KEY": ""}),
}
"""Example servers by the variable with whose address they do, and what else holds for them."""

TRIES = 5
"""Of one request to the Prefect server."""


def start_servers(
    local: Local,
    steps: Steps,
    variables: Mapping[str, str],
    *,
    port: int | None = None,
    service_port: int | None = None,
    upstream_options: Sequence[str] = (),
    is_scheduled: bool = True,
) -> None:
    """Start what does not run yet, and set it up.

    `variables` are added to the environment of the set-up, the runs and the service; the examples
    stand in for the addresses that are not among them. The Prefect server gets `port` and the
    service `service_port` where they are free.
    """
    variables = dict(variables)
    for variable, (name, further) in EXAMPLES.items():
        if variable not in variables:
            with steps.step(f"Start the {TITLES[name]}") as step:
                options = upstream_options if name == "upstream" else ()
                step.detail = cast("str", local.start_example(name, options).url)
                variables |= {variable: step.detail, **further}
    with steps.step("Start the Prefect server") as step:
        step.detail = cast("str", local.start_server(port=port).url)
    with steps.step("Save blocks, create the work pool, deploy the flows"):
        _set_up(local, variables | make_secrets(local, read_environment() | variables))
        if not is_scheduled:
            set_schedule(local, is_active=False)
    with steps.step("Start a worker"):
        local.start_worker(variables)
    with steps.step("Start the service") as step:
        step.detail = cast("str", local.start_service(variables, port=service_port).url)


def request_run(local: Local, name: str, parameters: Mapping[str, object] | None = None) -> str:
    """Request a run of a deployment now; `parameters` are those that differ from its own.

    `tasks.runs.start_run` cannot: Prefect reads address and password when it is imported, and this
    process starts the server that they are of (docs/decisions/0012-closed-server.md).
    """
    path = f"/deployments/{_find_deployment(local, name)}/create_flow_run"
    body = {
        "state": {"type": "SCHEDULED"},
        "parameters": dict(parameters or {}),
        "idempotency_key": str(uuid4()),
    }
    return _ask(local, f"does not take a run of {name}", "POST", path, body)


def set_schedule(local: Local, *, is_active: bool) -> None:
    """Resume or pause the schedules of shifts."""
    verb = "resume" if is_active else "pause"
    for name in FIRST_SHIFTS:
        local.api.call("POST", f"/deployments/{_find_deployment(local, name)}/{verb}_deployment")


def _find_deployment(local: Local, name: str) -> str:
    return _ask(local, f"does not know {name}", "GET", f"/deployments/name/{name}")


def _ask(local: Local, failure: str, *request: Any) -> str:
    """Return the id of what the Prefect server answers with."""
    # On a machine with its hands full, it is slow for a while after a start.
    for _ in range(TRIES):
        if (found := local.api.call(*request)) is not None:
            return cast("str", found["id"])
        time.sleep(1)
    raise local.failure("server", failure)


@app.command()
def up() -> None:
    """Start a Prefect server, a worker and the deployments on this machine; leave them running."""
    steps = Steps(console)
    local = local_servers(steps.say)
    known = read_environment()
    variables = {name: known[name] for name in EXAMPLES if name in known}
    service_port = ServiceSettings().metrics_port
    start_servers(local, steps, variables, port=PREFERRED_PORT, service_port=service_port)
    if not local.api.has_run_due():
        with steps.step("Start the first shifts"):
            for name in FIRST_SHIFTS:
                request_run(local, name)
    lines = {
        "Prefect UI": _address(local, "server"),
        "sign in": f"with the line in {local.password_file}",
        "service": f"{_address(local, 'service')}/docs (its API), /health/ready, /metrics",
        "its pages": f"{_address(local, 'service')}/ui",
        "its token": ".venv/bin/aletheia token --role viewer (operator, manager, admin)",
        "upstream": variables.get(UPSTREAM) or f"{_address(local, 'upstream')}/stats (the example)",
        "departments": variables.get(APPLICATION)
        or f"{_address(local, 'payload')}/api/departments (the example)",
        "logs": local.log("worker").parent,
        "end it": "make down",
    }
    say("")
    for name, value in lines.items():
        say(f"  {name:<12}{value}")


def _address(local: Local, name: Name) -> str:
    program = local.running(name)
    return "gone" if program is None else f"{program.url}"


@app.command()
def down() -> None:
    """End everything that `up` or `demo --keep` left running."""
    steps = Steps(console)
    for local in (local_servers(steps.say), demo_servers(steps.say)):
        if local.processes():
            with steps.step(f"Stop what runs below {local.directory}") as step:
                step.detail = ", ".join(local.stop())
    say("  Nothing is running.")


def _set_up(local: Local, variables: Mapping[str, str]) -> None:
    """Run `aletheia setup` as a command of its own, which means this server."""
    environment = local.environment() | dict(variables)
    if said := run_module(["deployments.cli", "setup"], ROOT, environment, SET_UP_TIMEOUT_S):
        log = local.log("server").with_name("setup.log")
        log.write_text(said)
        raise ProgramFailed("set-up", "failed", log, said)

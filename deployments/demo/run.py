"""The command `demo`: the whole pipeline, with servers and a store of its own, made each time."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from rich.panel import Panel

from aletheia.errors import Misconfigured, Unavailable
from aletheia.settings import DEFAULT_MODELS, EmbeddingSettings
from deployments.console import console
from deployments.demo.gather import run_gather
from deployments.demo.reasoning import run_reasoning
from deployments.demo.runs import show_links, watch
from deployments.demo.tasks import collect_outcomes, count_states, read_upstream, show
from deployments.demo.workers import run_workers
from deployments.environment import demo_servers
from deployments.examples.tasks import example_tasks, make_faulty_tasks
from deployments.local import Local
from deployments.steps import Steps
from deployments.up import POLL_TASKS, request_run, set_schedule, start_servers

app = typer.Typer()

EXAMPLE_LIMITS: Final = {"RATE_LIMIT_PER_MINUTE": "1000", "RATE_LIMIT_PER_HOUR": "1000"}
"""Limits for the example providers: shift and gather together send more than the default."""

FOUND_FROM: Final = {
    "FINDING_QUEUE_FAILED": str(sum(task.is_reportable for task in make_faulty_tasks()))
}
"""So few dead letters are a finding of the demo, so that its reasoning has a plan to approve."""

STAND_INS: Final = {"nomic-embed-text": "text-embedding-3-small"}
"""What stands in at OpenAI for the tasks that name a model, in `hybrid` mode."""

OF_THE_MACHINE: Final = frozenset(
    {
        *("ENVIRONMENT", "PROCESSING_MODE", "LOG_LEVEL", "LOCAL_MODEL_DIR", "LOCAL_BATCH_SIZE"),
        *("LOCAL_MODEL_PROCESSES", "MODEL_LOAD_TIMEOUT", "MODEL_MEMORY_MAX", "TASK_TIMEOUT"),
    }
)
"""Variables of the checkout that hold for the demo, too."""

SERVICE_PAGES: Final[Mapping[str, str]] = {
    "its pages": "/ui",
    "what is set up": "/health/ready",
    "limits, breakers": "/health",
    "metrics": "/metrics",
    "its API": "/docs",
}
"""Pages of the service; the first one asks for a token."""

SET_ANYWAY: Final = frozenset({"API_BASE_URL", "NEXT_PUBLIC_APP_URL", "ALETHEIA_DATA_DIR"})


def ignored_variables() -> list[str]:
    """Return the variables that a checkout may set and the demo must not use."""
    # Prefect reads its settings once, when it is imported, and makes its home then.
    from deployments.configuration import sections  # noqa: PLC0415 - see above

    names = [variable.name for section in sections() for variable in section.variables]
    return [name for name in names if name not in OF_THE_MACHINE | SET_ANYWAY]


@app.command()
def demo(
    keep: Annotated[bool, typer.Option(help="Leave everything running at the end.")] = False,
    tasks: Annotated[int, typer.Option(min=10, max=5000, help="Good tasks.")] = 300,
) -> None:
    """Work off tasks of an example upstream, gather items, reason; show what happened.

    It fails unless every good task is reported succeeded and every faulty one with its code.
    """
    settings = EmbeddingSettings()
    if settings.environment == "production":
        raise Misconfigured("ENVIRONMENT", "'production' refuses the mock that the demo needs")
    steps = Steps(console)
    local = demo_servers(steps.say)
    with _alone(local):
        if not _run(local, settings, steps, tasks=tasks, keep=keep):
            raise typer.Exit(1)


@contextmanager
def _alone(local: Local) -> Generator[None]:
    """Exclude a second demo in the same directory; it would end the servers of this one."""
    local.directory.parent.mkdir(parents=True, exist_ok=True)
    with local.directory.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable("the demo", "another one runs here; wait for its end") from None
        yield


def _run(
    local: Local, settings: EmbeddingSettings, steps: Steps, *, tasks: int, keep: bool
) -> bool:
    mode = settings.processing_mode
    is_made_up = mode == "mock" or settings.is_remote
    began = time.monotonic()
    _introduce(settings, tasks)
    signal.signal(signal.SIGTERM, lambda _signum, _frame: sys.exit(128 + signal.SIGTERM))
    if local.processes():
        with steps.step("Stop the demo before this one"):
            local.stop()
    shutil.rmtree(local.directory, ignore_errors=True)
    try:
        os.environ["PREFECT_HOME"] = str(local.directory)
        local.directory.mkdir(mode=0o700)
        variables = dict.fromkeys(ignored_variables(), "") | {
            "ALETHEIA_DATA_DIR": str(local.directory),
            "LLM_PROVIDER": "mock",
            **FOUND_FROM,
        }
        if settings.is_remote:
            with steps.step("Start example providers"):
                options = ["--ollama-fails-after", "1"] if mode == "hybrid" else []
                providers = local.start_example("providers", options)
                variables |= EXAMPLE_LIMITS | {
                    "OLLAMA_BASE_URL": f"{providers.url}",
                    "OPENAI_BASE_URL": f"{providers.url}/v1",
                    "OPENAI_API_KEY": "sk-example",
                }
        if mode == "hybrid":
            variables["HYBRID_MODEL_MAP"] = json.dumps(STAND_INS)
        model = DEFAULT_MODELS[mode]
        start_servers(
            local,
            steps,
            variables,
            upstream_options=["--tasks", str(tasks), "--model", model, "--workers"],
            is_scheduled=False,  # one shift at a time: ours would wait for the scheduled one
        )
        is_as_expected = _run_shift(local, steps, tasks, model, is_made_up=is_made_up)
        is_as_expected &= run_workers(local, steps)
        if mode == "hybrid":
            console.print(
                "\n  A gather is left out in this mode: items are embedded by Ollama alone, and "
                "the example of it is down."
            )
        else:
            is_as_expected &= asyncio.run(run_gather(local, steps, is_made_up=is_made_up))
        is_as_expected &= asyncio.run(run_reasoning(local, steps))
        show_service(local)
        if keep:
            set_schedule(local, is_active=True)
        console.print(f"\n  {_end(local, keep=keep)}", soft_wrap=True)
        console.print(f"  The demo took {time.monotonic() - began:.0f} s.")
        return is_as_expected
    finally:
        if not keep:
            # A second Ctrl-C must not leave half of it running.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            with steps.step("Stop everything"):
                local.stop()


def _run_shift(local: Local, steps: Steps, tasks: int, model: str, *, is_made_up: bool) -> bool:
    with steps.step(f"Run {POLL_TASKS}, one poll (shift_seconds=0)") as step:
        run = request_run(local, POLL_TASKS, {"shift_seconds": 0})
        for state in watch(local, run, POLL_TASKS, step):
            steps.say(count_states(local, state))
    with steps.step("Ask the upstream what became of each task"):
        outcomes = collect_outcomes(local, run, example_tasks(tasks, model=model))
        stats = read_upstream(local, "/stats")
    is_as_expected = show(outcomes, stats, is_made_up=is_made_up)
    show_links(local, run, "The shift")
    return is_as_expected


def show_service(local: Local) -> None:
    """Print where the service answers, and what it says of itself."""
    service = local.running("service")
    if service is None:
        return
    console.print("\n  The service, for front ends and operators", highlight=False)
    for name, path in SERVICE_PAGES.items():
        console.print(f"  {name:<19}{service.url}{path}", markup=False, soft_wrap=True)


def _introduce(settings: EmbeddingSettings, tasks: int) -> None:
    console.print(
        f"\n[bold]1. Tasks[/]\n\nAn example upstream lists {tasks} texts and some broken tasks. A "
        "Prefect worker runs\n"
        "the deployment poll_tasks: it polls them over HTTP, embeds them, reports back.\n"
    )
    mode, title = settings.processing_mode, "THE PROVIDERS ARE EXAMPLES"
    if mode == "mock":
        title = "THIS IS A MOCK"
        story = (
            "no model runs. Vectors are made up from the text, cost nothing and mean nothing; "
            "every record says so."
        )
    elif settings.is_remote:
        story = (
            "no provider is asked. Example servers on this machine speak the protocols of OpenAI "
            "and Ollama; their vectors are made up from the text and mean nothing. No key of yours "
            "is used."
        )
    else:
        return
    if mode == "hybrid":
        story += (
            " The example of Ollama fails after its first request, so that the rest goes to the "
            "example of OpenAI."
        )
    console.print(Panel(f"PROCESSING_MODE={mode}: {story}", title=title, style="bold red"))


def _end(local: Local, *, keep: bool) -> str:
    if not keep:
        return "The servers stop now; `make demo KEEP=1` leaves them running."
    command = f"ALETHEIA_DATA_DIR={local.directory} .venv/bin/aletheia"
    return (
        "It is left running; `make down` ends it.\n"
        f"  Sign in to the Prefect UI with the line in {local.password_file},\n"
        "  to the pages with what this prints, which is good for an hour:\n"
        f"    {command} token --role admin --minutes 60\n"
        "  Other commands ask the demo in the same way, such as\n"
        f"    {command} status"
    )

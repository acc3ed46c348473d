"""`aletheia demo`: the whole pipeline on this machine, from nothing to a table of results.

It has servers, a store and a database of its own, made anew each time, and touches no other.
"""

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

from rich.console import Console
from rich.panel import Panel

from aletheia.errors import Misconfigured, Unavailable
from aletheia.settings import DEFAULT_MODELS, EmbeddingSettings
from deployments.demo.gather import run_gather
from deployments.demo.runs import show_links, watch
from deployments.demo.tasks import collect_outcomes, count_states, read_upstream, show
from deployments.environment import demo_servers
from deployments.examples.tasks import example_tasks
from deployments.local import Local
from deployments.steps import Steps
from deployments.up import POLL_TASKS, set_schedule, start_servers, start_shift

EXAMPLE_LIMITS: Final = {"RATE_LIMIT_PER_MINUTE": "1000", "RATE_LIMIT_PER_HOUR": "1000"}
"""Limits for the example providers: shift and gather together send more than the default."""

STAND_INS: Final = {"nomic-embed-text": "text-embedding-3-small"}
"""What stands in at OpenAI for the tasks that name a model, in `hybrid` mode."""

OF_THE_MACHINE: Final = frozenset(
    {
        *("ENVIRONMENT", "PROCESSING_MODE", "LOG_LEVEL", "LOCAL_MODEL_DIR", "LOCAL_BATCH_SIZE"),
        *("LOCAL_MODEL_PROCESSES", "MODEL_LOAD_TIMEOUT", "MODEL_MEMORY_MAX", "TASK_TIMEOUT"),
    }
)
"""Variables of the checkout that hold for the demo, too."""

SET_ANYWAY: Final = frozenset({"API_BASE_URL", "NEXT_PUBLIC_APP_URL", "ALETHEIA_DATA_DIR"})


def ignored_variables() -> list[str]:
    """Return the variables that a checkout may set and the demo must not use."""
    # Prefect reads its settings once, when it is imported, and makes its home then.
    from deployments.configuration import sections  # noqa: PLC0415 - see above

    names = [variable.name for section in sections() for variable in section.variables]
    return [name for name in names if name not in OF_THE_MACHINE | SET_ANYWAY]


def run_demo(steps: Steps, *, tasks: int, keep: bool) -> bool:
    """Run the demo with so many good tasks; faulty ones come on top.

    Returns:
        Whether every good task was reported succeeded and every faulty one failed with its code.
    """
    settings = EmbeddingSettings()
    if settings.environment == "production":
        raise Misconfigured("ENVIRONMENT", "'production' refuses the mock that the demo needs")
    local = demo_servers(steps.say)
    with _alone(local):
        return _run(local, settings, steps, tasks=tasks, keep=keep)


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
    is_mock = mode == "mock"
    began = time.monotonic()
    _introduce(steps.console, settings, tasks)
    signal.signal(signal.SIGTERM, _end_orderly)
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
            upstream_options=["--tasks", str(tasks), "--model", model],
            is_scheduled=False,  # one shift at a time: ours would wait for the scheduled one
        )
        with steps.step(f"Run {POLL_TASKS}, one look (shift_seconds=0)") as step:
            run = start_shift(local, {"shift_seconds": 0})
            step.detail = watch(
                local, run, POLL_TASKS, steps, lambda state: count_states(local, state)
            )
        with steps.step("Ask the upstream what became of each task"):
            outcomes = collect_outcomes(local, run, example_tasks(tasks, model=model))
            stats = read_upstream(local, "/stats")
        is_made_up = is_mock or settings.is_remote
        is_as_expected = show(steps.console, outcomes, stats, is_made_up=is_made_up)
        show_links(steps.console, local, run, "The shift")
        if mode == "hybrid":
            steps.console.print(
                "\n  A gather is left out in this mode: items are embedded by Ollama alone, and "
                "the example of it is down."
            )
        else:
            is_as_expected &= run_gather(local, steps, is_made_up=is_made_up)
        if keep:
            set_schedule(local, is_active=True)
        seconds = time.monotonic() - began
        _print_end(steps.console, local, seconds=seconds, keep=keep)
        return is_as_expected
    finally:
        if not keep:
            # A second Ctrl-C must not leave half of it running.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            with steps.step("Stop everything"):
                local.stop()


def _introduce(console: Console, settings: EmbeddingSettings, tasks: int) -> None:
    console.print(
        f"\n[bold]1. Tasks[/]\n\nAn example upstream lists {tasks} texts and some broken tasks. A "
        "Prefect worker runs\n"
        "the deployment poll_tasks: it polls them over HTTP, embeds them, reports back.\n"
    )
    if settings.processing_mode == "mock":
        title = "THIS IS A MOCK"
        story = (
            "PROCESSING_MODE=mock: no model runs. Vectors are made up from the text, cost nothing "
            "and mean nothing; every record says so."
        )
    elif settings.is_remote:
        title = "THE PROVIDERS ARE EXAMPLES"
        story = (
            f"PROCESSING_MODE={settings.processing_mode}: no provider is asked. Example servers on "
            "this machine speak the protocols of OpenAI and Ollama; their vectors are made up from "
            "the text and mean nothing. No key of yours is used."
        )
        if settings.processing_mode == "hybrid":
            story += (
                " The example of Ollama fails after its first request, so that the rest goes to "
                "the example of OpenAI."
            )
    else:
        return
    console.print(Panel(story, title=title, style="bold red"))


def _print_end(console: Console, local: Local, *, seconds: float, keep: bool) -> None:
    end = (
        f"It is left running: `make down` ends it. Commands such as `aletheia status` ask it with\n"
        f"  ALETHEIA_DATA_DIR={local.directory}\n"
        f"  Sign in to the Prefect UI with the line in {local.password_file}"
        if keep
        else "The servers stop now; `make demo KEEP=1` leaves them running to look around."
    )
    console.print(f"\n  {end}", soft_wrap=True)
    console.print(f"  The demo took {seconds:.0f} s.")


def _end_orderly(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)

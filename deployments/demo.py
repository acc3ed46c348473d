"""`aletheia demo`: the whole pipeline on this machine, from nothing to a table of results.

It has servers, a store and a database of its own, made anew each time, and touches no other.
"""

import fcntl
import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, cast
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from aletheia.errors import Misconfigured, Unavailable
from aletheia.settings import DEFAULT_MODELS, EmbeddingSettings
from deployments.demo_gather import run_gather
from deployments.demo_runs import artifacts_of, show_links, watch
from deployments.environment import demo_servers
from deployments.examples.tasks import ExampleTask, example_tasks
from deployments.local import TITLES, Local, ProgramFailed, request
from deployments.steps import Steps
from deployments.up import POLL_TASKS, set_schedule, start_servers, start_shift

EXAMPLE_LIMITS: Final = {"RATE_LIMIT_PER_MINUTE": "1000", "RATE_LIMIT_PER_HOUR": "1000"}
"""Limits for the example providers: shift and gather together send more than the default."""

STAND_INS: Final = {"nomic-embed-text": "text-embedding-3-small"}
"""What stands in at OpenAI for the tasks that name a model, in `hybrid` mode."""

NEIGHBOURS: Final = 3

REPETITION_COSINE: Final = 0.8
"""From here on two docstrings say nearly the same in the same words, which would prove little."""

NOT_OURS: Final = (
    "UPSTREAM_AUTH",
    "API_TOKEN",
    "ORY_PROJECT_SLUG",
    "OAUTH2_TOKEN_URL",
    "OAUTH2_CLIENT_ID",
    "OAUTH2_CLIENT_SECRET",
    "OAUTH2_SCOPE",
    "OAUTH2_AUDIENCE",
    "PAYLOAD_API_KEY",
    "PAYLOAD_API_KEY_COLLECTION",
    "MONGODB_URI",
    "MONGODB_DATABASE",
    "BRAIN_SERVICE_BASE_URL",
    "BRAIN_SERVICE_API_KEY",
    "NEO4J_URI",
    "NEO4J_USERNAME",
    "NEO4J_PASSWORD",
    "NEO4J_DATABASE",
    "REDIS_URL",
    "WEBHOOK_SECRET",
    "OPENROUTER_API_KEY",
    "OPENROUTER_BASE_URL",
    "DEFAULT_LLM_MODEL",
    "GATHER_BATCH_ITEMS",
    "GUARDED_PAIRS",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OLLAMA_BASE_URL",
    "DEFAULT_EMBEDDING_MODEL",
    "SUPPORTED_MODELS",
    "HYBRID_MODEL_MAP",
    "EMBEDDING_DIMENSIONS",
    "LONG_TEXT",
)
"""What a checkout may be configured with, and the demo must not use."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task, as the upstream has it.

    Attributes:
        task: what was listed, and what should have become of it.
        type: lower case.
        state: the upstream's word; `rejected` for an entry that has no id.
        code: why it failed.
        result: of a task that succeeded.
        usage: of a task that succeeded.
    """

    task: ExampleTask
    type: str
    state: str
    code: str | None
    result: Mapping[str, Any]
    usage: Mapping[str, Any]

    @property
    def is_expected(self) -> bool:
        """Whether just that should have become of it."""
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


def run_demo(steps: Steps, *, tasks: int, keep: bool) -> bool:
    """Run the demo.

    Args:
        steps: told what happens.
        tasks: how many good ones; the faulty ones come on top.
        keep: leave everything running at the end.

    Returns:
        Whether every good task was reported succeeded and every faulty one failed with its code.

    Raises:
        ProgramFailed: something did not start, or the run did not do its work.
        Misconfigured: the settings refuse what the demo needs.
        Unavailable: another demo is under way here.
    """
    settings = EmbeddingSettings()
    if settings.environment == "production":
        raise Misconfigured("ENVIRONMENT", "'production' refuses the mock that the demo needs")
    local = demo_servers(steps.say)
    with _alone(local):
        return _run(local, settings, steps, tasks=tasks, keep=keep)


@contextmanager
def _alone(local: Local) -> Generator[None]:
    """Let one demo at a time run in a directory; each would end the servers of the other."""
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
        variables = dict.fromkeys(NOT_OURS, "") | {"ALETHEIA_DATA_DIR": str(local.directory)}
        if settings.is_remote:
            with steps.step("Start example providers"):
                options = ["--ollama-fails-after", "1"] if mode == "hybrid" else []
                variables |= local.start_providers(options) | EXAMPLE_LIMITS
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
            step.detail = watch(local, run, POLL_TASKS, steps, lambda state: _count(local, state))
        with steps.step("Ask the upstream what became of each task"):
            outcomes = _collect(local, run, example_tasks(tasks, model=model))
            stats = _upstream(local, "/stats")
        is_made_up = is_mock or settings.is_remote
        is_as_expected = show(steps.console, outcomes, stats, is_made_up=is_made_up)
        show_links(steps.console, local, run, "The shift")
        if mode == "hybrid":
            steps.console.print(
                "\n  A gather is left out in this mode: items are embedded by Ollama alone, and "
                "the example of it is down.",
                highlight=False,
            )
        else:
            is_as_expected &= run_gather(local, steps, is_made_up=is_made_up)
        if keep:
            set_schedule(local, is_active=True)
        seconds = time.monotonic() - began
        _say_goodbye(steps.console, local.directory, seconds=seconds, keep=keep)
        return is_as_expected
    finally:
        if not keep:
            # A second Ctrl-C must not leave half of it running.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            with steps.step("Stop everything"):
                local.stop()


def show(
    console: Console, outcomes: Sequence[Outcome], stats: Mapping[str, Any], *, is_made_up: bool
) -> bool:
    """Print what was done, and whether that is what should have been.

    Args:
        console: where to.
        outcomes: of all tasks.
        stats: of the upstream; `elapsed_s` is the time between its first page and last report.
        is_made_up: whether the vectors mean nothing, as a mock or an example made them.

    Returns:
        Whether it is.
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
            f"{tokens:,} tokens.\n{by}\n",
            highlight=False,
        )
        if is_made_up:
            console.print("  [bold red]These vectors are made up and mean nothing.[/]\n")
        else:
            _show_neighbours(console, done)
    return _judge(console, outcomes)


def find_neighbours(
    vectors: NDArray[np.float64], *, count: int = NEIGHBOURS
) -> tuple[int, list[tuple[int, float]]]:
    """Find a text that has close neighbours, and them.

    Args:
        vectors: `(n, d)`, not zero, `n > count`.
        count: how many neighbours.

    Returns:
        Index of the text, and index and cosine of each neighbour, nearest first. Of all texts it is
        the one whose last neighbour is nearest; repetitions are no neighbours.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    cosines[cosines >= REPETITION_COSINE] = -1.0
    nearest = np.argsort(-cosines, axis=1)[:, :count]
    last = np.take_along_axis(cosines, nearest[:, -1:], axis=1)[:, 0]
    chosen = int(np.argmax(last))
    return chosen, [(int(index), float(cosines[chosen, index])) for index in nearest[chosen]]


def _introduce(console: Console, settings: EmbeddingSettings, tasks: int) -> None:
    console.print(
        f"\n[bold]1. Tasks[/]\n\nAn example upstream lists {tasks} texts and some broken tasks. A "
        "Prefect worker runs\n"
        "the deployment poll_tasks: it polls them over HTTP, embeds them, reports back.\n",
        highlight=False,
    )
    if settings.processing_mode == "mock":
        console.print(
            Panel(
                "PROCESSING_MODE=mock: no model runs. Vectors are made up from the text, cost "
                "nothing and mean nothing; every record says so.",
                title="THIS IS A MOCK",
                style="bold red",
            )
        )
    elif settings.is_remote:
        story = (
            " The example of Ollama fails after its first request, so that the rest goes to the "
            "example of OpenAI."
            if settings.processing_mode == "hybrid"
            else ""
        )
        console.print(
            Panel(
                f"PROCESSING_MODE={settings.processing_mode}: no provider is asked. Example "
                "servers on this machine speak the protocols of OpenAI and Ollama; their vectors "
                f"are made up from the text and mean nothing. No key of yours is used.{story}",
                title="THE PROVIDERS ARE EXAMPLES",
                style="bold red",
            )
        )


def _count(local: Local, state: str) -> str:
    stats = _upstream(local, "/stats")
    states: dict[str, int] = stats.get("by_state", {})
    counts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
    return f"run {state.lower()}; upstream: {counts}"


def _upstream(local: Local, path: str) -> dict[str, Any]:
    upstream = local.running("upstream")
    if upstream is None:
        log, tail = local.log("upstream"), local.tail("upstream")
        raise ProgramFailed(TITLES["upstream"], "has ended", log, tail)
    return cast("dict[str, Any]", request("GET", f"{upstream.url}{path}") or {})


def _collect(local: Local, run: str, tasks: Sequence[ExampleTask]) -> list[Outcome]:
    """Read what became of each task from the upstream, and of nameless ones from the report."""
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
            task_id = str(entry.get("id", entry.get("_id")))
            shown: dict[str, Any] = client.get(url + quote(task_id, safe="")).json()
            outcomes.append(
                Outcome(
                    task,
                    kind,
                    shown.get("state", "?"),
                    shown.get("error", {}).get("code"),
                    shown.get("result", {}),
                    shown.get("usage", {}),
                )
            )
    return outcomes


def _rejected(local: Local, run: str) -> int:
    """Read from the run's table how many entries without an id were recorded."""
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


def _judge(console: Console, outcomes: Sequence[Outcome]) -> bool:
    unexpected = [outcome for outcome in outcomes if not outcome.is_expected]
    if not unexpected:
        good = sum(outcome.task.code is None for outcome in outcomes if outcome.task.is_reportable)
        console.print(
            f"\n  [green]As it should be:[/] {good} good tasks were reported succeeded,\n"
            f"  {len(outcomes) - good} broken ones told apart, each with its code.",
            highlight=False,
        )
        return True
    console.print(f"\n  [bold red]{len(unexpected)} tasks did not end as they should:[/]")
    for outcome in unexpected[:10]:
        task = outcome.task
        wanted = "succeeded" if task.code is None else f"failed with {task.code}"
        name = task.entry.get("id", task.entry.get("_id", "(no id)"))
        console.print(
            f"    {name}: {outcome.state} {outcome.code or ''}, expected {wanted}",
            markup=False,
            highlight=False,
        )
    return False


def _say_goodbye(console: Console, directory: Path, *, seconds: float, keep: bool) -> None:
    if keep:
        console.print(
            f"\n  It is left running: `make down` ends it. Commands such as `aletheia status` ask "
            f"it with\n  ALETHEIA_DATA_DIR={directory}",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(
            "\n  The servers stop now; `make demo KEEP=1` leaves them running to look around.",
            highlight=False,
        )
    console.print(f"  The demo took {seconds:.0f} s.", highlight=False)


def _end_orderly(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)

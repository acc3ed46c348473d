"""The second half of the demo: a gather of a few departments, and what came of it.

The project holds some documents of the application before the run begins. A mock writes the items.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.events.log import EventLog, SavedEvent
from aletheia.events.models import Deduplicating, IterationComplete
from deployments.demo.gather_outcome import (
    PROJECT,
    await_evaluations,
    read_outcome,
    read_repeats,
    save_documents,
)
from deployments.demo.gather_tables import show
from deployments.demo.runs import show_links, watch
from deployments.event_lines import describe
from deployments.examples.departments import EXAMPLE_TEXTS, ExampleDepartment, example_departments
from deployments.local import Local
from deployments.steps import Steps
from deployments.up import start_run

GATHER: Final = "automated_gather_creation/automated_gather_creation"

MAX_ITERATIONS: Final = 13
"""One department stalls only after its fourth iteration, and the last one is to have too few."""


def run_gather(local: Local, steps: Steps, *, is_made_up: bool) -> bool:
    """Run a gather and print what came of it; return whether it did what it should.

    Vectors of a mock or a fake mean nothing: they are made up.
    """
    departments = example_departments()
    _introduce(steps.console, departments)
    with steps.step(f"Save {len(EXAMPLE_TEXTS)} documents of the application"):
        asyncio.run(save_documents(local.directory))
    with steps.step(f"Run automated_gather_creation, {MAX_ITERATIONS} iterations at most") as step:
        parameters = {"project_id": PROJECT, "user_id": "demo", "max_iterations": MAX_ITERATIONS}
        run = start_run(local, GATHER, parameters)
        step.detail = _follow(local, run, steps)
    with steps.step("Wait for the evaluations of those that reached their threshold") as step:
        step.detail = asyncio.run(await_evaluations(local.directory, steps))
    outcome = asyncio.run(read_outcome(local.directory, run, read_repeats(local, run)))
    is_as_expected = show(steps.console, outcome, departments, is_made_up=is_made_up)
    show_links(steps.console, local, run, "The gather")
    return is_as_expected


def _follow(local: Local, run: str, steps: Steps) -> str:
    """Print a run's events as they come, until its end; return its name and time."""
    documents = EmbeddedDocuments(local.directory)
    log = EventLog(documents)
    events: list[SavedEvent] = []
    with asyncio.Runner() as runner:
        runner.run(documents.open())
        try:

            def look(state: str) -> str:
                for event in runner.run(log.read(PROJECT, after=len(events))):
                    events.append(event)
                    if not isinstance(event.read(), Deduplicating):
                        steps.console.print(f"    {describe(event)}")
                if state == "RUNNING":
                    return _say_stage(events)
                return f"run {state.lower()}; a worker starts a process for it"

            return watch(local, run, GATHER, steps, look)
        finally:
            runner.run(documents.close())


def _say_stage(events: Sequence[SavedEvent]) -> str:
    if any(isinstance(event.read(), IterationComplete) for event in events):
        return f"the run writes and compares items; {len(events)} events so far"
    return "the run reads its departments and loads the embedding model"


def _introduce(console: Console, departments: Sequence[ExampleDepartment]) -> None:
    good = sum(example.is_listed and example.is_good for example in departments)
    console.print(
        f"\n[bold]2. Gather[/]\n\nAn example application has {len(departments)} departments: "
        f"{good} to fill with items, a faulty one, a closed one.\nThe deployment "
        "automated_gather_creation writes items for each, drops what repeats something,\nsaves the "
        "rest and scores the department, until it is good enough or a stop rule ends it.\n"
        "[bold red]A mock writes and judges: no key is needed, nothing is paid. Every record says "
        "so.[/]\n"
    )

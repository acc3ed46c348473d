"""The second half of the demo: a gather of a few departments, beside documents of theirs."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.events.log import EventLog, SavedEvent
from aletheia.events.models import Deduplicating, IterationComplete
from aletheia.gather.run_records import RUNS
from aletheia.gather.runs import GatherRuns
from aletheia.items.content import SavedItem
from aletheia.items.decisions import ProjectDecisions
from aletheia.quality.evaluation_store import EVALUATIONS, REQUESTS
from deployments.console import console
from deployments.demo.gather_outcome import GOOD, Outcome, Repeat, show
from deployments.demo.runs import POLL_EVERY_S, show_links, watch
from deployments.event_lines import describe
from deployments.examples.departments import EXAMPLE_TEXTS
from deployments.local import Local
from deployments.steps import Step, Steps
from deployments.up import request_run

GATHER: Final = "automated_gather_creation/automated_gather_creation"

PROJECT: Final = "demo"

MAX_ITERATIONS: Final = 11
"""One department stalls only after its fourth iteration, and the last one is to have too few."""

EVALUATIONS_WITHIN_S: Final = 120.0
"""For the evaluations after the run; one takes some 8 s, and a minute on a busy machine: most of it
is the start of a process."""


async def run_gather(local: Local, steps: Steps, *, is_made_up: bool) -> bool:
    """Run a gather and print what came of it; return whether it did what it should."""
    _introduce()
    async with opened_stores(local.directory) as (documents, content):
        with steps.step(f"Save {len(EXAMPLE_TEXTS)} documents of the application"):
            await save_documents(content)
        title = f"Run automated_gather_creation, {MAX_ITERATIONS} iterations at most"
        with steps.step(title) as step:
            wanted = {"project_id": PROJECT, "user_id": "demo", "max_iterations": MAX_ITERATIONS}
            run = request_run(local, GATHER, wanted)
            await _follow(local, run, EventLog(documents), steps, step)
        with steps.step("Wait for the evaluations of those that reached their threshold") as step:
            await _await_evaluations(documents, steps, step)
        outcome = await read_outcome(documents, content, run)
    is_as_expected = show(outcome, is_made_up=is_made_up)
    show_links(local, run, "The gather")
    return is_as_expected


@asynccontextmanager
async def opened_stores(
    directory: Path,
) -> AsyncGenerator[tuple[EmbeddedDocuments, EmbeddedContent]]:
    """Open the stores of the project in a directory."""
    documents, content = EmbeddedDocuments(directory), EmbeddedContent(directory, PROJECT)
    try:
        await documents.open()
        await content.open()
        yield documents, content
    finally:
        await content.close()
        await documents.close()


async def _follow(local: Local, run: str, log: EventLog, steps: Steps, step: Step) -> None:
    """Print a run's events as they come, until its end."""
    events: list[SavedEvent] = []
    for state in watch(local, run, GATHER, step):
        for event in await log.read(PROJECT, after=len(events)):
            events.append(event)
            if not isinstance(event.read(), Deduplicating):
                console.print(f"    {describe(event)}")
        if state != "running":
            steps.say(f"run {state}; a worker starts a process for it")
        elif any(isinstance(event.read(), IterationComplete) for event in events):
            steps.say(f"the run writes and compares items; {len(events)} events so far")
        else:
            steps.say("the run reads its departments and loads the embedding model")


def _introduce() -> None:
    console.print(
        "\n[bold]2. Gather[/]\n\nAn example application has departments: "
        f"{len(GOOD)} to fill with items, a faulty one, a closed one.\nThe deployment "
        "automated_gather_creation writes items for each, drops what repeats something,\nsaves the "
        "rest and scores the department, until it is good enough or a stop rule ends it.\n"
        "[bold red]A mock writes and judges: no key is needed, nothing is paid. Every record says "
        "so.[/]\n"
    )


async def save_documents(content: EmbeddedContent) -> None:
    """Save the application's documents in the project's collection, as it would itself."""
    await content.insert_items(
        [SavedItem(f"{place:024x}", text) for place, text in enumerate(EXAMPLE_TEXTS, start=1)]
    )


async def read_outcome(
    documents: EmbeddedDocuments, content: EmbeddedContent, run_id: str
) -> Outcome:
    """Read the outcome of a run from the stores."""
    ids = [item_id async for page in content.list_ids() for item_id in page]
    items = (await content.read_items(ids)).values()
    origins = [item.automation for item in items if item.automation is not None]
    ours = [origin for origin in origins if origin.run_id == run_id]
    return Outcome(
        run=await GatherRuns(documents).load(run_id),
        faults=(await documents.get(RUNS, [run_id]))[run_id]["warnings"],
        made=Counter(origin.department for origin in ours),
        mocks=sum(origin.mock for origin in ours),
        theirs=len(items) - len(origins),
        events=await EventLog(documents).read(PROJECT),
        repeats=await _read_repeats(documents, content, run_id),
        evaluations=await _read_evaluations(documents),
    )


async def _await_evaluations(documents: EmbeddedDocuments, steps: Steps, step: Step) -> None:
    """Wait until the evaluations that have a run are done."""
    began = time.monotonic()
    while True:
        known = await _read_evaluations(documents)
        is_late = time.monotonic() - began > EVALUATIONS_WITHIN_S
        done = sum(not isinstance(score, str) for score in known.values())
        step.detail = f"{done} of {len(known)} done"
        if is_late or "under way" not in known.values():
            return
        steps.say(f"{done} of {len(known)} evaluations are done")
        await asyncio.sleep(POLL_EVERY_S)


async def _read_evaluations(documents: EmbeddedDocuments) -> dict[str, float | str]:
    """Return the scores of the departments that the run has evaluated, or how far that is."""
    where = {"project_id": PROJECT}
    asked = await documents.find(REQUESTS, where, sort="department_number")
    known = {row["department"]: "under way" if row["run_id"] else "asked for" for row in asked}
    stored = await documents.find(EVALUATIONS, where)
    return known | {row["department"]: row["score"] for row in stored if row["department"] in known}


async def _read_repeats(
    documents: EmbeddedDocuments, content: EmbeddedContent, run_id: str
) -> list[Repeat]:
    """Read what the run has dropped, in the order in which it did, each with what it repeats."""
    dropped = await ProjectDecisions(documents, PROJECT).list_dropped(run_id=run_id)
    ids = [drop.decision.match_id or "" for drop in reversed(dropped)]
    matches = await content.read_items(sorted(set(ids)))
    return [(drop, matches.get(id_)) for drop, id_ in zip(reversed(dropped), ids, strict=True)]

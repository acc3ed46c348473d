"""A project with a gather run, as the store has it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.documents import Documents
from aletheia.events.log import EventLog
from aletheia.events.models import IterationComplete
from aletheia.gather.progress import Iteration, Run, RunOrder
from aletheia.gather.project_lock import HolderState
from aletheia.gather.runs import GatherRuns
from aletheia.items.content import Automation, Item, SavedItem, make_item
from aletheia.items.decisions import ProjectDecisions
from aletheia.items.dedup import Decision
from aletheia.items.departments import Department
from tests.fakes.departments import FakeDepartments, make_department

PROJECT = "shop"
DEPARTMENTS = FakeDepartments([make_department("legal", 1), make_department("hr", 2)])


async def nobody_holds(run_id: str) -> HolderState:
    """Return that Prefect knows nothing of a run."""
    del run_id
    return "unknown"


async def begin_run(documents: Documents, run_id: str = "run-a", project_id: str = PROJECT) -> Run:
    """Begin a gather run, with an iteration of its first department."""
    runs = GatherRuns(documents)
    order = RunOrder(run_id, project_id, "user-1", 10)
    run = await runs.open(order, DEPARTMENTS, nobody_holds)
    run = await runs.start_department(run, 0, 40.0, {})
    return await runs.record(run, 0, Iteration(1, 8, 7, ("item-1",), 55.0))


async def finish_run(documents: Documents, run: Run) -> None:
    """End a run."""
    await GatherRuns(documents).close(run, "completed", {"legal": 7})


def item_of(text: str, department: str = "legal", run_id: str = "run-a") -> SavedItem:
    """Return an item that a run made."""
    automation = Automation(run_id, 1, department, 1, "a/model", 40.0, "0" * 64, mock=True)
    item = Item(content=text, summary="A point.", context="A situation.")
    return make_item(item, automation, "user-1", datetime(2026, 11, 30, tzinfo=UTC))


async def save_items(
    directory: Path, items: Sequence[SavedItem], project_id: str = PROJECT
) -> None:
    """Save items of a project."""
    content = EmbeddedContent(directory, project_id)
    await content.open()
    await content.insert_items(items)
    await content.close()


async def decide(documents: Documents, count: int, *, project_id: str = PROJECT) -> list[str]:
    """Save decisions, of which every second one drops an item; return the ids of items."""
    department: Department = DEPARTMENTS.departments[0]
    items = [item_of(f"Item {number} of a batch.") for number in range(count)]
    decisions = [
        Decision(item.id, number % 2 == 0, "exact", "a/model", "It is the same.", items[0].id)
        for number, item in enumerate(items)
    ]
    known = ProjectDecisions(documents, project_id)
    await known.save("run-a", 0, department, items, decisions, iteration=1)
    return [item.id for item in items]


async def add_events(
    documents: Documents, count: int, *, first: int = 1, project_id: str = PROJECT
) -> None:
    """Add events to the log of a project."""
    log = EventLog(documents)
    for iteration in range(first, first + count):
        event = IterationComplete(
            project_id=project_id,
            department="legal",
            department_name="Legal",
            iteration=iteration,
            total_iterations=iteration,
            quality_score=61.5,
            items_created=4,
            threshold=80,
        )
        await log.append(event, run_id="run-a")


async def purge_events(documents: Documents) -> None:
    """Delete all events but the last of each project, as if they were old."""
    await EventLog(documents).purge(-60)

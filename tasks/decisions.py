"""Decisions about duplicates that an operator undoes, as Prefect shows it."""

from dataclasses import dataclass
from datetime import datetime

from prefect import get_run_logger, task

from aletheia.brain.ports import BrainDepartment
from tasks.clients.brain import get_outbox
from tasks.clients.content import get_content, get_decisions
from tasks.policies import STEP
from tasks.session import open_session


@dataclass(frozen=True, slots=True)
class UndoneItem:
    """An item that was dropped and is now saved."""

    decision_id: str
    item_id: str
    match_id: str | None
    department: str
    content: str
    undone_by: str
    undone_at: datetime  # UTC

    def describe(self) -> str:
        """Return in a sentence where the item is now."""
        return f"{self.department} has it now, as {self.item_id}: {self.content}"


@task(name="undo_decision", task_run_name="undo-{decision_id}", **STEP)
async def undo_decision(project_id: str, decision_id: str, user_id: str) -> UndoneItem:
    """Save an item that was dropped, announce it, and record that its match is distinct.

    Raises:
        UndoRefused: see `ProjectDecisions.undo`.
    """
    async with open_session():
        decisions, content = await get_decisions(project_id), await get_content(project_id)
        undone = await decisions.undo(decision_id, user_id, content)
        department = BrainDepartment(
            undone.department, undone.department_name, undone.department_number
        )
        outbox = await get_outbox()
        await outbox.intents.announce(project_id, f"undo:{undone.id}", department, [undone.item.id])
    assert undone.undone_by is not None
    assert undone.undone_at is not None
    get_run_logger().info("item %s of %s is saved", undone.item.id, undone.department)
    return UndoneItem(
        decision_id=undone.id,
        item_id=undone.item.id,
        match_id=undone.decision.match_id,
        department=undone.department,
        content=undone.item.content,
        undone_by=undone.undone_by,
        undone_at=undone.undone_at,
    )

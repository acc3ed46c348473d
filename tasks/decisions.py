"""Decisions about duplicates that an operator undoes, as Prefect shows it."""

from prefect import get_run_logger, task

from aletheia.brain.ports import BrainDepartment
from aletheia.items.decisions import KeptDecision
from tasks.clients.brain import get_outbox
from tasks.clients.content import get_content, get_decisions
from tasks.policies import STEP
from tasks.session import open_session


@task(name="undo_decision", task_run_name="undo-{decision_id}", **STEP)
async def undo_decision(project_id: str, decision_id: str, user_id: str) -> KeptDecision:
    """Save an item that was dropped, and announce it; see `ProjectDecisions.undo`."""
    async with open_session():
        decisions, content = await get_decisions(project_id), await get_content(project_id)
        undone = await decisions.undo(decision_id, user_id, content)
        department = BrainDepartment(
            undone.department, undone.department_name, undone.department_number
        )
        outbox = await get_outbox()
        await outbox.intents.announce(project_id, f"undo:{undone.id}", department, [undone.item.id])
    get_run_logger().info("item %s of %s is saved", undone.item.id, undone.department)
    return undone

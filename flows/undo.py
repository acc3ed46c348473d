"""The deployment `undo_duplicate`: saves an item that was dropped."""

from prefect import flow

from aletheia.items.decisions import KeptDecision
from tasks.gather_operations import undo_decision
from tasks.runs import complete
from tasks.session import open_watched_session


@flow(name="undo_duplicate", persist_result=False)
async def undo_duplicate(project_id: str, decision_id: str, user_id: str) -> KeptDecision:
    """Save an item that was dropped as a duplicate, and record that the two are distinct.

    Decisions are listed in the table `gather-duplicates` of their run. A second time changes
    nothing; an item that repeats a saved text word for word cannot be saved beside it.
    """
    async with open_watched_session():
        undone = await undo_decision(project_id, decision_id, user_id)
    item = undone.item
    return complete(undone, f"{undone.department} has it now, as {item.id}: {item.content}")

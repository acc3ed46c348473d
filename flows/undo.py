"""The deployment `undo_duplicate`: an item that was dropped is saved after all."""

from prefect import flow

from tasks.decisions import UndoneItem, undo_decision


@flow(name="undo_duplicate", persist_result=False)
async def undo_duplicate(project_id: str, decision_id: str, user_id: str) -> UndoneItem:
    """Save an item that was dropped as a duplicate, and remember that the two are distinct.

    Decisions are listed in the table `gather-duplicates` of their run. Undone twice is undone
    once; what repeats a saved text word for word cannot be saved beside it.
    """
    return await undo_decision(project_id, decision_id, user_id)

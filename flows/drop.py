"""The deployment `drop_repetition`: drops an item that may repeat another one."""

from prefect import flow

from aletheia.items.decisions import KeptDecision
from tasks.gather_operations import drop_possible
from tasks.runs import complete
from tasks.session import open_watched_session


@flow(name="drop_repetition", persist_result=False)
async def drop_repetition(project_id: str, pair_id: str, user_id: str) -> KeptDecision:
    """Drop an item that was kept as a possible repetition of another one, which stays.

    Pairs are listed in the table `gather-possible-repetitions` of their run. A second time changes
    nothing; `undo_duplicate` with the same id saves the item again.
    """
    async with open_watched_session():
        dropped = await drop_possible(project_id, pair_id, user_id)
    item = dropped.item
    return complete(dropped, f"{dropped.department} has lost it, {item.id}: {item.content}")

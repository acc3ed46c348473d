"""Whether a shift leaves what is pending to the bulk lane."""

from typing import Final

from aletheia.documents import Documents
from aletheia.intake.bulk.backlog import MAX_PASSED_OVER, TASK_TYPE
from aletheia.intake.bulk.orders import BULK, UNDER_WAY
from aletheia.intake.bulk.turn import LANE
from aletheia.intake.held_claims import Pace
from aletheia.intake.models import Task
from aletheia.intake.pages import pending_if_served
from aletheia.intake.parsing import parse_page
from aletheia.intake.ports import Upstream

AWAKE_FOR_S: Final = 7200.0
"""How long after a run of the lane another one is expected, seconds; it is started hourly."""


async def prefers_bulk(
    upstream: Upstream, documents: Documents, *, above: int | None, now_s: float
) -> bool:
    """Return whether a shift should leave what is pending to the lane.

    A text is left alone until the next run of the lane has seen it, and no longer: the last run
    was not long ago and of use, or is at work; no batch is under way; more than `above` tasks are
    pending, by the lane's count and ours; most of the first are texts it has not passed over.
    """
    if above is None or await documents.count(BULK, UNDER_WAY):
        return False
    lane = (await documents.get(BULK, [LANE])).get(LANE, {})
    # A moment far ahead of the clock is none to go by: the clock has been moved back.
    if abs(now_s - lane.get("seen_at", float("-inf"))) > AWAKE_FOR_S:
        return False
    is_at_work = lane["holder"] is not None and now_s < lane["until"]
    if not is_at_work and not lane.get("is_useful", False):
        return False
    above = max(above, lane.get("above", above))
    pending = await pending_if_served(upstream, above + 1)
    if pending is None or len(pending) <= above:
        return False
    page = parse_page(pending[:MAX_PASSED_OVER], max_entry_bytes=Pace().max_entry_bytes)
    tasks = {entry.id: entry.task for entry in page.entries if isinstance(entry.task, Task)}
    texts = {task_id for task_id, task in tasks.items() if task.type == TASK_TYPE}
    return 2 * len(texts) > page.size and texts.isdisjoint(lane.get("passed_over", ()))

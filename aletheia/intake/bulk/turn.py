"""Whose turn it is in the bulk lane, one run at a time, and whether shifts leave texts to it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from aletheia.documents import Change, Documents
from aletheia.errors import LaneTaken
from aletheia.intake.bulk.backlog import MAX_PASSED_OVER, TASK_TYPE
from aletheia.intake.bulk.orders import BULK, UNDER_WAY
from aletheia.intake.bulk.ports import LaneDeps
from aletheia.intake.models import Task
from aletheia.intake.pages import pending_if_served
from aletheia.intake.parsing import parse_page
from aletheia.intake.ports import Upstream
from aletheia.store.clock import TimeUnit, moment
from aletheia.store.lease import Lease, Leases, LeaseTerms

LANE: Final = "lane"
"""Id of the document that says who works in the lane."""

AWAKE_FOR_S: Final = 7200.0
"""How long after a run of the lane another one is expected, seconds; it is started hourly."""

MAX_ENTRY_BYTES: Final = 2_000_000
"""Longer entries count as no texts."""


@asynccontextmanager
async def take_turn(deps: LaneDeps) -> AsyncGenerator[Lease]:
    """Keep others out of the lane until the end of the context, or raise `LaneTaken`."""
    documents, clock = deps.documents, deps.clock
    lease_s, skew_s = deps.lane_lease_s, deps.settings.clock_skew_seconds
    terms = LeaseTerms(lease_s, skew_s, until="until", nobody=None, unit=TimeUnit.SECONDS)
    leases = Leases(documents, BULK, terms, clock=clock)
    await documents.insert(BULK, [{"_id": LANE, **terms.released}])
    loop = asyncio.get_running_loop()
    # One that was killed renews nothing: after one lease the lane is free.
    gives_up_at = loop.time() + lease_s + skew_s
    # A run that ends without a word, however it ends, has been of no use.
    seen = Change(set={"seen_at": clock.unix_s(), "is_useful": False})
    while (lease := await leases.take(LANE, change=seen)) is None:
        if loop.time() >= gives_up_at:
            found = await documents.get(BULK, [LANE])
            raise LaneTaken(moment(terms.end_of(found[LANE])))
        await asyncio.sleep(min(1.0, lease_s / 4))
    async with lease.hold():
        yield lease


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
    page = parse_page(pending[:MAX_PASSED_OVER], max_entry_bytes=MAX_ENTRY_BYTES)
    tasks = {entry.id: entry.task for entry in page.entries if isinstance(entry.task, Task)}
    texts = {task_id for task_id, task in tasks.items() if task.type == TASK_TYPE}
    return 2 * len(texts) > page.size and texts.isdisjoint(lane.get("passed_over", ()))

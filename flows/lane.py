"""The deployments `process_lane/media` and `process_lane/llm`: one shift of a lane's worker."""

from typing import Literal

from prefect import flow

from aletheia.intake.models import ShiftReport
from tasks.intake import close_shift, collect_batch, open_shift, process_batch
from tasks.lanes import drain_lane, next_lane_tick


@flow(name="process_lane", persist_result=False)
async def process_lane(
    lane: Literal["media", "llm"], shift_seconds: float | None = None
) -> ShiftReport:
    """Compute the tasks that shifts handed over to a lane, for one shift.

    Any number of these runs, on any number of machines that share the store, take from the same
    lane. A task whose worker died is taken by the next one; with `shift_seconds=0` what waits is
    worked off once.
    """
    async with open_shift(shift_seconds, lane):
        while await next_lane_tick():
            await drain_lane(lane, collect_batch, process_batch)
        return await close_shift()

"""The deployment `poll_tasks`: one shift of a poller."""

from prefect import flow

from aletheia.intake.models import ShiftReport
from aletheia.intake.pipeline import drain
from tasks.announcing import announce_changes
from tasks.intake import close_shift, collect_batch, next_tick, open_shift, process_batch


@flow(name="poll_tasks", persist_result=False)
async def poll_tasks(shift_seconds: float | None = None) -> ShiftReport:
    """Work off the upstream's pending tasks for one shift.

    Each tick takes over claims whose lease has run out, then claims, computes and reports batches
    until nothing is left. A shift ticks at intervals until its time is over; with
    `shift_seconds=0` it ticks once.
    """
    async with open_shift(shift_seconds):
        while await next_tick():
            await drain(collect_batch, process_batch)
            await announce_changes()
        return await close_shift()

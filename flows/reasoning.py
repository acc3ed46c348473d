"""The deployment `system_reasoning`: how the system is, and what to do about it."""

from prefect import flow

from tasks.announcing import announce_changes
from tasks.reasoning import (
    ReasoningReport,
    close_reasoning,
    collect_snapshot,
    next_tick,
    open_reasoning,
    reason,
    show_reasoning,
)


@flow(name="system_reasoning", persist_result=False)
async def system_reasoning(shift_seconds: float | None = None) -> ReasoningReport:
    """Reason about the system every `AI_WORKER_INTERVAL_SECONDS`, for one shift.

    Each time all sources are read into a snapshot; rules find what needs attention, a model
    explains it where that changed, and recommendations and a plan follow. With `shift_seconds=0`
    it does so once. While another process is at it, a tick is left out.
    """
    async with open_reasoning(shift_seconds):
        while await next_tick():
            snapshot = await collect_snapshot()
            output = await reason(snapshot)
            await show_reasoning(output)
            await announce_changes()
        return await close_reasoning()

"""The deployment `replay_dead_letters`: repeats work that failed permanently."""

from prefect import flow

from aletheia.intake.models import ShiftReport, Tally
from aletheia.intake.pipeline import drain_parts
from tasks.intake import close_shift, find_dead_letters, open_shift, process_batch, recall_batch
from tasks.runs import complete


@flow(name="replay_dead_letters", persist_result=False)
async def replay_dead_letters(
    ids: list[str] | None = None, code: str | None = None, limit: int = 1000
) -> ShiftReport:
    """Replay dead letters: all, those of some tasks, or those with one code.

    The upstream is asked to take each task back with `processing`; a dead letter that it refuses
    stays, with the upstream's answer. A report that was refused is sent again as it is; a task
    that failed is computed again.
    """
    async with open_shift(shift_seconds=0):
        batches = await find_dead_letters(ids, code, limit)
        await drain_parts(batches, recall_batch, process_batch)
        report = await close_shift()
    return complete(report, _describe(report.tally))


def _describe(tally: Tally) -> str:
    others = tally.dead + tally.conflicts + tally.waiting + tally.deferred_reports
    if not (tally.succeeded + tally.failed + tally.refused_replays + others):
        return "There is no such dead letter."
    return (
        f"{tally.succeeded} succeeded, {tally.failed} failed again, "
        f"{tally.refused_replays} could not be replayed."
    )

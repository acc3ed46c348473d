"""The deployment `bulk_embed`: large backlogs of texts, through OpenAI's Batch API."""

from prefect import flow

from aletheia.intake.bulk.lane import BulkReport
from tasks.bulk import (
    attach_batches,
    close_bulk_lane,
    collect_backlog,
    next_poll,
    open_bulk_lane,
    poll_batches,
)


@flow(name="bulk_embed", persist_result=False)
async def bulk_embed(limit: int | None = None) -> BulkReport:
    """Embed a backlog of more than `OPENAI_BULK_ABOVE` texts at the batch price, within a day.

    Batches of earlier runs come first; only if there are none, at most `limit` tasks are claimed.
    What a batch does not answer is left to `poll_tasks`. A run that ends early leaves its batch
    under way, and its tasks claimed for 26 hours: the next one continues with both.
    """
    async with open_bulk_lane():
        if not await attach_batches():
            await collect_backlog(limit)
        while await next_poll():
            await poll_batches()
        return await close_bulk_lane()

"""The steps of a run in the bulk lane, as Prefect shows them."""

import contextlib
from collections.abc import AsyncGenerator

from prefect import get_run_logger, task

from aletheia.escaping import escape_markdown as escape
from aletheia.intake.bulk.lane import BulkLane, BulkReport
from aletheia.store.patience import Patience
from tasks import artifacts, cancelling
from tasks.clients.intake import build_bulk_lane, find_wrong_mode
from tasks.intake import rest
from tasks.policies import STEP
from tasks.session import current_session, open_session


@contextlib.asynccontextmanager
async def open_bulk_lane() -> AsyncGenerator[None]:
    """Open the lane, and keep other runs out of it until the end; or raise `LaneTaken`."""
    patience = Patience()
    async with (
        cancelling.watching(patience=patience) as watch,
        open_session(watch=watch) as session,
    ):
        lane = await build_bulk_lane()
        async with lane.held():
            session.clients.share(lane)
            try:
                yield
            finally:
                # A run that ends, or is cancelled, waits for nothing more.
                patience.end()


def _lane() -> BulkLane:
    return current_session().clients.find(BulkLane)


@task(name="attach_batches", task_run_name="attach", **STEP)
async def attach_batches() -> int:
    """Find the batches of earlier runs that are under way; return how many there are."""
    found = await _lane().attach()
    if found:
        get_run_logger().info("%d batches of earlier runs are under way", found)
    return found


@task(name="collect_backlog", task_run_name="collect", **STEP)
async def collect_backlog(limit: int | None) -> int:
    """Claim the backlog and write down the batches it makes; return how many these are."""
    above = current_session().settings.bulk.openai_bulk_above
    if (wrong_mode := await find_wrong_mode()) is not None:
        # What an earlier run has claimed is the shifts' now.
        await _lane().collect(limit, above=None)
        raise wrong_mode
    return await _lane().collect(limit, above)


async def next_poll() -> bool:
    """Wait until it is time to poll the batches; return `False` when none is under way."""
    return await _lane().next_poll(rest)


@task(name="poll_batches", task_run_name="poll", **STEP)
async def poll_batches() -> int:
    """Submit what is to be submitted, take in what has ended; return how many are under way."""
    return await _lane().poll()


@task(name="close_bulk_lane", task_run_name="close", **STEP)
async def close_bulk_lane() -> BulkReport:
    """Leave a table of what the run did; raise what was refused, or not acknowledged."""
    lane = _lane()
    report = lane.report()
    counts = {
        "batches of earlier runs": report.attached,
        "batches submitted": report.submitted,
        "tasks claimed": report.tally.claimed + report.tally.taken_over,
        "tasks succeeded": report.tally.succeeded,
        "tasks failed": report.tally.failed,
        "tasks handed to the shifts": report.handed_back,
        "tokens": report.tally.tokens,
    }
    rows = [{"what": what, "count": count} for what, count in counts.items()]
    description = f"Ended: {report.ended.replace('_', ' ')}. {escape(report.why)}".strip()
    await artifacts.save_table("bulk-report", rows, description)
    if (trouble := await lane.find_trouble()) is not None:
        raise trouble
    return report

"""The steps of a run in the bulk lane, as Prefect shows them."""

import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.artifacts import acreate_table_artifact
from prefect.runtime import flow_run

from aletheia.adapters.openai.guarded_batches import GuardedBatches
from aletheia.analysis.processor import Processors
from aletheia.errors import Misconfigured
from aletheia.intake.bulk import BulkLane, BulkReport
from aletheia.llm.prices import PriceTable
from aletheia.settings import (
    BulkSettings,
)
from tasks import cancelling
from tasks.clients.embedding import get_batches, get_processors
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.store import get_store
from tasks.clients.upstream import get_upstream
from tasks.intake import rest
from tasks.policies import STEP
from tasks.session import open_session


@dataclass(slots=True)
class _Run:
    """The lane as this process works in it.

    Attributes:
        lane: the lane.
        settings: when something is sent.
        misfit: why nothing can be sent, if so; what is under way can be finished all the same.
        next_look_at: Unix time, seconds.
    """

    lane: BulkLane
    settings: BulkSettings
    misfit: Misconfigured | None
    next_look_at: float = 0


_current: _Run | None = None


def _run() -> _Run:
    assert _current is not None, "outside on_bulk_lane()"
    return _current


@contextlib.asynccontextmanager
async def on_bulk_lane() -> AsyncGenerator[None]:
    """Open what the lane needs and keep other runs out of it.

    Raises:
        Misconfigured: there is no key.
        LaneTaken: another run works in the lane.
    """
    global _current  # noqa: PLW0603
    async with cancelling.heard(), open_session() as session:
        settings, misfit = session.settings, None
        mode = settings.embedding.processing_mode
        if mode != "openai":
            reason = f"batches are sent with 'openai', not with {mode!r}"
            misfit = Misconfigured("PROCESSING_MODE", reason)
        try:
            batches = await get_batches()
        except Misconfigured as no_key:
            raise misfit or no_key from None
        breakers = await get_breakers()
        lane = BulkLane(
            await get_upstream(),
            await get_store(),
            await get_processors() if misfit is None else Processors({}, plugins=[]),
            GuardedBatches(batches, breakers),
            spending=await get_spending(),
            prices=PriceTable.from_settings(settings.budgets),
            limiter=await get_limiter(),
            breakers=breakers,
            settings=settings.intake,
            clock=time.time,
            run_id=str(flow_run.id),
        )
        async with lane.held():
            _current = _Run(lane, settings.bulk, misfit)
            try:
                yield
            finally:
                _current = None


@task(name="attach_batches", task_run_name="attach", **STEP)
async def attach_batches() -> int:
    """Find the batches of earlier runs that are under way; return how many there are."""
    found = await _run().lane.attach()
    if found:
        get_run_logger().info("%d batches of earlier runs are under way", found)
    return found


@task(name="collect_backlog", task_run_name="collect", **STEP)
async def collect_backlog(limit: int | None) -> int:
    """Claim the backlog and write down the batches it makes; return how many these are.

    Raises:
        Misconfigured: texts are not embedded by OpenAI.
    """
    run = _run()
    if run.misfit is not None:
        # What an earlier run has claimed is the shifts' now.
        await run.lane.collect(limit, above=None)
        raise run.misfit
    return await run.lane.collect(limit, run.settings.openai_bulk_above)


async def batches_under_way() -> bool:
    """Wait until it is time to look at the batches; `False` when none is under way."""
    run = _run()
    if not await run.lane.under_way():
        return False
    while (left_s := run.next_look_at - time.time()) > 0:
        await rest(left_s)
    run.next_look_at = time.time() + run.settings.openai_bulk_poll_seconds
    return True


@task(name="look_at_batches", task_run_name="look", **STEP)
async def look_at_batches() -> int:
    """Submit what is to be submitted, take in what has ended; return how many are under way."""
    return await _run().lane.look()


@task(name="close_bulk_lane", task_run_name="close", **STEP)
async def close_bulk_lane() -> BulkReport:
    """Write down what the run did.

    Raises:
        AletheiaError: what refused a batch, so that the run shows as failed.
    """
    lane = _run().lane
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
    await acreate_table_artifact(
        key="bulk-report",
        table=[{"what": what, "count": count} for what, count in counts.items()],
        description=f"Ended: {report.ended.replace('_', ' ')}. {report.why}".strip(),
    )
    if lane.trouble is not None:
        raise lane.trouble
    return report

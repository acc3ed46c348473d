"""The bulk lane, which sends backlogs through OpenAI's Batch API."""

from prefect.runtime import flow_run

from aletheia.analysis.processor import Processors
from aletheia.errors import Misconfigured
from aletheia.intake.bulk.lane import BulkLane
from aletheia.intake.bulk.ports import LaneDeps
from aletheia.llm.prices import PriceTable
from tasks.clients.embedding import get_batches, get_processors
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.mode import choose_mode
from tasks.clients.store import get_store
from tasks.clients.upstream import get_upstream
from tasks.session import current_session


async def build_bulk_lane() -> BulkLane:
    """Build the lane of this run.

    Raises:
        Misconfigured: there is no key; or see `find_wrong_mode`, if both are wrong.
    """
    settings, wrong_mode = current_session().settings, await find_wrong_mode()
    try:
        batches = await get_batches()
    except Misconfigured as no_key:
        raise wrong_mode or no_key from None
    deps = LaneDeps(
        upstream=await get_upstream(),
        documents=await get_store(),
        processors=await get_processors() if wrong_mode is None else Processors({}, plugins=[]),
        batches=batches,
        spending=await get_spending(),
        prices=PriceTable.from_settings(settings.budgets),
        limiter=await get_limiter(),
        breakers=await get_breakers(),
        settings=settings.intake,
        run_id=str(flow_run.id),
        poll_s=settings.bulk.openai_bulk_poll_seconds,
    )
    return BulkLane(deps)


async def find_wrong_mode() -> Misconfigured | None:
    """Return why nothing can be sent in this `PROCESSING_MODE`; `None` if it can.

    What is under way can be finished all the same.
    """
    await choose_mode()
    mode = current_session().settings.embedding.processing_mode
    if mode == "openai":
        return None
    reason = f"batches are sent with 'openai', not with {mode!r}"
    return Misconfigured("PROCESSING_MODE", reason)

"""The shift of a poller, and the bulk lane, which sends backlogs through OpenAI's Batch API."""

import logging
import os
import socket

from prefect.runtime import flow_run

from aletheia.adapters.openai.batches import OpenAIBatches
from aletheia.adapters.upstream.client import GuardedUpstream
from aletheia.analysis.registry import Processors
from aletheia.errors import Misconfigured
from aletheia.intake.bulk.lane import BulkLane
from aletheia.intake.bulk.ports import LaneDeps
from aletheia.intake.ledger import Ledger
from aletheia.intake.poller import Poller
from aletheia.intake.shift import Shift
from aletheia.settings import LOCAL_BATCH_TASKS, REMOTE_BATCH_TASKS
from blocks import OpenAICredentials, UpstreamCredentials
from tasks.clients.embedding import describe_mode, get_embedding_settings
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.processors import get_processors
from tasks.clients.store import get_store
from tasks.session import current_session, load_block

log = logging.getLogger("aletheia.intake")


async def begin_shift(shift_seconds: float | None) -> Shift:
    """Begin the shift of this run, or go on with it; `None` takes its length from the settings."""
    log.info("embedding by %s", await describe_mode())
    settings = current_session().settings
    embedding, intake = await get_embedding_settings(), settings.intake
    above = settings.bulk.openai_bulk_above
    run_id, store = str(flow_run.id), await get_store()
    batch = REMOTE_BATCH_TASKS if embedding.is_remote else LOCAL_BATCH_TASKS
    poller = Poller(
        await _open_upstream(),
        Ledger(store, intake, owner=f"{socket.gethostname()}/{os.getpid()}/{run_id}"),
        await get_processors(),
        batch,
    )
    return await Shift.begin(
        poller,
        run_id,
        length_s=intake.shift_seconds if shift_seconds is None else shift_seconds,
        interval_s=intake.polling_interval_seconds,
        bulk=None if above is None or embedding.processing_mode != "openai" else (store, above),
    )


async def build_bulk_lane() -> BulkLane:
    """Build the lane of this run.

    Raises:
        Misconfigured: there is no key; or see `find_wrong_mode`, if both are wrong.
    """
    settings, wrong_mode = current_session().settings, await find_wrong_mode()
    try:
        batches = await _open_batches()
    except Misconfigured as no_key:
        raise wrong_mode or no_key from None
    deps = LaneDeps(
        upstream=await _open_upstream(),
        documents=await get_store(),
        processors=await get_processors() if wrong_mode is None else Processors({}),
        batches=batches,
        spending=await get_spending(),
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
    mode = (await get_embedding_settings()).processing_mode
    if mode == "openai":
        return None
    reason = f"batches are sent with 'openai', not with {mode!r}"
    return Misconfigured("PROCESSING_MODE", reason)


async def _open_upstream() -> GuardedUpstream:
    block = await load_block(UpstreamCredentials)
    auth, why = block.choose_auth()
    logging.getLogger("aletheia.upstream").info("sign-in to the upstream: %s, as %s", auth, why)
    note = (await get_store()).note
    client = await current_session().clients.open(block.get_client(note))
    return GuardedUpstream(client, await get_breakers())


async def _open_batches() -> OpenAIBatches:
    block = await load_block(OpenAICredentials)
    return await current_session().clients.open(block.get_batches(await get_breakers()))

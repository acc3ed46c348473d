"""The shift of a poller, and the bulk lane, which sends backlogs through OpenAI's Batch API."""

import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable

from prefect.runtime import flow_run

from aletheia.adapters.openai.batches import OpenAIBatches
from aletheia.adapters.upstream.client import GuardedUpstream
from aletheia.adapters.upstream.nobody import NoUpstream
from aletheia.analysis.registry import Processors
from aletheia.errors import Misconfigured
from aletheia.intake.bulk.lane import BulkLane
from aletheia.intake.bulk.ports import LaneDeps
from aletheia.intake.lanes.worker import LaneWorker
from aletheia.intake.ledger import Ledger
from aletheia.intake.poller import Poller
from aletheia.intake.ports import Callbacks, Upstream
from aletheia.intake.shift import Shift
from aletheia.intake.workers import Workers
from aletheia.settings import LOCAL_BATCH_TASKS, REMOTE_BATCH_TASKS
from blocks import OpenAICredentials, UpstreamCredentials
from tasks.clients.embedding import describe_mode, get_embedding_settings
from tasks.clients.events import get_webhooks
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.processors import get_processors
from tasks.clients.store import get_store
from tasks.session import current_session, load_block

log = logging.getLogger("aletheia.intake")


class LateCallbacks:
    """Sends callbacks by what `get` returns, which is asked for with the first one."""

    def __init__(self, get: Callable[[], Awaitable[Callbacks]]) -> None:
        self._get = get

    async def post(self, address: str, body: bytes, event_id: str) -> None:
        """See `Callbacks.post`."""
        await (await self._get()).post(address, body, event_id)


async def begin_shift(shift_seconds: float | None) -> Shift:
    """Begin the shift of this run, or go on with it; `None` takes its length from the settings."""
    log.info("embedding by %s", await describe_mode())
    settings = current_session().settings
    embedding, intake = await get_embedding_settings(), settings.intake
    above = settings.bulk.openai_bulk_above
    run_id, store, processors = str(flow_run.id), await get_store(), await get_processors()
    batch = REMOTE_BATCH_TASKS if embedding.is_remote else LOCAL_BATCH_TASKS
    poller = Poller(
        await _open_upstream(),
        Ledger(store, intake, owner=_name_owner(run_id)),
        processors,
        batch,
        lane_max_waiting=settings.workers.lane_max_waiting,
        callbacks=LateCallbacks(get_webhooks),
    )
    _note_faults(poller, processors)
    return await Shift.begin(
        poller,
        run_id,
        length_s=intake.shift_seconds if shift_seconds is None else shift_seconds,
        interval_s=intake.polling_interval_seconds,
        bulk=None if above is None or embedding.processing_mode != "openai" else (store, above),
    )


async def begin_lane_shift(lane: str, shift_seconds: float | None) -> Shift:
    """Begin the shift of this run in a lane, or go on with it; see `begin_shift`."""
    settings, processors = current_session().settings, await get_processors()
    slots = get_slots(lane)
    intake = settings.intake.model_copy(update={"concurrency_limit": slots})
    run_id = str(flow_run.id)
    ledger = Ledger(await get_store(), intake, owner=_name_owner(run_id), lane=lane)
    callbacks = LateCallbacks(get_webhooks)
    worker = LaneWorker(await _open_upstream(), ledger, processors, lane, callbacks=callbacks)
    log.info("lane %s: %d at once of %s", lane, slots, ", ".join(worker.types) or "no type")
    return await Shift.begin(
        worker,
        run_id,
        length_s=intake.shift_seconds if shift_seconds is None else shift_seconds,
        interval_s=intake.polling_interval_seconds,
    )


async def register_worker(
    shift: Shift, lane: str | None
) -> contextlib.AbstractAsyncContextManager[None]:
    """Return the context in which a shift's poller has a row among the workers."""
    processors = await get_processors()
    types = [name for name in processors.types if processors.lane(name) == (lane or "intake")]
    return Workers(await get_store()).registered(shift.poller, lane or "intake", types)


def get_slots(lane: str) -> int:
    """Return how many tasks of a lane a worker computes at once."""
    workers = current_session().settings.workers
    return workers.lane_llm_concurrency if lane == "llm" else workers.lane_media_concurrency


def _name_owner(run_id: str) -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{run_id}"


def _note_faults(poller: Poller, processors: Processors) -> None:
    """Note types that cannot be computed: their tasks wait, and the run fails at its end."""
    for name, fault in processors.faults.items():
        poller.held.troubles[f"processor {name}"] = fault


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


async def _open_upstream() -> Upstream:
    block = await load_block(UpstreamCredentials)
    if not block.has_upstream:
        log.info("no upstream is polled: API_BASE_URL says so")
        return NoUpstream()
    auth, why = block.choose_auth()
    logging.getLogger("aletheia.upstream").info("sign-in to the upstream: %s, as %s", auth, why)
    note = (await get_store()).note
    client = await current_session().clients.open(block.get_client(note))
    return GuardedUpstream(client, await get_breakers())


async def _open_batches() -> OpenAIBatches:
    block = await load_block(OpenAICredentials)
    return await current_session().clients.open(block.get_batches(await get_breakers()))

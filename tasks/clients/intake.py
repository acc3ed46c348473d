"""The shift of a poller."""

import logging
import os
import socket

from prefect.runtime import flow_run

from aletheia.intake.held_claims import Pace
from aletheia.intake.ledger import Ledger
from aletheia.intake.poller import Poller
from aletheia.intake.shift import Shift
from aletheia.settings import LOCAL_BATCH_TASKS, REMOTE_BATCH_TASKS
from tasks.clients.embedding import get_processors
from tasks.clients.mode import choose_mode
from tasks.clients.store import get_store
from tasks.clients.upstream import get_upstream
from tasks.session import current_session

log = logging.getLogger("aletheia.intake")


async def begin_shift(shift_seconds: float | None) -> Shift:
    """Begin the shift of this run, or go on with it; `None` takes its length from the settings."""
    log.info("embedding by %s", await choose_mode())
    settings = current_session().settings
    embedding, intake, above = settings.embedding, settings.intake, settings.bulk.openai_bulk_above
    run_id, store = str(flow_run.id), await get_store()
    batch = REMOTE_BATCH_TASKS if embedding.is_remote else LOCAL_BATCH_TASKS
    poller = Poller(
        await get_upstream(),
        Ledger(store, intake, owner=f"{socket.gethostname()}/{os.getpid()}/{run_id}"),
        await get_processors(),
        Pace.from_settings(intake, batch=batch),
    )
    return await Shift.begin(
        poller,
        run_id,
        length_s=intake.shift_seconds if shift_seconds is None else shift_seconds,
        interval_s=intake.polling_interval_seconds,
        bulk=None if above is None or embedding.processing_mode != "openai" else (store, above),
    )

"""The steps of a shift, as Prefect shows them."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncGenerator
from typing import Final

from prefect import get_run_logger, task

from aletheia.errors import AletheiaError
from aletheia.intake.models import Collected, ShiftReport
from aletheia.intake.shift import Shift
from aletheia.store.patience import Patience
from tasks import artifacts, cancelling
from tasks.clients.embedding import get_ollama_embedder
from tasks.clients.intake import begin_shift
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.policies import STEP
from tasks.session import current_session, open_session
from tasks.shift_view import ShiftView

MIN_USAGE_DAYS: Final = 2
"""How long calls are stored at least: today's budget counts them."""

WATCH_EVERY_S: Final = 1.0
"""Between two reads of the run's own state, seconds: a shift is short of processor time."""

MAX_REST_S: Final = 15.0
"""Longest sleep within one step, seconds: a suspended run ends at the next step."""


@contextlib.asynccontextmanager
async def open_shift(shift_seconds: float | None) -> AsyncGenerator[None]:
    """Open a shift; at the end, also after an interruption, release its claims and report it.

    A run that is resumed goes on with the shift it began first; `None` takes its length from the
    settings.
    """
    shift: Shift | None = None

    def stop_claiming(is_paused: bool) -> None:
        if shift is not None:
            shift.poller.held.stop(is_stopping=is_paused)

    patience = Patience()
    async with (
        cancelling.heard(stop_claiming, WATCH_EVERY_S),
        open_session(patience=patience) as session,
    ):
        shift = await begin_shift(shift_seconds)
        await _delete_old_usage()
        # What has been imported so far stays: a collection of garbage, which stops everything,
        # need not go through it again.
        gc.freeze()
        view = ShiftView(shift, patience)
        async with view.open(), _pulling_models():
            session.clients.share(shift)
            session.clients.share(view)
            try:
                async with shift.poller.holding():
                    try:
                        yield
                    finally:
                        # A run that ends, or is cancelled, waits for nothing more.
                        patience.end()
            except BaseException:
                shift.ended = "interrupted"
                raise


@contextlib.asynccontextmanager
async def _pulling_models() -> AsyncGenerator[None]:
    """Download models that are missing at Ollama beside the work that needs none of them."""
    if current_session().settings.embedding.processing_mode not in {"ollama", "hybrid"}:
        yield
        return
    pulling = asyncio.create_task(pull_missing_models())
    try:
        yield
    finally:
        pulling.cancel()


@task(name="pull_missing_models", task_run_name="pull-missing-models", **STEP)
async def pull_missing_models() -> None:
    """Download the supported models that are missing at Ollama, each with a progress bar."""
    embedder = await get_ollama_embedder()
    try:
        await (await get_breakers()).check(embedder.provider)
        async with contextlib.aclosing(embedder.pull_missing()) as steps:
            await artifacts.show_downloads(steps)
    except AletheiaError as error:
        # A task that needs a missing model fails or waits by itself; the others go on.
        get_run_logger().error("not every model could be downloaded: %s", error)


async def _delete_old_usage() -> None:
    """Delete grants that no limit counts any more, and calls as old as the oldest ledger rows."""
    await (await get_limiter()).purge()
    days = max(current_session().settings.intake.ledger_retention_days, MIN_USAGE_DAYS)
    await (await get_spending()).purge(days * 86_400)


def _shift() -> Shift:
    return current_session().clients.find(Shift)


async def next_tick() -> bool:
    """Wait until it is time to poll; return `False` when the shift is over."""
    return await _shift().next_tick(rest)


@task(name="rest", task_run_name="rest", **STEP)
async def rest(seconds: float) -> None:
    """Wait for the next tick, in pieces short enough for a suspension to take effect."""
    await asyncio.sleep(max(0.0, min(seconds, MAX_REST_S)))


@task(name="collect_batch", task_run_name="collect", **STEP)
async def collect_batch() -> Collected:
    """Claim the next batch; return its number and size, 0 when nothing is left to claim."""
    return await _shift().collect()


@task(name="find_dead_letters", task_run_name="find-dead-letters", **STEP)
async def find_dead_letters(ids: list[str] | None, code: str | None, limit: int) -> int:
    """Find the dead letters to replay; return how many there are."""
    return await _shift().find_dead_letters(ids, code, limit)


@task(name="recall_batch", task_run_name="recall", **STEP)
async def recall_batch() -> Collected:
    """Ask the upstream to take dead letters back, until a batch is full or none is left."""
    return await _shift().recall()


@task(name="process_batch", task_run_name="process-{batch.number}", **STEP)
async def process_batch(batch: Collected) -> int:
    """Compute a batch and report every result once it is kept; return how many were accepted."""
    kept, reported = await _shift().process(batch)
    get_run_logger().info("%d tasks: %d computed, %d reported", batch.size, kept, reported)
    return reported


@task(name="close_shift", task_run_name="close", **STEP)
async def close_shift() -> ShiftReport:
    """Save the report of the shift, and return it; raise what prevented work at the end."""
    report = await current_session().clients.find(ShiftView).save_report()
    if (trouble := await _shift().find_trouble()) is not None:
        raise trouble
    return report

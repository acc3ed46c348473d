"""The steps of a shift, as Prefect shows them."""

import asyncio
import contextlib
import gc
import os
import socket
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.runtime import flow_run

from aletheia.errors import AletheiaError
from aletheia.intake.held_claims import Pace
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import Collected, ShiftReport
from aletheia.intake.poller import Poller
from aletheia.intake.shift import Shift
from aletheia.settings import (
    LOCAL_BATCH_TASKS,
    REMOTE_BATCH_TASKS,
    IntakeSettings,
)
from tasks import artifacts, cancelling, status
from tasks.clients.embedding import get_ollama_embedder, get_processors
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.store import get_store
from tasks.clients.upstream import get_upstream
from tasks.policies import STEP
from tasks.session import open_session

PROGRESS_EVERY_S = 2
"""Between two moves of the bar, seconds."""

MIN_USAGE_DAYS = 2
"""Calls are remembered at least so long: today's budget counts them."""

MAX_REST_S = 15
"""Longest sleep within one step, seconds: a suspended run ends at the next step."""


@dataclass(slots=True)
class _Run:
    """The shift of this process."""

    shift: Shift
    progress: artifacts.Progress
    is_written_down: bool = False

    async def write_down(self) -> ShiftReport:
        """Leave the artifacts of this shift, once."""
        self.is_written_down = True
        report = self.shift.report()
        await artifacts.shift_report(report)
        ledger = self.shift.poller.held.ledger
        system = await status.read_system_status(ledger.overview, str(flow_run.id))
        await artifacts.intake_status(system.intake)
        await status.show_status(system)
        return report

    async def show_progress(self) -> None:
        """Move the bar as long as the shift goes on."""
        tally, shown = self.shift.poller.held.tally, 0
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            done = tally.succeeded + tally.failed
            if done != shown:
                shown = done
                await self.progress.move(done, tally.claimed + tally.taken_over)


_current: _Run | None = None


def _run() -> _Run:
    assert _current is not None, "outside on_shift()"
    return _current


@contextlib.asynccontextmanager
async def on_shift(shift_seconds: float | None) -> AsyncGenerator[None]:
    """Open what a shift needs; at the end, however it comes, give back what is held.

    Args:
        shift_seconds: length of the shift; `None` takes it from the settings. A run that was
            started before, and resumed, keeps its first beginning.
    """
    global _current  # noqa: PLW0603
    run_id = str(flow_run.id)
    async with cancelling.heard(_obey), open_session() as session:
        settings, embedding = session.settings.intake, session.settings.embedding
        batch = REMOTE_BATCH_TASKS if embedding.is_remote else LOCAL_BATCH_TASKS
        store = await get_store()
        poller = Poller(
            await get_upstream(),
            Ledger.from_settings(store, settings, owner=_poller_name()),
            await get_processors(),
            Pace.from_settings(settings, batch=batch),
            time.time,
        )
        above = session.settings.bulk.openai_bulk_above
        has_bulk = embedding.processing_mode == "openai"
        shift = await Shift.begin(
            poller,
            run_id,
            length_s=settings.shift_seconds if shift_seconds is None else shift_seconds,
            interval_s=settings.polling_interval_seconds,
            bulk=(store, above) if has_bulk and above is not None else None,
        )
        await _forget_old(settings)
        # What has been imported so far stays for ever: no collection of garbage, which stops
        # everything, need look through it again.
        gc.freeze()
        _current = run = _Run(shift, await artifacts.Progress.begin("tasks reported"))
        progress, pulling = asyncio.create_task(run.show_progress()), None
        try:
            if embedding.processing_mode in {"ollama", "hybrid"}:
                # Whatever is there already need not wait for a download.
                pulling = asyncio.create_task(pull_missing_models())
            async with poller.holding():
                yield
        except BaseException:
            shift.ended = "interrupted"
            raise
        finally:
            _current = None
            for beside in (progress, pulling):
                if beside is not None:
                    beside.cancel()
            if not run.is_written_down:
                # A run that is cancelled or suspended has to say what it did all the same.
                await asyncio.shield(_write_down_at_last(run))


def _obey(is_paused: bool) -> None:
    if _current is not None:
        _current.shift.poller.held.stop(is_stopping=is_paused)


@task(name="pull_missing_models", task_run_name="pull-missing-models", **STEP)
async def pull_missing_models() -> None:
    """Have Ollama download the supported models that it lacks, each with a bar of its own."""
    embedder, bar, shown_at = await get_ollama_embedder(), None, 0.0
    model = ""
    try:
        await (await get_breakers()).check(embedder.provider)
        async with contextlib.aclosing(embedder.pull_missing()) as steps:
            async for step in steps:
                if bar is None or step.model != model:
                    if bar is not None:
                        await bar.finish()
                    model = step.model
                    bar = await artifacts.Progress.begin(f"download of {model}")
                if time.monotonic() - shown_at >= PROGRESS_EVERY_S:
                    shown_at = time.monotonic()
                    await bar.move(step.completed_bytes, step.total_bytes)
        if bar is not None:
            await bar.finish()
    except AletheiaError as problem:
        # Whatever needs the model will say so itself; everything else goes on.
        get_run_logger().error("not every model could be downloaded: %s", problem)


async def _forget_old(settings: IntakeSettings) -> None:
    """Delete what no limit counts any more, and calls as old as the ledger's oldest rows."""
    await (await get_limiter()).purge()
    days = max(settings.ledger_retention_days, MIN_USAGE_DAYS)
    await (await get_spending()).purge(days * 86_400)


async def _write_down_at_last(run: _Run) -> None:
    try:
        await run.write_down()
    except Exception:  # noqa: BLE001
        # Whatever ended the shift is what the run has to fail with, not this.
        get_run_logger().exception("what the shift did could not be written down")


async def next_tick() -> bool:
    """Wait until it is time to poll; `False` when the shift is over."""
    return await _run().shift.next_tick(rest)


@task(name="rest", task_run_name="rest", **STEP)
async def rest(seconds: float) -> None:
    """Wait for the next tick, in pieces short enough for a suspension to take effect."""
    await asyncio.sleep(max(0.0, min(seconds, MAX_REST_S)))


@task(name="collect_batch", task_run_name="collect", **STEP)
async def collect_batch() -> Collected:
    """Claim the next batch."""
    return await _run().shift.collect()


@task(name="find_dead_letters", task_run_name="find-dead-letters", **STEP)
async def find_dead_letters(ids: list[str] | None, code: str | None, limit: int) -> int:
    """Find the dead letters to replay; return how many there are."""
    return await _run().shift.find_dead_letters(ids, code, limit)


@task(name="recall_batch", task_run_name="recall", **STEP)
async def recall_batch() -> Collected:
    """Ask the upstream to take dead letters back, until a batch is full or none is left."""
    return await _run().shift.recall()


@task(name="process_batch", task_run_name="process-{batch.number}", **STEP)
async def process_batch(batch: Collected) -> int:
    """Compute a batch and report every result as it is kept; return how many were acknowledged."""
    kept, reported = await _run().shift.process(batch)
    get_run_logger().info("%d tasks: %d computed, %d reported", batch.size, kept, reported)
    return reported


@task(name="close_shift", task_run_name="close", **STEP)
async def close_shift() -> ShiftReport:
    """Write down what the shift did.

    Raises:
        AletheiaError: what was in the way at the end, so that the run shows as failed.
    """
    run = _run()
    await run.progress.finish()
    report = await run.write_down()
    if (trouble := run.shift.poller.held.trouble) is not None:
        raise trouble
    return report


def _poller_name() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{flow_run.id}"

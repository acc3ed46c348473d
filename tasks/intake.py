"""The steps of a shift, as Prefect shows them."""

import asyncio
import contextlib
import gc
import os
import socket
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from prefect import get_run_logger, task
from prefect.runtime import flow_run

from aletheia.analysis.text_embedding import TASK_TYPE
from aletheia.errors import (
    AletheiaError,
    BreakerOpen,
    Refused,
    Unauthorized,
    Unavailable,
    retry_after_s,
)
from aletheia.intake.bulk import is_for_bulk
from aletheia.intake.collector import UPSTREAM
from aletheia.intake.held_claims import Batch, Pace
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import Collected, ShiftReport
from aletheia.intake.shift import Shift
from aletheia.settings import (
    LOCAL_BATCH_TASKS,
    REMOTE_BATCH_TASKS,
    IntakeSettings,
)
from tasks import artifacts, cancelling, providers
from tasks.clients.embedding import get_ollama_embedder, get_processors
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.store import get_store
from tasks.clients.upstream import get_upstream
from tasks.policies import STEP
from tasks.session import current_session, open_session

PROGRESS_EVERY_S = 2
"""Between two looks at the bar, seconds."""

MIN_USAGE_DAYS = 2
"""Calls are remembered at least so long: today's budget counts them."""

MAX_REST_S = 15
"""Longest sleep within one step, seconds: a suspended run ends at the next step."""


@dataclass(slots=True)
class _Run:
    """The shift of this process."""

    shift: Shift
    progress: artifacts.Progress
    started_at: float
    ends_at: float
    interval_s: float
    is_resumed: bool
    began: float = field(default_factory=time.monotonic)
    next_look_at: float = 0
    looks: int = 0
    ended: str = "drained"
    is_written_down: bool = False
    opened_at: float = field(default_factory=time.time)
    batches: dict[int, Batch] = field(default_factory=dict[int, Batch])
    letters: list[str] = field(default_factory=list[str])

    def now(self) -> float:
        """Tell the time, Unix seconds, of a clock that nobody sets while this process works."""
        return self.opened_at + time.monotonic() - self.began

    def is_out_of_time(self) -> bool:
        """Tell whether the shift has to claim nothing more; one of no length drains once."""
        return self.ends_at > self.started_at and self.now() >= self.ends_at

    async def write_down(self) -> ShiftReport:
        """Leave the artifacts of this shift, once."""
        self.is_written_down = True
        report = ShiftReport(
            ended=self.ended,
            seconds=round(time.monotonic() - self.began, 3),
            looks=self.looks,
            tally=self.shift.held.tally,
        )
        await artifacts.shift_report(report)
        await artifacts.intake_status(await self.shift.held.ledger.overview())
        await providers.leave_standing(str(flow_run.id))
        return report

    async def show_progress(self) -> None:
        """Move the bar as long as the shift goes on."""
        tally, shown = self.shift.held.tally, 0
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            done = tally.succeeded + tally.failed
            if done != shown:
                shown = done
                await self.progress.move(done, tally.claimed + tally.taken_over)

    def put(self, batch: Batch) -> Collected:
        """Remember a batch for the steps that follow."""
        if batch.size:
            self.batches[batch.number] = batch
        return Collected(number=batch.number, size=batch.size)


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
        ledger = Ledger.from_settings(await get_store(), settings, owner=_poller_name())
        await ledger.prepare()
        now = time.time()
        started_at = await ledger.shift_start(run_id)
        length = settings.shift_seconds if shift_seconds is None else shift_seconds
        batch = REMOTE_BATCH_TASKS if embedding.is_remote else LOCAL_BATCH_TASKS
        shift = Shift(
            await get_upstream(),
            ledger,
            await get_processors(),
            Pace.from_settings(settings, batch=batch),
            time.time,
        )
        await _forget_old(settings)
        # What has been imported so far stays for ever: no collection of garbage, which stops
        # everything, need look through it again.
        gc.freeze()
        _current = run = _Run(
            shift,
            await artifacts.Progress.begin("tasks reported"),
            started_at,
            ends_at=started_at + length,
            interval_s=settings.polling_interval_seconds,
            is_resumed=started_at < now - 1,
        )
        progress, pulling = asyncio.create_task(run.show_progress()), None
        try:
            if embedding.processing_mode in {"ollama", "hybrid"}:
                # Whatever is there already need not wait for a download.
                pulling = asyncio.create_task(pull_missing_models())
            async with shift.holding():
                yield
        except BaseException:
            run.ended = "interrupted"
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
        _current.shift.held.stop(is_stopping=is_paused)


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


async def _leave_to_bulk_lane(run: _Run, now: float) -> None:
    """Leave texts to the bulk lane as long as there are enough for it, and it comes for them."""
    settings = current_session().settings
    above = settings.bulk.openai_bulk_above
    if above is None or settings.embedding.processing_mode != "openai":
        return
    try:
        is_for_bulk_lane = await is_for_bulk(
            await get_upstream(), await get_store(), above=above, now=now
        )
    except (Unavailable, BreakerOpen) as outage:
        get_run_logger().warning("how much is pending is not known: %s", outage)
        return
    run.shift.held.left_alone = frozenset({TASK_TYPE} if is_for_bulk_lane else ())
    if is_for_bulk_lane:
        get_run_logger().info("more than %d tasks are pending: texts are left to bulk_embed", above)


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


async def next_look() -> bool:
    """Wait until it is time to look at the upstream; `False` when the shift is over.

    While the store is out of reach nothing is looked at, and the shift waits for it.
    """
    run = _run()
    while True:
        now = run.now()
        is_over = now >= run.ends_at and (run.looks > 0 or run.is_resumed)
        try:
            is_paused = await run.shift.held.ledger.is_paused()
            if is_over or (is_paused and now >= run.ends_at):
                run.ended = _why_over(run, is_paused=is_paused)
                return False
            if now >= run.next_look_at and not is_paused:
                await run.shift.held.ledger.purge()
                await _leave_to_bulk_lane(run, time.time())
                run.looks += 1
                run.next_look_at = now + run.interval_s
                return True
        except Unavailable as outage:
            if now >= run.ends_at:
                raise
            get_run_logger().warning("%s; looking again later", outage)
            run.next_look_at = now + run.interval_s
        due = run.next_look_at if run.next_look_at > now else now + run.interval_s
        await rest(min(due, run.ends_at) - now)


@task(name="rest", task_run_name="rest", **STEP)
async def rest(seconds: float) -> None:
    """Wait for the next look, in pieces short enough for a suspension to take effect."""
    await asyncio.sleep(max(0.0, min(seconds, MAX_REST_S)))


@task(name="collect_batch", task_run_name="collect", **STEP)
async def collect_batch() -> Collected:
    """Claim the next batch; an upstream out of reach ends the look, not the shift."""
    run = _run()
    if run.is_out_of_time() or await run.shift.held.ledger.is_paused():
        return Collected(number=0, size=0)
    try:
        batch = await run.shift.collector.collect()
    except (Unavailable, BreakerOpen, Refused) as outage:
        # A page that is refused from the beginning is a wrong address; one that is refused from
        # some moment on, an upstream that is being deployed.
        is_new = isinstance(outage, Refused) and not run.shift.held.tally.pages
        if is_new or isinstance(outage, Unauthorized):
            raise
        get_run_logger().warning("%s; looking again later", outage)
        run.shift.held.troubles[UPSTREAM] = outage
        wait_s = retry_after_s(outage)
        if isinstance(outage, BreakerOpen) and outage.until is not None:
            wait_s = outage.until.timestamp() - time.time()
        run.next_look_at = max(run.next_look_at, run.now() + wait_s)
        return Collected(number=0, size=0)
    return run.put(batch)


@task(name="find_letters", task_run_name="find-letters", **STEP)
async def find_letters(ids: list[str] | None, code: str | None, limit: int) -> int:
    """Find the dead letters to send through once more; return how many there are."""
    run = _run()
    letters = await run.shift.held.ledger.dead_letters(ids=ids, code=code, limit=limit)
    run.letters = [letter["_id"] for letter in letters]
    return len(run.letters)


@task(name="recall_batch", task_run_name="recall", **STEP)
async def recall_batch() -> Collected:
    """Ask the upstream to take dead letters back, until a batch is full or none is left."""
    run = _run()
    most = run.shift.held.pace.batch
    while run.letters:
        letters, run.letters = run.letters[:most], run.letters[most:]
        batch = await run.shift.collector.recall(letters)
        if batch.size:
            return run.put(batch)
    return Collected(number=0, size=0)


@task(name="process_batch", task_run_name="process-{batch.number}", **STEP)
async def process_batch(batch: Collected) -> int:
    """Compute a batch and report every result as it is kept; return how many were acknowledged."""
    run = _run()
    kept, reported = await run.shift.process(run.batches.pop(batch.number))
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
    if run.shift.held.trouble is not None:
        raise run.shift.held.trouble
    return report


def _why_over(run: _Run, *, is_paused: bool) -> str:
    if is_paused:
        return "paused"
    if not run.looks:
        return "resumed_late"
    return "time_over" if run.ends_at > run.started_at else "drained"


def _poller_name() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{flow_run.id}"

"""The steps of a shift, and what it shows on the page of its run: a bar, and tables at its end."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncGenerator
from typing import Final

from prefect import get_run_logger, task
from prefect.runtime import flow_run

from aletheia.errors import AletheiaError
from aletheia.escaping import escape_markdown as escape
from aletheia.intake.lanes.watchdog import ending_if_blocked
from aletheia.intake.models import Collected, ShiftReport
from aletheia.intake.shift import Shift
from aletheia.status import SystemStatus
from aletheia.store.clock import SYSTEM_CLOCK, moment
from aletheia.store.patience import Patience
from aletheia.system_events import describe_shift_end, describe_shift_start
from tasks import artifacts, cancelling
from tasks.announcing import announce
from tasks.auditing import record_this_run
from tasks.clients.embedding import get_embedding_settings, get_ollama_embedder
from tasks.clients.intake import begin_lane_shift, begin_shift, register_worker
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.telemetry import counting_processor_time
from tasks.policies import STEP
from tasks.runs import attempt
from tasks.session import current_session, open_session
from tasks.status import read_system_status

MIN_USAGE_DAYS: Final = 2
"""How long calls are stored at least: today's budget counts them."""

MAX_REST_S: Final = 15.0
"""Longest sleep within one step, seconds: a suspended run ends at the next step."""

MAX_DEAD_LETTERS: Final = 200
"""Rows of the table of dead letters."""

_REASONS: Final = {
    "taken_over": "left by an earlier shift",
    "resent": "listed as pending again after their report",
    "waiting": "a provider or model is down",
    "handed_over": "to the workers of their lanes",
    "deferred_reports": "the upstream did not take the report; sent again later",
    "conflicts": "settled elsewhere",
    "dead": "the upstream refuses the claim or the report",
    "refused_replays": "dead letters that stay; the ledger says why",
    "superseded": "the upstream changed the task meanwhile",
    "rejected": "entries that have no usable id, or cannot be worked on",
    "lost_leases": "somebody else took over",
    "blocked_head": "pending tasks that must wait",
    "fallbacks": "made by another provider, as the first was down",
    "cached": "made before, for no tokens",
}
"""Why tasks are counted under a field of the tally."""


@contextlib.asynccontextmanager
async def open_shift(shift_seconds: float | None, lane: str | None = None) -> AsyncGenerator[None]:
    """Open a shift; at the end, also after an interruption, release its claims and report it.

    A run that is resumed goes on with the shift it began first; `None` takes its length from the
    settings. With a `lane` it takes that lane's tasks, and none of the upstream's.
    """
    shift: Shift | None = None

    def stop_claiming(is_paused: bool) -> None:
        if shift is not None:
            shift.poller.held.stop(is_stopping=is_paused)

    patience = Patience()
    async with (
        cancelling.watching(stop_claiming, cancelling.WATCH_RARELY_S, patience=patience) as watch,
        open_session(watch=watch) as session,
    ):
        if lane is None:
            shift = await begin_shift(shift_seconds)
        else:
            shift = await begin_lane_shift(lane, shift_seconds)
        await _delete_old_usage()
        # What has been imported so far stays: a collection of garbage, which stops everything,
        # need not go through it again.
        gc.freeze()
        view = ShiftView(shift, patience)
        note = shift.poller.held.ledger.rows.documents.note
        beside = _pulling_models() if lane is None else ending_if_blocked()
        async with counting_processor_time(note), view.open(), beside:
            session.clients.share(shift)
            session.clients.share(view)
            run_id = str(flow_run.id)
            await announce(describe_shift_start(run_id, moment(SYSTEM_CLOCK.now())))
            try:
                async with await register_worker(shift, lane), shift.poller.holding():
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
    if (await get_embedding_settings()).processing_mode not in {"ollama", "hybrid"}:
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
async def find_dead_letters(ids: list[str] | None, code: str | None, limit: int) -> list[list[str]]:
    """Find the dead letters to replay; return the ids of their rows, batch by batch."""
    await record_this_run()
    return await _shift().find_dead_letters(ids, code, limit)


@task(name="recall_batch", task_run_name="recall", **STEP)
async def recall_batch(row_ids: list[str]) -> Collected:
    """Ask the upstream to take dead letters back; return the batch of those that it took."""
    return await _shift().recall(row_ids)


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


class ShiftView:
    """The artifacts of a shift."""

    def __init__(self, shift: Shift, patience: Patience) -> None:
        self._shift, self._patience = shift, patience
        self._is_reported = False

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Show the progress of a shift, and its report at the end, also of an interrupted one."""
        bar = artifacts.Progress("tasks reported")
        try:
            async with artifacts.moving_bar(bar, self._read):
                yield
        finally:
            if not self._is_reported:
                await asyncio.shield(self._report_interrupted())

    def _read(self) -> tuple[float, str]:
        if self._is_reported:
            return 100, ""
        tally, patience = self._shift.poller.held.tally, self._patience
        done, claimed = tally.succeeded + tally.failed, tally.claimed + tally.taken_over
        obstacle = ""
        if (waited_s := patience.waited_s) is not None:
            obstacle = f"the store is waited for, {waited_s:.0f} s: {patience.reason}"
        return 100 * min(done, claimed) / claimed if claimed else 0, obstacle

    async def save_report(self) -> ShiftReport:
        """Save the tables; return what the shift did."""
        self._is_reported = True
        report = self._shift.report()
        await _save_shift_report(report)
        ledger = self._shift.poller.held.ledger
        system = await read_system_status(await ledger.overview(), str(flow_run.id))
        await _save_intake_status(system)
        if total := sum(system.intake.dead.values()):
            newest = await ledger.dead_letters.newest(limit=MAX_DEAD_LETTERS)
            await artifacts.save_table(
                "dead-letters",
                [dead_letter.as_row() for dead_letter in newest],
                f"{total:,} dead letters, the newest first. `aletheia replay` replays them.",
            )
        description = "Breakers, limits, budgets, usage, cache, and what waits for the Brain."
        await artifacts.save_table("provider-status", system.rows(), description)
        at = moment(SYSTEM_CLOCK.now())
        await announce(describe_shift_end(str(flow_run.id), attempt(), report, at))
        return report

    async def _report_interrupted(self) -> None:
        try:
            await self.save_report()
        except Exception:  # noqa: BLE001 - the run has to fail with whatever ended the shift
            get_run_logger().exception("the report of the shift could not be saved")


async def _save_intake_status(system: SystemStatus) -> None:
    """Save a table of the state of the ledger, and what was found."""
    overview = system.intake
    counts = {
        **{f"rows {state}": count for state, count in sorted(overview.states.items())},
        "leases held": overview.held,
        "leases run out": overview.expired,
        "pending tasks that hide others": overview.blocked_head,
        **{f"dead letters {code}": count for code, count in sorted(overview.dead.items())},
    }
    rows = [{"what": what, "count": count} for what, count in counts.items()]
    state = "**paused**" if overview.is_paused else "open"
    description = "\n\n".join(
        [f"Intake is {state}.", *(escape(str(finding)) for finding in system.findings)]
    )
    await artifacts.save_table("intake-status", rows, description)


async def _save_shift_report(report: ShiftReport) -> None:
    """Save a table of what a shift did."""
    tally = report.tally
    lines = [
        *(
            (f"{task_type}: {outcome}", count, "")
            for task_type, outcomes in sorted(tally.by_type.items())
            for outcome, count in sorted(outcomes.items())
        ),
        *(("failed", count, code) for code, count in sorted(tally.by_error.items())),
        *((name, count, why) for name, why in _REASONS.items() if (count := getattr(tally, name))),
        *((f"made by {name}", count, "") for name, count in sorted(tally.by_model.items())),
        *((f"deferred: {group}", 0, reason) for group, reason in sorted(tally.deferred.items())),
    ]
    rows = [
        {"what": what, "tasks": count, "why": why}
        for what, count, why in lines or [("nothing was pending", 0, "")]
    ]
    done = tally.succeeded + tally.failed
    pace = done / report.seconds if report.seconds else 0.0
    description = (
        f"**{done} tasks** in {report.seconds:.1f} s ({pace:.0f} a second), "
        f"{tally.tokens:,} tokens, {tally.pages} pages in {report.ticks} ticks. "
        f"Ended: {report.ended.replace('_', ' ')}."
    )
    await artifacts.save_table("shift-report", rows, description)

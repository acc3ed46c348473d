"""The steps of a shift of system reasoning, and what it shows on the page of its run."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Final

from prefect import get_run_logger, task
from prefect.runtime import flow_run
from pydantic import BaseModel

from aletheia.escaping import escape_markdown as escape
from aletheia.intake.ledger import Ledger
from aletheia.reasoning.engine import Reasoner
from aletheia.reasoning.findings import digest_of
from aletheia.reasoning.models import AIReasoningOutput, count_reasons
from aletheia.reasoning.snapshot import SystemSnapshot
from aletheia.store.clock import SYSTEM_CLOCK
from aletheia.store.lease import Lease
from tasks.announcing import announce_reasoning
from tasks.artifacts import code, save_markdown
from tasks.clients.reasoning import get_reasoner
from tasks.clients.store import get_store
from tasks.policies import STEP
from tasks.session import current_session, open_watched_session

MAX_REST_S: Final = 15.0
"""Longest sleep within one step, seconds: a suspended run ends at the next step."""

MIN_WAIT_S: Final = 0.05


class ReasoningReport(BaseModel, frozen=True):
    """What a shift of reasoning came to."""

    runs: int  # that it made
    skipped: int  # ticks at which another process was at it
    ended: str
    health: str = ""  # of the newest run
    score: float | None = None


@dataclass(slots=True)
class ReasoningShift:
    """The state of a shift."""

    ends_at: float  # Unix time, seconds
    interval_s: float
    is_once: bool
    next_at: float = 0.0
    runs: int = 0
    skipped: int = 0
    ended: str = "time_over"
    shown: str = ""  # what the newest artifact is about
    newest: AIReasoningOutput | None = field(default=None, repr=False)


@contextlib.asynccontextmanager
async def open_reasoning(shift_seconds: float | None) -> AsyncGenerator[None]:
    """Open the session of a shift; a resumed run goes on with the one it began first."""
    async with open_watched_session() as session:
        settings = session.settings
        length_s = settings.intake.shift_seconds if shift_seconds is None else shift_seconds
        # When runs began is written in one place for all kinds of shifts.
        ledger = Ledger(await get_store(), settings.intake, owner="reasoning")
        started_at = min(await ledger.shift_start(str(flow_run.id)), SYSTEM_CLOCK.unix_s())
        session.clients.share(
            ReasoningShift(
                ends_at=started_at + length_s,
                interval_s=settings.reasoning.ai_worker_interval_seconds,
                is_once=length_s <= 0,
            )
        )
        yield


def _shift() -> ReasoningShift:
    return current_session().clients.find(ReasoningShift)


async def next_tick() -> bool:
    """Wait until it is time to reason; return `False` when the shift is over."""
    shift = _shift()
    if not current_session().settings.reasoning.ai_worker_enabled:
        shift.ended = "disabled"
        return False
    while True:
        now = SYSTEM_CLOCK.unix_s()
        if shift.is_once and shift.next_at:
            shift.ended = "once"
            return False
        if now >= shift.ends_at and (shift.next_at or not shift.is_once):
            return False
        if now >= shift.next_at:
            shift.next_at = now + shift.interval_s
            return True
        await rest(min(shift.next_at, max(shift.ends_at, now + MIN_WAIT_S)) - now)


@task(name="rest", task_run_name="rest", **STEP)
async def rest(seconds: float) -> None:
    """Wait for the next tick, in pieces short enough for a suspension to take effect."""
    await asyncio.sleep(max(0.0, min(seconds, MAX_REST_S)))


@task(name="collect_snapshot", task_run_name="collect", **STEP)
async def collect_snapshot() -> SystemSnapshot:
    """Read every source of the system at once; one that fails leaves its error in the snapshot."""
    snapshot = await (await get_reasoner()).snapshot()
    for source, error in snapshot.failed_sources.items():
        get_run_logger().warning("source %s failed: %s", source, error)
    return snapshot


@task(name="reason", task_run_name="reason", **STEP)
async def reason(snapshot: SystemSnapshot) -> AIReasoningOutput | None:
    """Find, explain, recommend, plan and save; `None` where another process is at it."""
    reasoner, shift = await get_reasoner(), _shift()
    lease: Lease | None = await reasoner.take()
    if lease is None:
        shift.skipped += 1
        get_run_logger().info("another process reasons about the system just now")
        return None
    async with lease.hold():
        output = await reasoner.reason(snapshot)
    shift.runs += 1
    shift.newest = output
    _log(output)
    return output


@task(name="show_reasoning", task_run_name="show", **STEP)
async def show_reasoning(output: AIReasoningOutput | None) -> None:
    """Save a page that says first what changed, and send events of it, whenever it is new."""
    shift = _shift()
    if output is None:
        return
    summary = output.summary
    health = f"{summary.overall_health}, {summary.health_score:.0f} of 100"
    decided = [(item.id, item.decision, item.outcome) for item in output.recommendations]
    shown = f"{health} {digest_of(output.found)} {output.action_plan.plan_id} {decided}"
    if shown != shift.shown:
        shift.shown = shown
        await save_markdown("system-reasoning", describe(output), f"Health: {health}.")
    await announce_reasoning(output)


@task(name="close_reasoning", task_run_name="close", **STEP)
async def close_reasoning() -> ReasoningReport:
    """Delete runs that are older than the retention; return what the shift came to."""
    shift, reasoner = _shift(), await get_reasoner()
    await purge(reasoner)
    summary = None if shift.newest is None else shift.newest.summary
    return ReasoningReport(
        runs=shift.runs,
        skipped=shift.skipped,
        ended=shift.ended,
        health="" if summary is None else summary.overall_health,
        score=None if summary is None else summary.health_score,
    )


async def purge(reasoner: Reasoner) -> int:
    """Delete reasoning runs that are older than the retention; return how many."""
    retention_s = reasoner.deps.settings.reasoning_retention_days * 86_400
    if (explainer := reasoner.deps.explainer) is not None:
        await explainer.purge(retention_s)
    return await reasoner.deps.history.purge(retention_s)


def _log(output: AIReasoningOutput) -> None:
    summary, log = output.summary, get_run_logger()
    log.info(
        "%s, %.0f of 100: %s", summary.overall_health, summary.health_score, summary.key_insights[0]
    )
    if output.dropped_claims:
        log.info("claims of the model that were dropped: %s", count_reasons(output.dropped_claims))


def describe(output: AIReasoningOutput) -> str:
    """Describe a reasoning run as markdown, what changed first; other people's words escaped."""
    summary, plan = output.summary, output.action_plan
    lines = [
        f"# {summary.overall_health.capitalize()}: {summary.health_score:.0f} of 100",
        "",
        f"At {output.timestamp:%Y-%m-%d %H:%M:%S} UTC, explained by {escape(output.explained_by)}.",
        "",
        *_bullets(summary.key_insights),
    ]
    if output.mock:
        lines += ["", "**⚠ mock**: a mock chose these words; figures and findings are real."]
    for title, sentences in (("Concerns", summary.concerns), ("Going well", summary.positives)):
        if sentences:
            lines += ["", f"## {title}", "", *_bullets(sentences)]
    if output.recommendations:
        lines += ["", "## Recommendations", "", "| priority | what | why | decision |"]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| {item.priority} | {escape(item.title)} | {escape(item.description)} "
            f"| {item.decision} |"
            for item in output.recommendations
        ]
    if plan.steps:
        lines += ["", f"## Plan {code(plan.plan_id)}", "", "| step | action | what | takes |"]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| {step.step} | {escape(step.action)} | {escape(step.description)} "
            f"| {escape(step.estimated_duration)} |"
            for step in plan.steps
        ]
        lines += ["", f"Risk: {plan.risk_level}. Run `carry_out_plan` with its id, or approve it."]
    if failed := output.snapshot.failed_sources:
        lines += ["", "## Sources that failed", ""]
        lines += [f"- {escape(name)}: {escape(error)}" for name, error in failed.items()]
    return "\n".join(lines)


def _bullets(sentences: Sequence[str]) -> list[str]:
    return [f"- {escape(sentence)}" for sentence in sentences]

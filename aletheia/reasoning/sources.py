"""The sources of a snapshot that are Aletheia's own: ledger, limits, breakers, Brain, events, runs.

None of them counts finished rows: what grows without a bound comes from counters, and what is
looked for in the ledger has an index and holds for few rows at a time.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import orjson

from aletheia.analysis.model_manager import MODELS
from aletheia.brain.outbox import BrainStatus
from aletheia.documents import Documents
from aletheia.events.dead_events import DEAD_EVENTS
from aletheia.events.log import EVENTS
from aletheia.intake.lanes.queue import find_oldest_waiting
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import IntakeStatus
from aletheia.intake.rows import FLAGS, LEASED, ROWS
from aletheia.llm.usage import BudgetUsage
from aletheia.metrics import DEAD_LETTERS, LANE_WAITING, LEDGER_ROWS, TASKS, UNFINISHED_STATES
from aletheia.quality.evaluation_store import REQUESTS
from aletheia.reasoning.collecting import Collector, Facts
from aletheia.reasoning.facts import (
    describe_brain,
    describe_breakers,
    describe_budgets,
    describe_intake,
    describe_limits,
    describe_queue,
    drop_unknown,
)
from aletheia.reasoning.ports import ReadCounters, RunReader
from aletheia.reasoning.snapshot import MAX_RECENT_EVENTS, age_s, keyed
from aletheia.resilience.breaker import BreakerState
from aletheia.resilience.limits import Tier, TierUsage
from aletheia.series import Counters
from aletheia.store.clock import SECOND, moment

INTAKE: Final = "intake"
"""The lane that shifts compute themselves."""

MAX_AGED_ROWS: Final = 20_000
"""With more unfinished tasks than these the oldest one is not looked for."""

LOST_AFTER: Final = timedelta(minutes=1)
"""Age from which nobody is about to start the run of an evaluation any more."""

MIN_TASKS: Final = 20
"""Tasks between two snapshots from which on the share that failed says something."""


class Breakers(Protocol):
    """Reads breakers."""

    async def states(self) -> list[BreakerState]:
        """Return the state of each dependency that ever failed."""
        ...


class Limiter(Protocol):
    """Reads rate limits."""

    async def providers(self) -> list[str]:
        """Return the providers that were granted or refused anything."""
        ...

    async def usage(self, provider: str) -> Mapping[Tier, TierUsage]:
        """Return what is used of a provider's limits."""
        ...


class Spending(Protocol):
    """Reads budgets."""

    async def budgets(self, run_id: str | None = None) -> Sequence[BudgetUsage]:
        """Return the budgets of today."""
        ...


class Outbox(Protocol):
    """Reads what the Brain lacks."""

    async def states(self) -> list[BrainStatus]:
        """Return the projects that lack something there."""
        ...


def ledger_source(ledger: Ledger, read: ReadCounters) -> Collector:
    """Return the source of the queue."""

    async def collect(_: datetime) -> Facts:
        counters = await read()
        states = counters.by(LEDGER_ROWS, "state")
        succeeded = counters.total(TASKS, state="succeeded")
        return {
            **describe_queue(states, round(counters.value(DEAD_LETTERS))),
            "queue_success": max(0, round(succeeded)),
            "additional_metrics": {"intake": await _read_intake(ledger, states)},
        }

    return Collector("ledger", collect)


async def _read_intake(ledger: Ledger, states: Mapping[str, float]) -> dict[str, Any]:
    documents, now = ledger.rows.documents, ledger.clock.now()
    flags = (await documents.get(FLAGS, ["intake"])).get("intake", {})
    ended = {"state": {"$in": list(LEASED)}, **ledger.rows.terms.ended_where(now)}
    expired = await documents.count(ROWS, ended)
    oldest = await documents.find(ROWS, ended, sort="lease_until", limit=1) if expired else []
    leased = round(sum(states.get(state, 0) for state in LEASED))
    status = IntakeStatus(
        is_paused=bool(flags.get("is_paused")),
        states={},
        held=max(0, leased - expired),
        expired=expired,
        waiting=max(0, round(states.get("waiting", 0))),
        dead={},
        blocked_head=int(flags.get("blocked_head") or 0),
        unacknowledged=await ledger.reports.find_unacknowledged(),
        clock_ahead=await ledger.claims.strays.find_clock_ahead(),
    )
    until = ledger.rows.terms.end_of(oldest[0]) if oldest else now
    facts = {**describe_intake(status), "oldest_expired_s": max(0.0, (now - until) / SECOND)}
    return drop_unknown(facts)


class Telemetry:
    """The share of tasks that failed since the snapshot before, from counters."""

    def __init__(self, read: ReadCounters) -> None:
        self._read = read
        self._before: Mapping[str, float] | None = None

    async def collect(self, _: datetime) -> Facts:
        """Return the figures, and remember the counters for the next snapshot."""
        counters = await self._read()
        ends = {name: counters.total(TASKS, state=name) for name in ("succeeded", "failed")}
        before, self._before = self._before, ends
        facts: dict[str, Any] = {f"tasks_{name}": round(count) for name, count in ends.items()}
        if before is not None:
            failed, done = (
                ends["failed"] - before["failed"],
                sum(ends.values()) - sum(before.values()),
            )
            if done >= MIN_TASKS:
                facts["task_failure_share"] = round(max(0.0, failed / done), 4)
        return {"additional_metrics": {"telemetry": facts}}

    def source(self) -> Collector:
        """Return the source."""
        return Collector("telemetry", self.collect)


def lanes_source(ledger: Ledger, read: ReadCounters) -> Collector:
    """Return the source of the lanes: how many tasks wait in each, and the age of the oldest."""

    async def collect(_: datetime) -> Facts:
        counters = await read()
        lanes: dict[str, dict[str, Any]] = {
            lane: {"waiting": max(0, round(number))}
            for lane, number in counters.by(LANE_WAITING, "lane").items()
        }
        if 0 < counters.total(LEDGER_ROWS) <= MAX_AGED_ROWS:
            age = await _find_oldest_age_s(ledger, counters)
            lanes.setdefault(INTAKE, {})["oldest_age_s"] = age
        for lane in [lane for lane, row in lanes.items() if row.get("waiting")]:
            oldest_at = await find_oldest_waiting(ledger.rows.documents, lane)
            if oldest_at is not None:
                lanes[lane]["oldest_age_s"] = round(max(0.0, ledger.clock.unix_s() - oldest_at), 1)
        return {"additional_metrics": {"lanes": keyed(lanes)}}

    return Collector("lanes", collect)


async def _find_oldest_age_s(ledger: Ledger, counters: Counters) -> float:
    """Return how long ago the oldest task that is owed a report was claimed, seconds.

    An index finds the rows of a state that is not over, however many others there are.
    """
    claimed: list[float] = []
    for state in UNFINISHED_STATES:
        if counters.value(LEDGER_ROWS, state) > 0:
            where = {"state": state, "lane": None}
            found = await ledger.rows.documents.find(ROWS, where, sort="claimed_at", limit=1)
            claimed += [float(row["claimed_at"]) for row in found if row.get("claimed_at")]
    return round(max((ledger.clock.unix_s() - at for at in claimed), default=0.0), 1)


def breakers_source(breakers: Breakers) -> Collector:
    """Return the source of the breakers."""

    async def collect(_: datetime) -> Facts:
        states = describe_breakers(await breakers.states())
        return {"additional_metrics": {"breakers": states}}

    return Collector("breakers", collect)


def limits_source(limiter: Limiter) -> Collector:
    """Return the source of the rate limits."""

    async def collect(_: datetime) -> Facts:
        usage = {name: await limiter.usage(name) for name in await limiter.providers()}
        return {"additional_metrics": {"limits": describe_limits(usage)}}

    return Collector("limits", collect)


def budgets_source(spending: Spending) -> Collector:
    """Return the source of the budgets."""

    async def collect(_: datetime) -> Facts:
        return {"additional_metrics": {"budgets": describe_budgets(await spending.budgets())}}

    return Collector("budgets", collect)


def brain_source(outbox: Outbox) -> Collector:
    """Return the source of what the Brain lacks."""

    async def collect(_: datetime) -> Facts:
        return {"additional_metrics": {"brain": describe_brain(await outbox.states())}}

    return Collector("brain", collect)


def models_source(documents: Documents, memory_max: int) -> Collector:
    """Return the source of the loaded models; `memory_max`: bytes they may take, 0 for no bound."""

    async def collect(_: datetime) -> Facts:
        rows = await documents.find(MODELS, {"is_held": True}, limit=100)
        taken = sum(int(row.get("memory_bytes") or 0) for row in rows)
        facts: dict[str, Any] = {"loaded": len(rows), "memory_bytes": taken}
        if memory_max:
            facts["memory_share"] = round(taken / memory_max, 4)
        return {"additional_metrics": {"models": facts}}

    return Collector("models", collect)


def gather_source(documents: Documents, *, runs: str, is_open: str, is_done: str) -> Collector:
    """Return the source of gather runs and evaluations.

    `runs`: the collection of runs; `is_open`, `is_done`: the states of one that is not over, and of
    one that is over as it should be.
    """

    async def collect(now: datetime) -> Facts:
        opened = await documents.find(runs, {"state": is_open}, sort="opened_at", limit=1)
        # In the form that all servers of MongoDB's protocol count right.
        lost = {"run_id": {"$in": [None]}, "requested_at": {"$lt": (now - LOST_AFTER).isoformat()}}
        facts: dict[str, Any] = {
            "open": await documents.count(runs, {"state": is_open}),
            "evaluations_waiting": await documents.count(REQUESTS, lost),
        }
        if opened:
            began = moment(round(float(opened[0]["opened_at"]) * SECOND))
            facts["oldest_open_s"] = age_s(began, now)
        done = await documents.find(
            runs, {"state": is_done}, sort="opened_at", descending=True, limit=1
        )
        report: Mapping[str, Any] = (done[0].get("report") or {}) if done else {}
        for name in ("items_created", "departments_processed", "iterations"):
            if isinstance(report.get(name), int):
                facts[f"last_{name}"] = report[name]
        return {"additional_metrics": {"gather": facts}}

    return Collector("gather", collect)


def events_source(documents: Documents) -> Collector:
    """Return the source of the newest events; of each only what is not written by users."""

    async def collect(_: datetime) -> Facts:
        newest = await documents.find(
            EVENTS, {}, sort="at", descending=True, limit=MAX_RECENT_EVENTS
        )
        given_up = await documents.count_by(DEAD_EVENTS, "project", {})
        return {
            "recent_events": tuple(
                {
                    "type": str(orjson.loads(event["body"]).get("type", "")),
                    "project_id": event["project"],
                    "seq": event["seq"],
                    "at": moment(event["at"]).isoformat(),
                }
                for event in newest
            ),
            "additional_metrics": {"events": {"given_up": sum(given_up.values())}},
        }

    return Collector("events", collect)


def prefect_source(reader: RunReader) -> Collector:
    """Return the source of runs and workers."""

    async def collect(now: datetime) -> Facts:
        runs = await reader.read(now)
        facts: dict[str, Any] = {
            "running": runs.running,
            "late": runs.late,
            "crashed_24h": runs.crashed_24h,
            "gather_failed_24h": runs.gather_failed_24h,
            "workers_online": runs.workers_online,
            "workers_offline": runs.workers_offline,
            "last_run_age_s": age_s(runs.last_run_at, now),
            "longest_run_s": age_s(runs.oldest_running_at, now),
        }
        return {
            "scheduler_pending": runs.scheduled,
            "scheduler_due_soon": runs.due_soon,
            "orchestrator_running": runs.running > 0,
            "orchestrator_last_run": runs.last_run_at,
            "orchestrator_actions_last_24h": runs.started_24h,
            "jobs_pending": runs.pending,
            "jobs_failed": runs.failed_24h,
            "additional_metrics": {"prefect": drop_unknown(facts)},
        }

    return Collector("prefect", collect)


def reasoning_source(read_failures: Callable[[], Awaitable[int]]) -> Collector:
    """Return the source of how explaining goes: failures of the model in a row."""

    async def collect(_: datetime) -> Facts:
        return {"additional_metrics": {"reasoning": {"failures": await read_failures()}}}

    return Collector("reasoning", collect)


async def prepare_sources(documents: Documents) -> None:
    """Make the look-ups of the sources fast. Idempotent."""
    await documents.ensure_index(REQUESTS, ["run_id", "requested_at"])
    await documents.ensure_index(EVENTS, ["at"])

"""All sources together: what claims may speak of, and what rules read, has one that brings it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from aletheia.adapters.platform.embedded import EmbeddedPlatform
from aletheia.analysis.model_manager import MODELS
from aletheia.brain.outbox import BrainStatus
from aletheia.documents import Documents
from aletheia.errors import BadAnswer, Unavailable
from aletheia.events.dead_events import DEAD_EVENTS
from aletheia.events.log import EVENTS
from aletheia.intake.ledger import Ledger
from aletheia.intake.rows import FLAGS, ROWS
from aletheia.llm.usage import BudgetUsage
from aletheia.reasoning import sources
from aletheia.reasoning.catalogue import MEASURES, listed_paths, pattern_of
from aletheia.reasoning.collecting import Collector, collect_snapshot
from aletheia.reasoning.findings import RULES
from aletheia.reasoning.platform import Platform, PlatformSettings
from aletheia.reasoning.ports import RunFigures
from aletheia.reasoning.rules.rule import Rule
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import SystemSnapshot, View
from aletheia.resilience.breaker import BreakerState, State
from aletheia.resilience.limits import Tier, TierUsage
from aletheia.series import Counters
from aletheia.settings import IntakeSettings
from deployments.examples.platform import build_platform
from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import AT

__all__ = ["documents", "mongodb_uri"]

NAMES = [
    *("ledger", "telemetry", "lanes", "breakers", "limits", "budgets", "brain", "models"),
    *("gather", "events", "prefect", "reasoning", "platform"),
]


class System:
    """Everything that sources read but the store, a little of each; a source can be down."""

    def __init__(self) -> None:
        self.tasks = 0.0

    async def read_counters(self) -> Counters:
        self.tasks += 100
        return Counters(
            {
                "aletheia_ledger_rows|claimed": 1.0,
                "aletheia_dead_letters": 7.0,
                "aletheia_tasks_total|text_embedding|succeeded": self.tasks,
                "aletheia_lane_waiting|media": 3.0,
            }
        )

    async def states(self) -> list[BreakerState]:
        return [BreakerState("openai", State.CLOSED, 1, None, "")]

    async def providers(self) -> list[str]:
        return ["openai"]

    async def usage(self, provider: str) -> Mapping[Tier, TierUsage]:
        del provider
        return {Tier.DAY: TierUsage(10, 500, None, 2)}

    async def budgets(self, run_id: str | None = None) -> Sequence[BudgetUsage]:
        del run_id
        return [BudgetUsage("BUDGET_USD_PER_DAY", Decimal(5), Decimal(1), None)]

    async def read(self, now: datetime) -> RunFigures:
        return RunFigures(9, 2, 0, 1, 1, 40, 0, 0, 0, 1, 0, now, now)

    async def failures(self) -> int:
        return 0


class Outbox:
    """Says what a project lacks in the Brain."""

    async def states(self) -> list[BrainStatus]:
        return [BrainStatus("shop", 2, 0, 0, None, "")]


@pytest.fixture
async def collectors(documents: Documents, clock: MovableClock) -> list[Collector]:
    ledger = Ledger(documents, IntakeSettings(), owner="test", clock=clock.both)
    await ledger.prepare()
    await fill(documents, clock)
    system = System()
    platform = Platform(EmbeddedPlatform(documents), PlatformSettings().names())
    return [
        sources.ledger_source(ledger, system.read_counters),
        sources.Telemetry(system.read_counters).source(),
        sources.lanes_source(ledger, system.read_counters),
        sources.breakers_source(system),
        sources.limits_source(system),
        sources.budgets_source(system),
        sources.brain_source(Outbox()),
        sources.models_source(documents, 1000),
        sources.gather_source(documents, runs="runs", is_open="open", is_done="completed"),
        sources.events_source(documents),
        sources.prefect_source(system),
        sources.reasoning_source(system.failures),
        platform.source(),
    ]


async def fill(documents: Documents, clock: MovableClock) -> None:
    """Save something for each source that reads the store."""
    error = {
        "code": BadAnswer.code,
        "dependency": "upstream",
        "since": clock() - 60,
        "message": "an HTML page",
    }
    row: dict[str, Any] = {
        "_id": "a",
        "task_id": "a",
        "state": "claimed",
        "owner": "x",
        "token": 1,
        "lease_until": clock() - 600,
        "claimed_at": clock() - 600,
        "report_error": error,
    }
    flags = [
        {"_id": "clocks", "owner": "other", "ahead_s": 9.0, "seen_at": clock()},
        {"_id": "intake", "is_paused": False, "blocked_head": 0},
    ]
    report = {"items_created": 42, "departments_processed": 3, "iterations": 9}
    runs = [
        {"_id": "a", "state": "open", "opened_at": clock() - 90},
        {"_id": "b", "state": "completed", "opened_at": clock() - 300, "report": report},
    ]
    event = {
        "_id": "p:1",
        "project": "p",
        "seq": 1,
        "at": 1,
        "body": '{"type": "department_started"}',
    }
    saved: dict[str, list[dict[str, Any]]] = {
        ROWS: [row],
        FLAGS: flags,
        MODELS: [{"_id": "local:a", "is_held": True, "memory_bytes": 300}],
        "runs": runs,
        EVENTS: [event],
        DEAD_EVENTS: [{"_id": "p:1", "project": "p", "at": 1}],
        **{name: [dict(row) for row in rows] for name, rows in build_platform(AT).items()},
    }
    for collection, rows in saved.items():
        await documents.insert(collection, rows)


async def collect(collectors: Sequence[Collector], clock: MovableClock) -> SystemSnapshot:
    """Take two snapshots, of which the second knows what happened since the first."""
    await collect_snapshot(collectors, timeout_s=5, clock=clock.both)
    return await collect_snapshot(collectors, timeout_s=5, clock=clock.both)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(AT)


async def test_every_field_of_a_snapshot_has_a_source(
    collectors: list[Collector], clock: MovableClock
):
    snapshot = await collect(collectors, clock)
    assert snapshot.failed_sources == {}
    unknown = {name for name, value in snapshot if value is None or value in ((), {})}
    assert unknown == set()


async def test_everything_that_claims_may_speak_of_has_a_source(
    collectors: list[Collector], clock: MovableClock
):
    snapshot = await collect(collectors, clock)
    assert {pattern_of(path) for path in listed_paths(snapshot.view)} == set(MEASURES)


class WatchedView(View):
    """A view that remembers what it was asked for and did not have."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.missing: list[str] = []

    def get(self, path: str) -> Any:
        found = super().get(path)
        if found is None:
            self.missing.append(path)
        return found


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
async def test_every_rule_reads_what_sources_bring(
    collectors: list[Collector], clock: MovableClock, rule: Rule
):
    view = WatchedView((await collect(collectors, clock)).view.values)
    rule.check(view, FindingSettings())
    missing = {path for path in view.missing if not path.endswith("metrics.errors")}
    # A lane brings only what is known of it.
    assert {pattern_of(path) for path in missing} <= {pattern_of(path) for path in view.leaves()}
    assert rule.source in {*NAMES, "sources"}


@pytest.mark.parametrize("name", NAMES)
async def test_a_source_that_is_down_is_named_and_stops_no_other(
    collectors: list[Collector], clock: MovableClock, name: str
):
    async def fail(_: datetime) -> Mapping[str, Any]:
        raise Unavailable(name, "no route")

    whole = await collect(collectors, clock)
    snapshot = await collect([*collectors, Collector(name, fail)], clock)
    assert snapshot.failed_sources == {name: f"unavailable: {name} is unavailable: no route"}
    lost = set(listed_paths(whole.view)) - set(listed_paths(snapshot.view))
    assert lost or name == "reasoning", "what a source brings is missing without it"
    assert all(whole.view.number(path) is not None for path in lost)
    assert "source_failed" in {
        rule.id for rule in RULES if rule.check(snapshot.view, FindingSettings())
    }

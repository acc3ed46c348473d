"""All sources together: what claims may speak of, and what rules read, has one that brings it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest

from aletheia.documents import Documents
from aletheia.errors import Unavailable
from aletheia.reasoning.catalogue import MEASURES, listed_paths, pattern_of
from aletheia.reasoning.collecting import Collector, collect_snapshot
from aletheia.reasoning.findings import RULES
from aletheia.reasoning.rules.rule import Rule
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import SystemSnapshot, View
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import AT
from tests.fakes.system import Words, make_collectors

NAMES = [
    *("ledger", "telemetry", "lanes", "breakers", "limits", "budgets", "brain", "models"),
    *("gather", "events", "prefect", "reasoning", "platform"),
]


@pytest.fixture
async def collectors(documents: Documents, clock: MovableClock) -> list[Collector]:
    return await make_collectors(documents, clock, Words())


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

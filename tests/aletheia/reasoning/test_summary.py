"""A summary says first what changed."""

from aletheia.reasoning.engine import Reasoner
from aletheia.reasoning.findings import Finding, find
from aletheia.reasoning.models import MAX_INSIGHTS
from aletheia.reasoning.references import Evidence
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.summary import describe_changes, describe_facts
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import Sources, make_snapshot


async def test_what_changed_comes_first(reasoner: Reasoner, sources: Sources, clock: MovableClock):
    await reasoner.run()
    clock.move(seconds=30)
    sources.facts["queue_pending"] = 1200
    worse = await reasoner.run()
    assert worse.summary.key_insights[0].startswith(
        "New since 2026-11-18 10:00:30 UTC: 1,200 tasks"
    )
    clock.move(seconds=30)
    sources.facts["queue_pending"] = 20_000
    assert (await reasoner.run()).summary.key_insights[0].startswith("Worse since")
    clock.move(seconds=30)
    sources.facts["queue_pending"] = 5
    better = await reasoner.run()
    assert (
        better.summary.key_insights[0]
        == "Gone since 2026-11-18 10:01:30 UTC: many tasks are pending."
    )
    clock.move(seconds=30)
    assert (await reasoner.run()).summary.key_insights[0].startswith("The findings are the same")


def test_facts_are_said_with_their_units_and_unknown_ones_left_out():
    snapshot = make_snapshot({"queue_processing": None, "publish_success_rate": None})
    said = describe_facts(Evidence.of(snapshot, find(snapshot.view, FindingSettings())))
    assert said[0] == "300 tasks reported as succeeded, 12 pending tasks, 2 dead letters."
    assert said[-1] == (
        "50 finished publications in the last 24 hours, 20 clips ready, 2 active campaigns."
    )


def test_many_changes_are_named_up_to_a_bound():
    assert describe_changes([], None) == ["This is the first reasoning run."]
    many = [Finding(str(number), "low", f"finding {number}", {}) for number in range(9)]
    assert len(describe_changes(many, None)) <= MAX_INSIGHTS

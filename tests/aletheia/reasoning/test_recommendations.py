"""Recommendations live until their finding changes or a person decides."""

import pytest

from aletheia.errors import InvalidTask
from aletheia.reasoning.engine import Reasoner
from aletheia.reasoning.recommendations import recommendation_id
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import Sources


def test_a_recommendation_has_the_same_id_for_the_same_finding():
    ids = [recommendation_id(it) for it in ("queue_backlog", "queue_backlog", "no_worker")]
    assert ids[0] == ids[1] != ids[2]


async def test_a_dismissed_recommendation_does_not_come_back_until_its_finding_changes(
    reasoner: Reasoner, sources: Sources, clock: MovableClock
):
    sources.facts["queue_pending"] = 1200
    (shown,) = (await reasoner.run()).recommendations
    recommendations = reasoner.deps.recommendations
    with pytest.raises(InvalidTask, match="reason"):
        await recommendations.decide(shown.id, "dismissed", who="ada")
    await recommendations.decide(shown.id, "dismissed", reason="a campaign runs", who="ada")
    clock.move(seconds=30)
    sources.facts["queue_pending"] = 1300
    assert (await reasoner.run()).recommendations == ()
    clock.move(seconds=30)
    sources.facts["queue_pending"] = 20_000  # another severity
    assert len((await reasoner.run()).recommendations) == 1


async def test_a_dismissed_recommendation_comes_back_when_its_finding_was_gone(
    reasoner: Reasoner, sources: Sources, clock: MovableClock
):
    sources.facts["queue_pending"] = 1200
    (shown,) = (await reasoner.run()).recommendations
    await reasoner.deps.recommendations.decide(shown.id, "dismissed", reason="no", who="ada")
    for pending, count in ((5, 0), (1200, 1)):
        clock.move(seconds=30)
        sources.facts["queue_pending"] = pending
        assert len((await reasoner.run()).recommendations) == count


async def test_a_snoozed_recommendation_comes_back_after_its_time(
    reasoner: Reasoner, sources: Sources, clock: MovableClock
):
    sources.facts["queue_pending"] = 1200
    (shown,) = (await reasoner.run()).recommendations
    await reasoner.deps.recommendations.decide(shown.id, "snoozed", who="ada", snooze_h=1)
    clock.move(minutes=59)
    assert (await reasoner.run()).recommendations == ()
    clock.move(minutes=2)
    assert [it.decision for it in (await reasoner.run()).recommendations] == ["open"]


async def test_what_is_not_recommended_now_cannot_be_decided(reasoner: Reasoner):
    await reasoner.run()
    with pytest.raises(InvalidTask) as refused:
        await reasoner.deps.recommendations.decide("rec-000000000000", "accepted", who="ada")
    assert refused.value.code == "unknown_recommendation"


@pytest.mark.parametrize(("pending", "said"), [(1300, "is still there"), (3, "went away")])
async def test_after_its_execution_a_run_says_what_became_of_the_finding(
    reasoner: Reasoner, sources: Sources, clock: MovableClock, pending: int, said: str
):
    sources.facts["queue_pending"] = 1200
    (shown,) = (await reasoner.run()).recommendations
    await reasoner.deps.recommendations.decide(shown.id, "accepted", who="ada")
    await reasoner.deps.recommendations.note_executed([shown.id], "approval")
    clock.move(seconds=30)
    sources.facts["queue_pending"] = pending
    insights = (await reasoner.run()).summary.key_insights
    assert f"After “Work off the queue” was carried out, its finding {said}." in insights

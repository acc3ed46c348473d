"""A reasoning run from sources to history, one at a time."""

import asyncio
import json
import zlib
from typing import Any

import pytest

from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.mock.reasoning import WRITERS
from aletheia.documents import Change, Documents, Update
from aletheia.errors import InvalidTask, Unavailable
from aletheia.metrics import REASONING_CLAIMS, REASONING_DURATION, REASONING_RUNS
from aletheia.reasoning.engine import Reasoner
from aletheia.reasoning.history import NEWEST
from aletheia.reasoning.recommendations import recommendation_id
from aletheia.store.counters import read_counters
from aletheia.telemetry import FINDING, FINDING_ID
from tests.fakes.chat import ScriptedChat
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import Sources, make_reasoner
from tests.fakes.tracing import recording


async def test_a_healthy_system_gets_three_to_five_insights_without_a_model(reasoner: Reasoner):
    output = await reasoner.run()
    summary = output.summary
    assert (summary.overall_health, summary.health_score) == ("excellent", 100)
    assert 3 <= len(summary.key_insights) <= 5
    assert summary.key_insights[0] == "This is the first reasoning run."
    assert any("300 tasks reported as succeeded" in said for said in summary.key_insights)
    assert summary.concerns == ()
    assert summary.positives
    assert output.recommendations == ()
    assert output.action_plan.steps == ()
    assert output.explained_by == "rules"


async def test_a_finding_becomes_a_recommendation_and_a_step(reasoner: Reasoner, sources: Sources):
    sources.facts |= {"queue_pending": 1200, "alerts_critical": 1}
    output = await reasoner.run()
    first, second = output.recommendations
    assert (first.finding, first.priority, first.action_type) == ("critical_alerts", "high", None)
    assert (second.finding, second.action_type) == ("queue_backlog", "process_queue")
    assert second.id == recommendation_id("queue_backlog")
    steps = output.action_plan.steps
    assert [(step.action, step.automated) for step in steps] == [
        ("manual", False),
        ("process_queue", True),
    ]
    assert len(output.action_plan.digest) == 64
    assert not output.action_plan.automated


async def test_a_source_that_fails_leaves_its_findings_and_its_error(
    reasoner: Reasoner, sources: Sources, clock: MovableClock
):
    sources.facts |= {"publish_success_rate": 0.4}
    bad = await reasoner.run()
    clock.move(seconds=30)
    sources.error = Unavailable("platform", "no route")
    blind = await reasoner.run()
    assert blind.snapshot.failed_sources == {
        "platform": "unavailable: platform is unavailable: no route"
    }
    assert [(it.id, it.is_stale) for it in blind.findings] == [
        ("publish_rate_low", True),
        ("source_failed", False),
    ]
    assert blind.summary.health_score < bad.summary.health_score


async def test_of_many_callers_one_reasons_and_all_get_its_result(
    documents: Documents, sources: Sources, clock: MovableClock
):
    reasoners = [make_reasoner(documents, sources, clock) for _ in range(4)]
    for reasoner in reasoners:
        await reasoner.prepare()
    outputs = await asyncio.gather(*(reasoner.run() for reasoner in reasoners))
    # A run that begins after the first one's end is one of its own.
    entries = await reasoners[0].deps.history.list_newest()
    assert {output.reasoning_id for output in outputs} == {it.reasoning_id for it in entries}


async def test_a_caller_waits_for_the_run_under_way(
    reasoner: Reasoner, documents: Documents, sources: Sources, clock: MovableClock
):
    lease = await reasoner.take()
    assert lease is not None
    waiting = asyncio.create_task(make_reasoner(documents, sources, clock).run())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    output = await reasoner.reason(await reasoner.snapshot())
    async with asyncio.timeout(5):
        assert (await waiting).reasoning_id == output.reasoning_id


async def test_any_failure_of_the_model_leaves_the_rules(
    documents: Documents, sources: Sources, clock: MovableClock
):
    class Broken(ScriptedChat):
        async def complete(self, request: Any) -> Any:
            raise RuntimeError(str(request.model))

    reasoner = make_reasoner(documents, sources, clock, chat=Broken())
    await reasoner.prepare()
    output = await reasoner.run()
    assert (output.explained_by, output.summary.health_score) == ("rules", 100)


@pytest.mark.parametrize(("shift", "score"), [(-25.0, 83.0), (25.0, 100.0)])
async def test_a_model_moves_the_score_by_at_most_ten(
    documents: Documents, sources: Sources, clock: MovableClock, shift: float, score: float
):
    answer = {
        "insights": [{"text": "{1}", "refs": ["queue_pending"], "relation": "equal"}],
        **{name: [] for name in ("concerns", "positives", "advice", "order")},
        "score_shift": shift,
    }
    sources.facts["queue_pending"] = 1200  # costs 7
    reasoner = make_reasoner(documents, sources, clock, chat=ScriptedChat(json.dumps(answer)))
    await reasoner.prepare()
    output = await reasoner.run()
    assert output.summary.health_score == score
    assert output.explained_by == "m-2026"


async def test_the_mock_names_what_was_done_and_is_marked(
    documents: Documents, sources: Sources, clock: MovableClock
):
    reasoner = make_reasoner(documents, sources, clock, chat=MockChat(writers=WRITERS))
    await reasoner.prepare()
    output = await reasoner.run()
    said = " ".join(output.summary.key_insights)
    assert "300 tasks reported as succeeded" in said
    assert "42 items created by the newest gather run" in said
    assert output.mock


async def test_the_plan_of_an_older_run_is_unknown(
    reasoner: Reasoner, sources: Sources, clock: MovableClock
):
    sources.facts["queue_pending"] = 1200
    old = (await reasoner.run()).action_plan
    current = await reasoner.current_plan(old.plan_id)
    assert (current.plan, [it.id for it in current.findings]) == (old, ["queue_backlog"])
    clock.move(seconds=30)
    sources.facts["alerts_critical"] = 1
    await reasoner.run()
    with pytest.raises(InvalidTask) as refused:
        await reasoner.current_plan(old.plan_id)
    assert refused.value.code == "unknown_plan"


async def test_runs_and_the_claims_of_new_answers_are_counted(
    documents: Documents, sources: Sources, clock: MovableClock
):
    made_up = {"text": "{1} of 12,000", "refs": ["queue_success"], "relation": "equal"}
    right = {"text": "{1}", "refs": ["queue_success"], "relation": "equal"}
    nothing: dict[str, Any] = {name: [] for name in ("concerns", "positives", "advice", "order")}
    answer = {"insights": [right, made_up], **nothing, "score_shift": 0.0}
    chat = ScriptedChat(json.dumps(answer))
    reasoner = make_reasoner(documents, sources, clock, chat=chat)
    await reasoner.prepare()
    for _ in range(2):
        assert (await reasoner.run()).explained_by != "rules"
        clock.move(seconds=30)
    counters = await read_counters(documents)
    assert counters.value(REASONING_RUNS, "model") == 2
    assert counters.histogram(REASONING_DURATION).count == 2
    assert counters.value(REASONING_CLAIMS, "kept") == 1
    assert counters.value(REASONING_CLAIMS, "dropped") == 1


async def test_a_run_that_fails_is_counted(
    documents: Documents, sources: Sources, clock: MovableClock
):
    reasoner = make_reasoner(documents, sources, clock)
    await reasoner.prepare()
    await documents.upsert(NEWEST, [Update("newest", Change(set={"payload": b"no output"}))])
    with pytest.raises(zlib.error):
        await reasoner.reason(await reasoner.snapshot())
    assert (await read_counters(documents)).value(REASONING_RUNS, "failed") == 1


async def test_a_plan_goes_on_in_the_trace_of_the_run_that_found_its_reason(
    documents: Documents, sources: Sources, clock: MovableClock
):
    provider = recording()
    sources.facts |= {"queue_pending": 1200}
    reasoner = make_reasoner(documents, sources, clock)
    await reasoner.prepare()
    output = await reasoner.run()
    (span,) = provider.named(FINDING)
    assert span.attributes[FINDING_ID] == ["queue_backlog"]
    current = await reasoner.current_plan(output.action_plan.plan_id)
    assert current.traceparent is not None
    assert f"{span.trace_id:032x}" in current.traceparent

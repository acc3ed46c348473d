"""Spans: their names, how they hang together across steps and processes, what they never hold."""

import json
from collections.abc import Generator

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from aletheia import telemetry
from aletheia.errors import Unavailable
from aletheia.telemetry import CONTENT, current_traceparent, model_call, record_content, span
from tests.aletheia.intake.conftest import Bench, bench
from tests.fakes.tracing import RecordingProvider, recording

__all__ = ["bench"]

SECRET = "a-secret-in-a-message"


@pytest.fixture
def traced() -> Generator[RecordingProvider]:
    yield recording()
    CONTENT.is_on = False


def test_the_names_are_those_of_the_genai_conventions():
    assert telemetry.INFERENCE_DURATION == "gen_ai.client.inference.duration"
    assert telemetry.EMBEDDINGS_DURATION == "gen_ai.client.embeddings.duration"
    assert telemetry.INFERENCE_INPUT_TOKENS == "gen_ai.client.inference.usage.input_tokens"
    assert telemetry.DURATION_BUCKETS[0] == 0.01
    assert telemetry.DURATION_BUCKETS[-1] == pytest.approx(81.92)
    assert telemetry.TOKEN_BUCKETS[-1] == 67_108_864


def test_a_call_to_a_model_is_a_client_span_with_its_tokens(traced: RecordingProvider):
    with model_call("openai", "gpt-x", "chat") as call:
        call.used(12, 3)
    (found,) = traced.named("chat gpt-x")
    assert found.kind is SpanKind.CLIENT
    assert found.is_ended
    assert found.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
    }


def test_a_call_that_fails_says_how_and_not_with_what_words(traced: RecordingProvider):
    with pytest.raises(Unavailable), model_call("openai", "m", "embedding"):
        raise Unavailable("openai", SECRET)
    (found,) = traced.named("embeddings m")
    assert (found.status, found.attributes["error.type"]) == (StatusCode.ERROR, "unavailable")
    assert SECRET not in repr(found.attributes)
    assert found.is_ended


def test_a_span_goes_on_from_one_of_another_process(traced: RecordingProvider):
    assert current_traceparent() is None
    with span(telemetry.FINDING):
        kept = current_traceparent()
    with span(telemetry.PLAN, parent=kept), span(telemetry.PLAN_STEP):
        pass
    finding, plan, step = traced.spans
    assert finding.trace_id == plan.trace_id == step.trace_id
    assert plan.parent is not None
    assert plan.parent.span_id == finding.span_id
    assert step.parent is not None
    assert step.parent.span_id == plan.span_id


@pytest.mark.parametrize("name", ["", "nonsense", "00-zz-zz-01", "00-0-0-00", "x" * 10_000])
def test_a_name_that_makes_no_sense_begins_a_trace(traced: RecordingProvider, name: str):
    with span(telemetry.PLAN, parent=name):
        pass
    assert traced.spans[0].parent is None


def test_a_span_of_ours_that_fails_is_ended_with_the_kind_of_error(traced: RecordingProvider):
    with pytest.raises(KeyError), span(telemetry.POLL):
        raise KeyError(SECRET)
    (found,) = traced.spans
    assert (found.attributes, found.is_ended) == ({"error.type": "KeyError"}, True)


@pytest.mark.parametrize("is_on", [False, True])
def test_the_content_of_prompts_is_there_only_when_switched_on(
    traced: RecordingProvider, *, is_on: bool
):
    CONTENT.is_on = is_on
    with model_call("openai", "m", "chat"):
        record_content(prompt=[("user", "half \ud800 a pair")], answer="yes")
    attributes = traced.spans[0].attributes
    assert ("gen_ai.input.messages" in attributes) == is_on
    if is_on:
        (message,) = json.loads(attributes["gen_ai.input.messages"])
        assert message["role"] == "user"
        assert json.loads(attributes["gen_ai.output.messages"])[0]["parts"][0]["content"] == "yes"


async def test_one_trace_leads_from_a_poll_to_its_reports(bench: Bench, traced: RecordingProvider):
    bench.add("t1")
    bench.add("t2")
    await bench.drain()
    poll, *others = traced.named(telemetry.POLL)
    (compute,), (report,) = traced.named(telemetry.COMPUTE), traced.named(telemetry.REPORT)
    assert poll.attributes[telemetry.TASK_IDS] == ["t1", "t2"]
    assert compute.trace_id == report.trace_id == poll.trace_id
    assert compute.parent is not None
    assert compute.parent.span_id == poll.span_id
    assert report.attributes == {telemetry.TASKS: 2}
    assert all(other.attributes[telemetry.TASKS] == 0 for other in others)
    assert all(found.is_ended for found in traced.spans)

"""What is known of one task, and the dead letters, as people read them."""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pytest
from typing_extensions import override

from aletheia.analysis.processor import Finished
from aletheia.errors import ComputeFailed, Unavailable
from aletheia.intake.trace import hide_params, read_traces
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.llm.usage import Call, Spending
from tests.aletheia.intake.conftest import Bench
from tests.aletheia.llm.spenders import PRICES
from tests.fakes.processors import FakeProcessors
from tests.fakes.usage import budget_limits


async def test_a_trace_shows_the_life_of_a_task_in_order(bench: Bench):
    bench.add("t1", callbackRoute="/hooks/1", callbackParams={"to": "you"})
    await bench.drain()
    (trace,) = await read_traces(bench.documents, "t1")
    assert trace.state == "reported"
    assert trace.events[0].what == "claimed"
    assert [event.at for event in trace.events] == sorted(event.at for event in trace.events)
    assert {"`processing`", "report"} <= {word for e in trace.events for word in e.what.split()}
    assert trace.facts["type"] == "echo"
    assert "/hooks/1" in trace.facts["callback_json"]
    assert "ECHO" not in trace.model_dump_json()


class MeteredEcho(FakeProcessors):
    """The fake processors, whose every computation is one call to a model."""

    def __init__(self, spending: Spending) -> None:
        super().__init__()
        self.spending = spending

    @override
    async def process(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        call = Call("key", "openai", group, "embedding", run_id="run")
        reserved = await self.spending.reserve(call, Tokens(100))
        async for finished in super().process(task_type, group, inputs):
            yield finished
        await self.spending.settle(reserved, Tokens(10 * len(inputs)))


async def test_a_trace_shows_the_calls_to_models_of_every_attempt(bench: Bench):
    spending = Spending(bench.documents, PriceTable(PRICES), budget_limits(), clock=bench.clock)
    bench.processors = MeteredEcho(spending)
    bench.processors.faults["bad"] = [ComputeFailed("flaky", "once")]
    bench.add("good", "good")
    bench.add("bad", "bad")
    bench.add("other model", "good", data={"text": "good", "model": "n"})
    await bench.drain()
    (good,) = await read_traces(bench.documents, "good")
    assert [(call.model, call.tasks, call.tokens_in) for call in good.calls] == [("m", 2, 20)]
    assert (good.calls[0].state, good.calls[0].provider) == ("settled", "openai")
    (bad,) = await read_traces(bench.documents, "bad")
    assert sorted(call.tasks for call in bad.calls) == [1, 2]
    (other,) = await read_traces(bench.documents, "other model")
    assert [(call.model, call.tasks) for call in other.calls] == [("n", 1)]


async def test_a_call_of_a_task_that_had_to_wait_is_in_its_trace(bench: Bench):
    spending = Spending(bench.documents, PriceTable(PRICES), budget_limits(), clock=bench.clock)
    bench.processors = MeteredEcho(spending)
    bench.processors.outages = [Unavailable("openai", "down")]
    bench.add("t1")
    await bench.drain()
    (trace,) = await read_traces(bench.documents, "t1")
    assert trace.state == "waiting"
    assert [call.state for call in trace.calls] == ["reserved"]
    bench.clock.now += 3600
    await bench.drain()
    (trace,) = await read_traces(bench.documents, "t1")
    assert trace.state == "reported"
    assert [call.state for call in trace.calls] == ["reserved", "settled"]


async def test_each_content_of_an_id_has_a_trace_and_others_have_none(bench: Bench):
    bench.add("t1", "one")
    bench.add("t2", "two")
    await bench.drain()
    bench.clock.now += 5
    bench.upstream.relist("t1", text="another")
    bench.upstream.add("t1", "another", type="echo")
    await bench.drain()
    traces = await read_traces(bench.documents, "t1")
    assert [trace.task_id for trace in traces] == ["t1"] * len(traces)
    assert len(traces) >= 2
    assert await read_traces(bench.documents, "t3") == []


async def test_a_trace_says_why_a_report_waits_and_why_a_task_is_dead(bench: Bench):
    bench.add("t1", type="no_such_type")
    bench.upstream.fail_next(503, 503, 503, on="report")
    await bench.drain()
    (trace,) = await read_traces(bench.documents, "t1")
    assert trace.facts["report_error"]["code"] == "unavailable"
    assert trace.facts["report_tries"] == 1
    bench.clock.now += 600
    await bench.drain()
    (trace,) = await read_traces(bench.documents, "t1")
    assert trace.facts["dead_code"] == "unknown_type"
    assert "report_error" not in trace.facts


async def test_dead_letters_are_listed_newest_first_with_code_and_age(bench: Bench):
    bench.add("t1", type="no_such_type")
    await bench.drain()
    bench.clock.now += 90
    bench.add("t2", data={"text": 7})
    await bench.drain()
    bench.clock.now += 10
    newest, oldest = await bench.ledger().dead_letters.newest(limit=9)
    assert (newest.id, newest.type, newest.code) == ("t2", "echo", "missing_text")
    assert (oldest.id, oldest.age_s) == ("t1", 100)
    assert oldest.as_row()["age"] == "0:01:40"
    assert list(oldest.as_row()) == ["id", "type", "code", "message", "age"]
    only = await bench.ledger().dead_letters.newest(code="unknown_type", limit=9)
    assert [dead_letter.id for dead_letter in only] == ["t1"]


async def test_each_step_of_a_task_is_a_line_with_its_id(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    bench.add("task-77")
    with caplog.at_level(logging.DEBUG, "aletheia"):
        await bench.drain()
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.DEBUG]
    steps = [line.partition(": ")[2] for line in lines if line.startswith("task 'task-77'")]
    assert steps == ["claimed, by us", "processing", "kept", "reported"]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ('{"route": "/hooks/1", "params": {"to": "s3cret", "a": 1}}', "/hooks/1: a to"),
        ('{"route": "/hooks/1", "params": ["s3cret"]}', "/hooks/1: "),
        ('{"route": "/hooks/1", "params": "s3cret"}', "/hooks/1: "),
        ('{"route": "/hooks/1"}', "/hooks/1: "),
        ('["s3cret"]', "None: "),
    ],
)
def test_values_of_a_callback_are_not_shown(sent: str, shown: str):
    found = hide_params({"type": "echo", "callback_json": sent})
    callback = found.pop("callback")
    assert f"{callback['route']}: {' '.join(callback['params'])}" == shown
    assert found == {"type": "echo"}


@pytest.mark.parametrize("sent", ["s3cret", '{"params": {"to": "s3cr', "[" * 100_000, None])
def test_a_callback_that_cannot_be_read_is_not_shown(sent: str | None):
    assert hide_params({"type": "echo", "callback_json": sent}) == {"type": "echo"}
    assert hide_params({"type": "echo"}) == {"type": "echo"}

"""Pushed tasks: the same ledger, and reports by callback, on every store."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from aletheia.analysis.processor import Lane
from aletheia.documents import Change, Update
from aletheia.errors import AletheiaError, InvalidTask, Refused, TimedOut, Unavailable
from aletheia.intake.callbacks import GIVE_UP_S, MAX_SENDING_TO_ONE
from aletheia.intake.lanes.worker import LaneWorker
from aletheia.intake.models import Entry
from aletheia.intake.poller import Poller
from aletheia.intake.pushed import PushedStatus, PushedTasks, read_pushed
from aletheia.intake.reports import RESULTS
from aletheia.intake.rows import ROWS
from aletheia.metrics import DEAD_LETTERS, LEDGER_ROWS, TASKS
from aletheia.series import Counters
from tests.aletheia.adapters.documents.conftest import BACKENDS, mongodb_uri, opened
from tests.aletheia.intake.conftest import Bench
from tests.fakes.processors import FakeProcessors
from tests.fakes.upstream import serve_fake_upstream

__all__ = ["mongodb_uri"]

URL = "https://example.com/done"


class Callbacks:
    """Notes what is sent; `faults` is what the next sendings fail with.

    `hangs_s` is how long each takes before it fails, seconds; `asked` and `ended` count.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, str]] = []
        self.faults: list[AletheiaError] = []
        self.hangs_s = 0.0
        self.asked = self.ended = 0

    async def post(self, address: str, body: bytes, event_id: str) -> None:
        self.asked += 1
        await asyncio.sleep(self.hangs_s)
        self.ended += 1
        if self.hangs_s:
            raise TimedOut("webhook", "no complete answer in time")
        if self.faults:
            raise self.faults.pop(0)
        self.sent.append((address, body, event_id))


class PushBench(Bench):
    """A bench to which tasks are pushed."""

    callbacks: Callbacks

    async def push(self, *bodies: dict[str, Any]) -> None:
        await self.tasks.push(read(list(bodies)))

    @property
    def tasks(self) -> PushedTasks:
        return PushedTasks(self.documents, self.ledger().rows)

    async def status(self, task_id: str) -> PushedStatus:
        found = await self.tasks.find(task_id)
        assert found is not None
        return found

    def poller(self, ledger: Any = None, **changes: Any) -> Poller:
        ledger = ledger or self.ledger(**changes)
        return Poller(self.client, ledger, self.processors, callbacks=self.callbacks)


@pytest.fixture(params=BACKENDS)
async def bench(request: pytest.FixtureRequest) -> AsyncGenerator[PushBench]:
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(serve_fake_upstream())
        documents = await stack.enter_async_context(opened(request.param, request))
        bench = PushBench(upstream, documents)  # pyright: ignore[reportArgumentType] - either store
        bench.callbacks = Callbacks()
        await bench.client.open()
        stack.push_async_callback(bench.client.close)
        yield bench


def read(body: object) -> list[Entry]:
    return read_pushed(body, max_entry_bytes=10_000)


def task(task_id: str = "p1", text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"id": task_id, "type": "echo", "data": {"text": text}, **more}


async def test_a_pushed_task_is_computed_and_nothing_is_said_to_the_upstream(bench: PushBench):
    await bench.push(task(), task("p2", "bad"))
    bench.processors.faults["bad"] = [InvalidTask("odd", "it is odd")]
    assert (await bench.status("p1")).state == "pending"
    poller = await bench.drain()
    assert bench.upstream.states == {}
    first, second = await bench.status("p1"), await bench.status("p2")
    assert (first.state, second.state) == ("succeeded", "failed")
    assert first.report is not None
    assert first.report["result"]["echo"] == "HELLO"
    assert second.report is not None
    assert second.report["error"]["code"] == "odd"
    assert (poller.held.tally.succeeded, poller.held.tally.failed) == (1, 1)
    counters = Counters(await bench.documents.counters())
    assert counters.by(TASKS, "state", type="echo") == {"claimed": 2, "succeeded": 1, "failed": 1}
    assert counters.total(LEDGER_ROWS) == 0


async def test_tasks_are_taken_in_the_order_they_came(bench: PushBench):
    await bench.push(*(task(f"p{9 - number}", f"text {number}") for number in range(9)))
    bench.clock.now += 1
    await bench.push(task("p0", "text 9"))
    await bench.drain()
    assert bench.processors.texts == [f"text {number}" for number in range(10)]


async def test_the_same_id_pushed_and_listed_are_two_tasks(bench: PushBench):
    bench.add("same", "listed")
    await bench.push(task("same", "pushed"))
    await bench.drain()
    assert sorted(bench.processors.texts) == ["listed", "pushed"]
    assert bench.upstream.tasks["same"].state == "succeeded"
    status = await bench.status("same")
    assert status.report is not None
    assert status.report["result"]["echo"] == "PUSHED"


async def test_a_callback_has_the_id_and_the_report(bench: PushBench):
    await bench.push(task("p 1", callback_url=URL), task("silent"))
    await bench.drain()
    ((address, body, event_id),) = bench.callbacks.sent
    assert address == URL
    assert re.fullmatch("task:p%201:[0-9a-f]{16}", event_id)
    sent = json.loads(body)
    assert (sent["id"], sent["state"], sent["result"]["echo"]) == ("p 1", "succeeded", "HELLO")


async def test_a_callback_that_fails_is_sent_again_with_the_same_body(bench: PushBench):
    await bench.push(task(callback_url=URL))
    bench.callbacks.faults = [Unavailable("webhook", "down")]
    await bench.drain()
    assert (await bench.status("p1")).state == "succeeded"
    assert (await bench.rows())["p1"]["state"] == "kept"
    bench.clock.now += 700
    await bench.drain()
    assert len(bench.callbacks.sent) == 1
    assert len(bench.processors.texts) == 1
    assert (await bench.rows())["p1"]["state"] == "reported"


@pytest.mark.parametrize(
    "fault", [Refused("webhook", 410), InvalidTask("invalid_webhook_url", "it is no address")]
)
async def test_a_callback_that_is_refused_is_a_dead_letter_and_the_result_stays(
    bench: PushBench, fault: AletheiaError
):
    await bench.push(task(callback_url=URL))
    bench.callbacks.faults = [fault]
    await bench.drain()
    row = (await bench.rows())["p1"]
    assert (row["state"], row["dead_code"]) == ("dead", "callback_refused")
    status = await bench.status("p1")
    assert status.state == "succeeded"
    assert status.report is not None
    # A replay sends the same report once more.
    poller = bench.poller()
    async with poller.holding():
        await poller.process(await poller.replayer.recall([row["_id"]]))
    assert len(bench.callbacks.sent) == 1
    assert len(bench.processors.texts) == 1
    assert Counters(await bench.documents.counters()).value(DEAD_LETTERS) == 0


async def test_a_callback_is_given_up_after_a_day(bench: PushBench):
    await bench.push(task(callback_url=URL))
    bench.callbacks.faults = [Unavailable("webhook", "down")] * 2
    await bench.drain()
    bench.clock.now += GIVE_UP_S + 1
    await bench.drain()
    assert (await bench.rows())["p1"]["dead_code"] == "callback_failed"


async def test_a_replayed_callback_is_tried_for_a_day_again(bench: PushBench):
    await bench.push(task(callback_url=URL))
    bench.callbacks.faults = [Unavailable("webhook", "down")] * 3
    await bench.drain()
    bench.clock.now += GIVE_UP_S + 1
    await bench.drain()
    poller = bench.poller()
    async with poller.holding():
        await poller.process(await poller.replayer.recall(["p1#pushed"]))
    assert (await bench.rows())["p1"]["state"] == "kept"
    bench.clock.now += 700
    await bench.drain()
    assert len(bench.callbacks.sent) == 1


async def test_the_report_of_a_replay_is_no_copy_of_the_first_one(bench: PushBench):
    await bench.push(task(text="bad", callback_url=URL))
    bench.processors.faults["bad"] = [InvalidTask("odd", "it is odd")]
    await bench.drain()
    poller = bench.poller()
    async with poller.holding():
        await poller.process(await poller.replayer.recall(["p1#pushed"]))
    (_, failure, first), (_, success, second) = bench.callbacks.sent
    assert (json.loads(failure)["state"], json.loads(success)["state"]) == ("failed", "succeeded")
    assert first != second


async def test_receivers_that_hang_keep_no_report_to_the_upstream_waiting(bench: PushBench):
    await bench.push(*(task(f"p{number}", callback_url=URL) for number in range(40)))
    for number in range(40):
        bench.add(f"t{number}")
    bench.callbacks.hangs_s = 0.5
    began = time.monotonic()
    await bench.drain()
    assert time.monotonic() - began < 4
    assert {found.state for found in bench.upstream.tasks.values()} == {"succeeded"}
    assert bench.callbacks.asked <= MAX_SENDING_TO_ONE


async def test_what_the_upstream_took_is_recorded_while_a_callback_hangs(bench: PushBench):
    await bench.push(task(callback_url=URL))
    bench.add("t1")
    bench.callbacks.hangs_s = 1.0
    running = asyncio.create_task(bench.drain())
    is_seen = False
    while not (running.done() or is_seen):
        is_reported = (await bench.states()).get("t1") == "reported"
        is_seen = is_reported and (bench.callbacks.asked, bench.callbacks.ended) == (1, 0)
        await asyncio.sleep(0.02)
    await running
    assert is_seen


class TwoTypes(FakeProcessors):
    """Computes `slow`, of lane `media`, as well."""

    @property
    def types(self) -> tuple[str, ...]:
        return ("echo", "slow")

    def admit(self, task_type: str, task_input: Mapping[str, Any]) -> str:
        return super().admit("echo" if task_type == "slow" else task_type, task_input)

    def lane(self, task_type: str) -> Lane:
        return "media" if task_type == "slow" else "intake"


async def test_a_full_lane_keeps_no_other_pushed_task_waiting(bench: PushBench):
    bench.processors = TwoTypes()
    await bench.push(*(task(f"s{number}") | {"type": "slow"} for number in range(9)))
    bench.clock.now += 1
    await bench.push(task("short"))
    ledger = bench.ledger(batch_max_tasks=2)
    callbacks = bench.callbacks
    await bench.drain(
        Poller(bench.client, ledger, bench.processors, lane_max_waiting=2, callbacks=callbacks)
    )
    states = await bench.states()
    assert states.pop("short") == "reported"
    assert sorted(states.values()) == ["claimed"] * 7 + ["queued"] * 2


async def test_refusals_of_receivers_say_nothing_about_the_upstream(bench: PushBench):
    await bench.push(*(task(f"p{number}", callback_url=URL) for number in range(4)))
    bench.callbacks.faults = [Refused("webhook", 403)] * 4
    bench.add("t1")
    await bench.drain()
    assert bench.upstream.tasks["t1"].state == "succeeded"


async def test_a_result_stays_as_long_as_its_row(bench: PushBench):
    await bench.push(task())
    await bench.drain()
    bench.clock.now += 29 * 86_400
    await bench.ledger().purge()
    assert (await bench.status("p1")).report is not None
    bench.clock.now += 2 * 86_400
    await bench.ledger().purge()
    assert await bench.tasks.find("p1") is None
    assert await bench.documents.count(RESULTS, {}) == 0


async def test_a_pushed_task_of_a_lane_is_handed_over(bench: PushBench):
    bench.processors.lanes = {"echo": "llm"}
    await bench.push(task(job_id="j"))
    await bench.drain()
    row = (await bench.rows())["p1"]
    assert (row["state"], row["lane"], row["job"]) == ("queued", "llm", "j")
    assert (await bench.status("p1")).state == "pending"


async def test_a_callback_that_failed_takes_the_place_of_no_task_in_a_lane(bench: PushBench):
    bench.processors.lanes = {"echo": "llm"}
    await bench.push(task(callback_url=URL))
    await bench.drain()
    ledger = bench.ledger()
    worker = LaneWorker(bench.client, ledger, bench.processors, "llm", callbacks=bench.callbacks)
    bench.callbacks.faults = [Unavailable("webhook", "down")]
    async with worker.holding():
        await worker.process(await worker.collector.collect())
    bench.clock.now += 700
    assert (await worker.collector.collect()).size == 0
    await bench.drain()
    assert len(bench.callbacks.sent) == 1
    assert (await bench.status("p1")).state == "succeeded"


async def test_two_requests_at_once_with_the_same_id_make_one_task(bench: PushBench):
    await asyncio.gather(*(bench.push(task()) for _ in range(5)))
    assert await bench.documents.count(ROWS, {}) == 1
    counters = Counters(await bench.documents.counters())
    assert counters.total(LEDGER_ROWS) == 1


async def test_other_content_under_the_same_id_is_refused(bench: PushBench):
    await bench.push(task())
    with pytest.raises(InvalidTask) as raised:
        await bench.push(task("p2"), task(text="other"))
    assert raised.value.code == "id_reused"
    assert await bench.documents.count(ROWS, {}) == 1


async def test_a_row_that_cannot_be_read_stops_no_other_one(bench: PushBench):
    await bench.push(task(), task("p2"))
    broken = Change(set={"task_json": "{"})
    await bench.documents.update(ROWS, [Update("p1#pushed", broken)])
    await bench.drain()
    assert (await bench.status("p1")).state == "failed"
    assert (await bench.status("p2")).state == "succeeded"


DIALECTS: list[tuple[object, list[str]]] = [
    ({"id": "a", "type": "t", "data": {"text": "x"}}, ["a"]),
    ({"_id": "a", "type": "t", "content": {"text": "x"}, "state": "failed"}, ["a"]),
    ([{"id": 1, "task_type": "t", "input_data": {}}, {"id": 2, "task_type": "t"}], ["1", "2"]),
    ({"tasks": [{"id": "a", "type": "t", "data": {}}]}, ["a"]),
    ({"data": [{"id": "a", "type": "t", "data": {}}]}, ["a"]),
]


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else "x"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (task(text="x" * 20_000), "task_too_large"),
        (task() | {"data": {"text": "x", "more": nested(300)}}, "invalid_input"),
    ],
)
def test_a_task_that_is_not_written_down_whole_is_refused_at_once(body: object, code: str):
    with pytest.raises(InvalidTask) as raised:
        read(body)
    assert raised.value.code == code


async def test_a_task_with_a_fault_that_is_written_down_has_its_code(bench: PushBench):
    await bench.push(task() | {"retry_count": -1})
    await bench.drain()
    status = await bench.status("p1")
    assert status.report is not None
    assert status.report["error"]["code"] == "invalid_task"


@pytest.mark.parametrize(("body", "ids"), DIALECTS)
def test_tasks_are_read_in_every_dialect(body: object, ids: list[str]):
    entries = read(body)
    assert [entry.id for entry in entries] == ids
    assert all(entry.row_id == f"{entry.id}#pushed" for entry in entries)

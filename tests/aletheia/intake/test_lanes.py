"""Tasks that shifts hand over to lanes, and the workers that take them, on every store."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from aletheia.errors import ComputeFailed, InvalidTask, Unavailable
from aletheia.intake.lanes.worker import MAX_TAKES, LaneWorker
from aletheia.intake.ledger import Ledger
from aletheia.intake.pipeline import drain_slots
from aletheia.intake.poller import Poller
from aletheia.intake.rows import ROWS
from aletheia.intake.shift import Shift
from aletheia.metrics import LANE_WAITING, LEDGER_ROWS
from aletheia.series import Counters
from tests.aletheia.adapters.documents.conftest import BACKENDS, mongodb_uri, opened
from tests.aletheia.intake.conftest import Bench
from tests.fakes.upstream import serve_fake_upstream

__all__ = ["mongodb_uri"]

LANE = "llm"


class LaneBench(Bench):
    """A bench whose tasks belong to a lane."""

    def worker(self, **changes: Any) -> LaneWorker:
        ledger = Ledger(
            self.documents, self.settings(**changes), owner="w", clock=self.clock.both, lane=LANE
        )
        return LaneWorker(self.client, ledger, self.processors, LANE)

    async def hand_over(self, **changes: Any) -> Poller:
        """Work a shift until nothing is left to claim."""
        return await self.drain(**changes)

    async def work(self, worker: LaneWorker | None = None, *, slots: int = 1) -> LaneWorker:
        """Work off what waits in the lane."""
        worker = worker or self.worker()
        async with worker.holding():
            await drain_slots(
                worker.collector.collect,
                worker.process,
                slots=slots,
                has_work=worker.collector.has_work,  # pyright: ignore[reportAttributeAccessIssue] - of a lane's collector
                poll_s=0.01,
            )
        return worker

    async def take(self, worker: LaneWorker) -> None:
        """Take one task, and lose the worker."""
        await worker.collector.collect()

    async def waiting(self) -> float:
        counters = Counters(await self.documents.counters())
        return counters.value(LANE_WAITING, LANE)


@pytest.fixture(params=BACKENDS)
async def bench(request: pytest.FixtureRequest) -> AsyncGenerator[LaneBench]:
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(serve_fake_upstream())
        documents = await stack.enter_async_context(opened(request.param, request))
        bench = LaneBench(upstream, documents)  # pyright: ignore[reportArgumentType] - either store
        bench.processors.lanes = {"echo": LANE}
        await bench.client.open()
        stack.push_async_callback(bench.client.close)
        yield bench


async def test_a_shift_claims_and_hands_over_and_computes_nothing(bench: LaneBench):
    bench.add("t1")
    bench.add("t2")
    poller = await bench.hand_over()
    assert await bench.states() == {"t1": "queued", "t2": "queued"}
    assert bench.upstream.states == {"t1": ["processing"], "t2": ["processing"]}
    assert bench.processors.computed == []
    assert (poller.held.tally.claimed, poller.held.tally.handed_over) == (2, 2)
    assert await bench.waiting() == 2


async def test_a_worker_computes_and_reports_what_was_handed_over(bench: LaneBench):
    for number in range(3):
        bench.add(f"t{number}", f"text {number}")
    await bench.hand_over()
    worker = await bench.work()
    assert set((await bench.states()).values()) == {"reported"}
    assert bench.processors.computed == [["text 0"], ["text 1"], ["text 2"]]
    assert worker.held.tally.succeeded == 3
    counters = Counters(await bench.documents.counters())
    assert (await bench.waiting(), counters.total(LEDGER_ROWS)) == (0, 0)


async def test_short_work_does_not_wait_for_the_lane(bench: LaneBench):
    bench.processors.lanes = {"other": LANE}
    bench.add("short")
    await bench.hand_over()
    assert await bench.states() == {"short": "reported"}


async def test_jobs_take_turns_and_within_one_the_oldest_comes_first(bench: LaneBench):
    for number in range(4):
        bench.add(f"a{number}", f"a{number}", job_id="big")
    await bench.hand_over()
    for number in range(2):
        bench.add(f"b{number}", f"b{number}", job_id="small")
    bench.add("c0", "c0")
    await bench.hand_over()
    await bench.work()
    order = bench.processors.texts
    assert [text for text in order if text[0] == "a"] == ["a0", "a1", "a2", "a3"]
    assert [text for text in order if text[0] == "b"] == ["b0", "b1"]
    assert {order[0], order[1], order[2]} == {"a0", "b0", "c0"}
    assert order.index("b1") < order.index("a2")


async def test_a_job_that_comes_late_begins_where_the_others_are(bench: LaneBench):
    for number in range(4):
        bench.add(f"a{number}", f"a{number}", job_id="big")
    await bench.hand_over()
    worker = bench.worker()
    async with worker.holding():
        for _ in range(2):
            await worker.process(await worker.collector.collect())
    bench.add("b0", "b0", job_id="late")
    await bench.hand_over()
    await bench.work()
    assert bench.processors.texts.index("b0") in (2, 3)


async def test_a_full_lane_leaves_tasks_pending_upstream(bench: LaneBench):
    for number in range(5):
        bench.add(f"t{number}", f"text {number}")
    ledger = bench.ledger()
    await bench.drain(Poller(bench.client, ledger, bench.processors, lane_max_waiting=3))
    assert await bench.states() == {f"t{n}": "queued" for n in range(3)}
    assert bench.upstream.tasks["t3"].state == "pending"
    await bench.work()
    await bench.drain(Poller(bench.client, ledger, bench.processors, lane_max_waiting=3))
    await bench.work()
    assert all(task.state == "succeeded" for task in bench.upstream.tasks.values())


async def test_two_workers_never_take_the_same_task(bench: LaneBench):
    for number in range(8):
        bench.add(f"t{number}", f"text {number}")
    await bench.hand_over()
    await asyncio.gather(*(bench.work(bench.worker(), slots=2) for _ in range(3)))
    assert sorted(bench.processors.texts) == [f"text {number}" for number in range(8)]


async def test_what_a_lost_worker_held_the_next_one_takes(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    await bench.take(bench.worker())
    assert await bench.states() == {"t1": "processing"}
    assert not await bench.worker().collector.has_work()  # pyright: ignore[reportAttributeAccessIssue] - of a lane's collector
    await bench.drain()  # a shift leaves it alone
    bench.clock.now += 66
    await bench.drain()
    assert bench.processors.computed == []
    await bench.work()
    assert await bench.states() == {"t1": "reported"}
    assert bench.upstream.states["t1"] == ["processing", "succeeded"]


async def test_a_task_that_ends_its_workers_is_its_own_error(bench: LaneBench):
    bench.add("bomb")
    await bench.hand_over()
    for _ in range(MAX_TAKES):
        await bench.take(bench.worker())
        bench.clock.now += 66
    await bench.work()
    assert bench.processors.computed == []
    assert (await bench.rows())["bomb"]["error"]["code"] == "worker_died"
    assert bench.upstream.tasks["bomb"].state == "failed"


async def test_workers_that_end_in_order_count_nothing_against_a_task(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    for _ in range(MAX_TAKES + 1):
        worker = bench.worker()
        async with worker.holding():
            await bench.take(worker)
        bench.clock.now += 6
    await bench.work()
    assert await bench.states() == {"t1": "reported"}


async def test_an_outage_makes_a_task_wait_in_its_lane(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    bench.processors.outages = [Unavailable("model", "down")]
    await bench.work()
    assert await bench.states() == {"t1": "waiting"}
    assert await bench.waiting() == 1
    await bench.drain()
    assert bench.processors.computed == []
    bench.clock.now += 40
    await bench.work()
    assert await bench.states() == {"t1": "reported"}
    assert await bench.waiting() == 0


async def test_a_task_that_fails_fails_alone(bench: LaneBench):
    bench.add("bad", "bad")
    bench.add("good", "good")
    bench.processors.faults["bad"] = [InvalidTask("odd", "it is odd")]
    await bench.hand_over()
    await bench.work()
    assert bench.upstream.tasks["bad"].state == "failed"
    assert bench.upstream.tasks["good"].state == "succeeded"


async def test_a_worker_leaves_types_that_it_does_not_compute_to_others(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    worker = bench.worker()
    worker.collector._types = ["another"]  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage] - of a machine without the plug-in
    await bench.work(worker)
    assert await bench.states() == {"t1": "queued"}


async def test_new_content_supersedes_what_waits_in_the_lane(bench: LaneBench):
    bench.add("t1", "old")
    await bench.hand_over()
    bench.upstream.tasks.clear()
    bench.add("t1", "new")
    await bench.hand_over()
    await bench.work()
    assert bench.processors.texts == ["new"]
    assert await bench.waiting() == 0


async def test_a_replayed_dead_letter_goes_to_its_lane(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    bench.processors.faults["hello"] = [ComputeFailed("once", "odd")] * 4
    await bench.work()
    assert bench.upstream.tasks["t1"].state == "failed"
    bench.upstream.tasks["t1"].state = "pending"
    poller = bench.poller()
    (row,) = await bench.documents.find(ROWS, {})
    async with poller.holding():
        batch = await poller.replayer.recall([row["_id"]])
    assert batch.size == 0
    assert await bench.states() == {"t1": "queued"}
    await bench.work()
    assert bench.upstream.tasks["t1"].state == "succeeded"


async def test_a_worker_whose_time_is_over_or_who_is_paused_takes_nothing(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    worker = bench.worker()
    shift = await Shift.begin(worker, "run", length_s=60, interval_s=30)
    assert await shift.is_open()
    await worker.held.ledger.set_paused(is_paused=True)
    assert not await shift.is_open()
    assert (await shift.collect()).size == 0
    await worker.held.ledger.set_paused(is_paused=False)
    bench.clock.now += 61
    assert not await shift.is_open()


async def test_a_shift_wakes_when_there_is_something_to_do(bench: LaneBench):
    shift = await Shift.begin(bench.worker(), "run", length_s=60, interval_s=30)
    rests = list[float]()

    async def rest(seconds: float) -> bool:
        rests.append(seconds)
        bench.clock.now += 1
        return len(rests) == 2

    assert await shift.next_tick(rest)
    assert await shift.next_tick(rest)
    assert len(rests) == 2


async def test_the_gauge_of_a_lane_is_corrected_from_the_rows(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    bench.documents.note(LANE_WAITING.add(LANE, by=7))
    ledger = bench.ledger()
    await ledger.correct_gauges()
    assert await bench.waiting() == 1

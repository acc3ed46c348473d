"""Tasks that are handed over to a lane, and whose turn it is."""

import asyncio
from datetime import UTC, datetime

from aletheia.errors import ComputeFailed, RateLimited, Unavailable
from aletheia.intake.rows import ROWS
from aletheia.metrics import LANE_WAITING
from tests.aletheia.intake.lanes.conftest import LANE, LaneBench


async def test_a_shift_claims_and_hands_over_and_computes_nothing(bench: LaneBench):
    bench.add("t1")
    bench.add("t2")
    poller = await bench.hand_over()
    assert await bench.states() == {"t1": "queued", "t2": "queued"}
    assert bench.upstream.states == {"t1": ["processing"], "t2": ["processing"]}
    assert bench.processors.computed == []
    assert (poller.held.tally.claimed, poller.held.tally.handed_over) == (2, 2)
    assert await bench.waiting() == 2


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


async def test_two_workers_never_take_the_same_task(bench: LaneBench):
    for number in range(8):
        bench.add(f"t{number}", f"text {number}")
    await bench.hand_over()
    await asyncio.gather(*(bench.work(bench.worker(), slots=2) for _ in range(3)))
    assert sorted(bench.processors.texts) == [f"text {number}" for number in range(8)]


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


async def test_the_gauge_of_a_lane_is_corrected_from_the_rows(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    bench.documents.note(LANE_WAITING.add(LANE, by=7))
    ledger = bench.ledger()
    await ledger.correct_gauges()
    assert await bench.waiting() == 1


async def test_jobs_take_turns_also_where_a_limit_made_them_wait(bench: LaneBench):
    for number in range(3):
        bench.add(f"a{number}", f"a{number}", job_id="big")
    await bench.hand_over()
    bench.processors.outages = [
        RateLimited("llm", datetime.fromtimestamp(bench.clock.now + 60, UTC))
    ] * 3
    await bench.work()
    assert set((await bench.states()).values()) == {"waiting"}
    bench.add("b0", "b0", job_id="small")
    await bench.hand_over()
    bench.clock.now += 61
    await bench.work()
    assert bench.processors.texts.index("b0") < 2


async def test_what_waits_for_something_else_holds_up_the_turns_of_nobody(bench: LaneBench):
    for number in range(6):
        bench.add(f"a{number}", f"a{number}", job_id="big")
    await bench.hand_over()
    bench.processors.outages = [
        RateLimited("llm", datetime.fromtimestamp(bench.clock.now + 60, UTC))
    ]
    worker = bench.worker()
    async with worker.holding():
        for _ in range(3):
            await worker.process(await worker.collector.collect())
    for number in range(3):
        bench.add(f"b{number}", f"b{number}", job_id="late")
    await bench.hand_over()
    await bench.work()
    assert bench.processors.texts[2:6] in (["a3", "b0", "a4", "b1"], ["b0", "a3", "b1", "a4"])


async def test_a_type_that_went_to_another_lane_takes_what_waits_with_it(bench: LaneBench):
    bench.add("t1")
    bench.add("t2")
    await bench.hand_over()
    bench.processors.lanes = {"echo": "media"}
    await bench.hand_over()
    rows = await bench.rows()
    assert {row["lane"] for row in rows.values()} == {"media"}
    assert await bench.waiting() == 0
    bench.processors.lanes = {}
    await bench.hand_over()
    assert await bench.states() == {"t1": "reported", "t2": "reported"}
    assert bench.upstream.states["t1"] == ["processing", "succeeded"]


async def test_a_task_of_no_lane_any_more_waits_for_the_shifts(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    bench.processors.lanes = {}
    bench.processors.outages = [Unavailable("model", "down")]
    await bench.hand_over()
    row = (await bench.rows())["t1"]
    assert (row["state"], row["lane"]) == ("waiting", None)
    assert await bench.waiting() == 0

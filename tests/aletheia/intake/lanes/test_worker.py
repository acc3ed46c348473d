"""Workers of a lane: what they take, and what becomes of it."""

from aletheia.errors import InvalidTask, Unavailable
from aletheia.intake.held_claims import Batch
from aletheia.intake.lanes.worker import MAX_TAKES
from aletheia.intake.shift import Shift
from aletheia.metrics import LEDGER_ROWS
from aletheia.series import Counters
from tests.aletheia.intake.lanes.conftest import LANE, LaneBench


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


async def test_what_a_lost_worker_held_the_next_one_takes(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    await bench.take(bench.worker())
    assert await bench.states() == {"t1": "processing"}
    assert not await bench.collector_of(bench.worker()).has_work()
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
    collector = bench.collector_of(worker)
    collector._types = ["another"]  # pyright: ignore[reportPrivateUsage] - of a machine without the plug-in
    await bench.work(worker)
    assert await bench.states() == {"t1": "queued"}


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


async def test_what_ended_its_worker_takes_none_of_its_neighbours_with_it(bench: LaneBench):
    for name in ("a", "bomb", "c", "d"):
        bench.add(name, name)
    await bench.hand_over()
    lost = bench.worker()
    for _ in range(4):
        await bench.take(lost)  # all four are in hand when it ends
    for _ in range(12):
        bench.clock.now += 66
        worker = bench.worker()
        batches = list[Batch]()
        while len(batches) < 4 and (batch := await worker.collector.collect()).size:
            batches.append(batch)
        if any(claim.entry.id == "bomb" for batch in batches for claim in batch.work):
            continue  # it ends with all that it holds
        for batch in batches:
            await worker.process(batch)
    states = {name: task.state for name, task in bench.upstream.tasks.items()}
    assert states == {"a": "succeeded", "bomb": "failed", "c": "succeeded", "d": "succeeded"}
    assert (await bench.rows())["bomb"]["error"]["code"] == "worker_died"


async def test_what_may_have_ended_a_worker_is_computed_alone(bench: LaneBench):
    for name in ("a", "b"):
        bench.add(name, name)
    await bench.hand_over()
    lost = bench.worker()
    await bench.take(lost)
    await bench.take(lost)
    bench.clock.now += 66
    bench.add("new", "new")
    await bench.hand_over()
    worker = bench.worker()
    collector = bench.collector_of(worker)
    alone = await collector.collect()
    assert alone.size == 1
    assert (await collector.collect()).size == 0
    assert not await collector.has_work()
    await worker.process(alone)
    assert await collector.has_work()
    await bench.work(worker, slots=3)
    assert set((await bench.states()).values()) == {"reported"}


async def test_who_is_busy_becomes_idle_for_what_may_have_ended_another(bench: LaneBench):
    bench.add("a", "a")
    bench.add("b", "b")
    await bench.hand_over()
    worker, lost = bench.worker(), bench.worker()
    busy = await worker.collector.collect()
    await bench.take(lost)
    bench.clock.now += 66
    await worker.held.renew()
    assert (await worker.collector.collect()).size == 0
    await worker.process(busy)
    assert (await worker.collector.collect()).size == 1


async def test_a_shift_that_finds_a_lost_task_first_forgets_nothing(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    await bench.take(bench.worker())
    shift = bench.poller()
    for seconds in (1, 61.5):  # it has not changed for a lease time, and its lease is just over
        bench.clock.now += seconds
        await shift.collector.collect()
    row = (await bench.rows())["t1"]
    assert (row["state"], row["takes"]) == ("queued", 1)


async def test_a_lane_that_is_paused_is_neither_filled_nor_worked_off(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    await bench.ledger().set_paused(is_paused=True, lane=LANE)
    bench.add("t2")
    await bench.hand_over()
    await bench.work()
    assert await bench.states() == {"t1": "queued"}
    assert not await bench.collector_of(bench.worker()).has_work()
    assert bench.upstream.tasks["t2"].state == "pending"
    await bench.ledger().set_paused(is_paused=False, lane=LANE)
    await bench.hand_over()
    await bench.work()
    assert set((await bench.states()).values()) == {"reported"}


async def test_a_type_that_is_paused_waits_in_its_lane(bench: LaneBench):
    bench.add("t1")
    await bench.hand_over()
    await bench.ledger().set_paused(is_paused=True, task_type="echo")
    await bench.work()
    assert await bench.states() == {"t1": "queued"}
    await bench.ledger().set_paused(is_paused=False, task_type="echo")
    await bench.work()
    assert await bench.states() == {"t1": "reported"}

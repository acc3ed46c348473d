"""When a shift polls, and when it is over."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from aletheia.errors import BreakerOpen, Refused, Unauthorized, Unavailable
from aletheia.intake.models import Collected
from aletheia.intake.pipeline import drain
from aletheia.intake.poller import Poller
from aletheia.intake.shift import Shift
from tests.aletheia.intake.conftest import Bench

NOTHING = Collected()
DONE = ["processing", "succeeded"]


class Hours:
    """A shift, and how it rests.

    Attributes:
        rests: how long it rested, each time.
        on_rest: called then.
    """

    def __init__(self, bench: Bench, poller: Poller | None = None) -> None:
        self.bench, self.poller = bench, poller or bench.poller()
        self.rests: list[float] = []
        self.on_rest: Callable[[], object] = lambda: None

    async def begin(self, length_s: float = 100, run_id: str = "a run") -> Shift:
        return await Shift.begin(self.poller, run_id, length_s=length_s, interval_s=30)

    async def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.bench.clock.now += seconds
        self.on_rest()

    async def work(self, shift: Shift) -> None:
        async with self.poller.holding():
            while await shift.next_tick(self.rest):
                await drain(shift.collect, shift.process)


async def test_a_shift_ticks_at_intervals_until_its_time_is_over(bench: Bench):
    hours = Hours(bench)
    shift = await hours.begin(length_s=100)
    await hours.work(shift)
    assert hours.rests == [30, 30, 30, 10]
    assert (shift.report().ticks, shift.report().ended) == (4, "time_over")


async def test_a_shift_of_no_length_drains_once(bench: Bench):
    bench.add("t1")
    hours = Hours(bench)
    shift = await hours.begin(length_s=0)
    await hours.work(shift)
    assert bench.upstream.states == {"t1": DONE}
    assert (shift.report().ticks, shift.report().ended, hours.rests) == (1, "drained", [])


async def test_nothing_is_claimed_after_the_end(bench: Bench):
    hours = Hours(bench)
    shift = await hours.begin(length_s=100)
    assert await shift.next_tick(hours.rest)
    bench.clock.now += 100
    bench.add("t1")
    assert await shift.collect() == NOTHING
    assert bench.upstream.states == {}


async def test_a_paused_intake_is_not_polled_until_it_is_resumed(bench: Bench):
    ledger = bench.ledger()
    await ledger.set_paused(is_paused=True)
    hours = Hours(bench)
    shift = await hours.begin(length_s=100)
    assert not await shift.next_tick(hours.rest)
    assert (shift.report().ticks, shift.report().ended) == (0, "paused")
    assert bench.upstream.requests == []


async def test_a_resumed_shift_keeps_its_first_beginning(bench: Bench):
    await Hours(bench).begin(length_s=100)
    bench.clock.now += 95
    hours = Hours(bench)
    resumed = await hours.begin(length_s=100)
    await hours.work(resumed)
    assert (sum(hours.rests), resumed.ended) == (pytest.approx(5), "time_over")
    bench.clock.now += 5
    late = await hours.begin(length_s=100)
    assert not await late.next_tick(hours.rest)
    assert late.ended == "resumed_late"


async def test_a_beginning_that_a_clock_ahead_of_ours_wrote_makes_no_shift_longer(bench: Bench):
    bench.clock.set(3600)
    await Hours(bench).begin(length_s=100)
    bench.clock.set(-3600)
    hours = Hours(bench)
    await hours.work(await hours.begin(length_s=100))
    assert sum(hours.rests) == 100


async def test_a_clock_that_is_set_changes_nothing_under_way(bench: Bench):
    hours = Hours(bench)
    shift = await hours.begin(length_s=100)

    def set_clock() -> None:
        bench.clock.set(-50_000)

    hours.on_rest = set_clock
    await hours.work(shift)
    assert hours.rests == [30, 30, 30, 10]


async def test_an_outage_ends_the_tick_and_not_the_shift(bench: Bench):
    bench.add("t1")
    bench.upstream.fail_next(503, 503, 503, on="pending")
    hours = Hours(bench)
    shift = await hours.begin(length_s=100)
    assert await shift.next_tick(hours.rest)
    assert await shift.collect() == NOTHING
    assert isinstance(hours.poller.held.trouble, Unavailable)
    await hours.work(shift)
    assert bench.upstream.states == {"t1": DONE}
    assert hours.poller.held.trouble is None


async def test_the_next_tick_waits_as_long_as_an_outage_asks(bench: Bench):
    async def leave_alone() -> None:
        raise BreakerOpen("upstream", datetime.fromtimestamp(bench.clock.now, UTC) + wait)

    wait = timedelta(seconds=75)
    hours = Hours(bench)
    hours.poller.collector.collect = leave_alone  # pyright: ignore[reportAttributeAccessIssue] - a method is replaced by a function
    shift = await hours.begin(length_s=100)
    assert await shift.next_tick(hours.rest)
    await shift.collect()
    assert await shift.next_tick(hours.rest)
    assert sum(hours.rests) == pytest.approx(75)


async def test_an_address_that_was_never_right_fails_at_once(bench: Bench):
    hours = Hours(bench)
    shift = await hours.begin()
    bench.upstream.fail_next(404, on="pending")
    with pytest.raises(Refused):
        await shift.collect()
    await shift.collect()
    bench.upstream.fail_next(404, on="pending")
    assert await shift.collect() == NOTHING


async def test_an_upstream_that_locks_us_out_ends_the_shift_at_any_time(bench: Bench):
    shift = await Hours(bench).begin()
    await shift.collect()
    bench.upstream.fail_next(401, on="pending")
    with pytest.raises(Unauthorized):
        await shift.collect()


async def test_dead_letters_are_replayed_in_batches(bench: Bench):
    for number in range(5):
        bench.add(f"t{number}", type="no_such_type")
    await bench.drain()
    for task in bench.upstream.tasks.values():
        task.state = "pending"
    bench.upstream.reopen_failed()
    hours = Hours(bench, bench.poller(batch_max_tasks=2))
    shift = await hours.begin(length_s=0)
    found = await shift.find_dead_letters(None, None, 3)
    assert [len(row_ids) for row_ids in found] == [2, 1]
    for row_ids in found:
        assert (await shift.recall(row_ids)).size == 0
    assert hours.poller.held.tally.refused_replays == 3

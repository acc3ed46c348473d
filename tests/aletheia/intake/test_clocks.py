"""Leases and pauses outlive clocks that are wrong (SPEC §1, Claims)."""

from datetime import UTC, datetime, timedelta

import pytest

from aletheia.errors import RateLimited, Unavailable
from aletheia.intake.ledger import Ledger
from aletheia.intake.poller import Poller
from aletheia.intake.rows import MAX_DEFERRAL_S
from tests.aletheia.intake.conftest import Bench

DONE = ["processing", "succeeded"]
HOUR = 3600.0


def other(bench: Bench) -> Poller:
    """A poller of another process."""
    settings = bench.settings()
    ledger = Ledger(bench.documents, settings, owner="another", clock=bench.clock.both)
    return bench.poller(ledger)


async def test_the_claims_of_a_machine_whose_clock_was_ahead_stand_still_for_no_hour(bench: Bench):
    for number in range(10):
        bench.add(f"t{number}")
    bench.clock.set(HOUR)
    killed = other(bench)
    await killed.held.ledger.prepare()
    await killed.collector.collect()
    bench.clock.set(-HOUR)
    assert (await bench.ledger().overview()).clock_ahead is None
    await bench.drain()
    assert bench.upstream.states == {f"t{number}": DONE for number in range(10)}
    ahead = (await bench.ledger().overview()).clock_ahead
    assert ahead is not None
    assert (ahead.owner, ahead.ahead_s) == ("another", HOUR)
    bench.clock.now += 25 * HOUR
    assert (await bench.ledger().overview()).clock_ahead is None


async def fail_to_report(bench: Bench, poller: Poller) -> None:
    """Compute a task whose report the upstream is out of reach for."""
    await poller.held.ledger.prepare()
    async with poller.holding():
        batch = await poller.collector.collect()
        bench.upstream.fail_next(503, 503, 503, on="report")
        await poller.process(batch)


async def test_a_report_that_waits_by_a_clock_that_was_ahead_is_sent_at_once(bench: Bench):
    bench.add("t1")
    bench.clock.set(HOUR)
    await fail_to_report(bench, other(bench))
    assert await bench.states() == {"t1": "kept"}
    bench.clock.set(-HOUR)
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}


async def test_a_task_that_waits_by_a_clock_that_was_ahead_goes_on_at_once(bench: Bench):
    bench.add("t1")
    bench.clock.set(HOUR)
    bench.processors.outages = [Unavailable("x", "down")]
    await bench.drain(other(bench))
    assert await bench.states() == {"t1": "waiting"}
    bench.clock.set(-HOUR)
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}


async def test_a_report_that_has_to_wait_waits_although_clocks_differ_a_little(bench: Bench):
    bench.add("t1")
    await fail_to_report(bench, bench.poller())
    bench.clock.set(-4)
    await bench.drain(other(bench))
    assert await bench.states() == {"t1": "kept"}


async def test_what_stands_for_a_lease_by_the_steady_clock_is_taken_over(bench: Bench):
    bench.add("t1")
    killed = other(bench)
    await killed.held.ledger.prepare()
    await killed.collector.collect()
    poller = bench.poller()
    for _ in range(3):
        await bench.drain(poller)
        assert bench.upstream.states == {"t1": ["processing"]}
        # Time passes, and somebody sets the clock back by as much.
        bench.clock.now += 21
        bench.clock.set(-21)
    await bench.drain(poller)
    assert bench.upstream.states == {"t1": DONE}


async def test_what_is_renewed_is_not_taken_over_whatever_the_clock_says(bench: Bench):
    bench.add("t1")
    busy = other(bench)
    await busy.held.ledger.prepare()
    await busy.collector.collect()
    poller = bench.poller()
    for _ in range(6):
        await bench.drain(poller)
        bench.clock.now += 21
        bench.clock.set(-20)
        await busy.held.renew()
    assert bench.upstream.states == {"t1": ["processing"]}


async def test_a_poller_takes_nothing_over_from_itself_when_its_clock_is_set_back(bench: Bench):
    bench.add("t1")
    poller = bench.poller()
    await poller.held.ledger.prepare()
    async with poller.holding():
        batch = await poller.collector.collect()
        bench.clock.set(-HOUR)
        again = await poller.collector.collect()
        assert (batch.size, again.size) == (1, 0)
        await poller.process(batch)
    assert bench.upstream.states == {"t1": DONE}
    assert bench.processors.texts == ["hello"]


async def test_a_group_is_deferred_no_longer_for_a_clock_that_was_ahead(bench: Bench):
    bench.add("t1")
    bench.clock.set(HOUR)
    until = datetime.fromtimestamp(bench.clock.now, UTC) + timedelta(seconds=40)
    bench.processors.holds = [RateLimited("openai", until)]
    poller = await bench.drain()
    bench.clock.set(-HOUR)
    bench.clock.now += 41
    await bench.drain(poller)
    assert bench.upstream.states == {"t1": DONE}


@pytest.mark.parametrize("until_s", [HOUR, 30 * 24 * HOUR])
async def test_nothing_waits_in_the_ledger_for_longer_than_ten_minutes(
    bench: Bench, until_s: float
):
    bench.add("t1")
    poller = bench.poller()
    await poller.held.ledger.prepare()
    batch = await poller.collector.collect()
    until = bench.clock.now + until_s
    await poller.held.ledger.claims.wait(batch.work, until, Unavailable("x", "down"))
    row = (await bench.rows())["t1"]
    assert row["waiting_until"] == bench.clock.now + MAX_DEFERRAL_S


async def test_a_report_listed_again_is_sent_although_it_was_sent_by_a_clock_ahead(bench: Bench):
    bench.add("t1")
    await bench.drain()
    bench.clock.set(HOUR)
    bench.upstream.relist("t1")
    await bench.drain()
    bench.clock.set(-HOUR)
    bench.upstream.relist("t1", forgets=True)
    assert (await bench.drain()).held.tally.resent == 1

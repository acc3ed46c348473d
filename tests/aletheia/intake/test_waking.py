"""What is left alone until later is taken up at once, where that became possible or is wanted."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from aletheia.errors import AletheiaError, BreakerOpen, BudgetExceeded, RateLimited
from aletheia.intake.models import RowState
from tests.aletheia.intake.conftest import Bench
from tests.aletheia.intake.test_shift import DONE, Hours


def until(bench: Bench, seconds: float) -> datetime:
    return datetime.fromtimestamp(bench.clock.now + seconds, UTC)


async def wait_for(bench: Bench, why: AletheiaError) -> None:
    """Make a task wait after its `processing`."""
    bench.add("t1")
    bench.processors.outages = [why]
    await bench.drain()
    assert await bench.states() == {"t1": "waiting"}


@pytest.mark.parametrize("kind", ["budget", "limit"])
async def test_a_raised_bound_wakes_what_waits_for_it_with_the_next_shift(bench: Bench, kind: str):
    at = until(bench, 500)
    spent = BudgetExceeded("BUDGET_USD_PER_DAY", Decimal(1), Decimal(1), Decimal(1), at)
    await wait_for(bench, spent if kind == "budget" else RateLimited("openai", at))
    ledger = bench.ledger()
    assert (await ledger.overview()).waiting_until_s == pytest.approx(at.timestamp())
    hours = Hours(bench)
    await hours.work(await hours.begin(length_s=40))
    assert bench.upstream.states == {"t1": DONE}
    assert (await ledger.overview()).waiting_until_s is None


async def test_what_waits_for_a_breaker_waits_on(bench: Bench):
    await wait_for(bench, BreakerOpen("openai", until(bench, 500)))
    hours = Hours(bench)
    await hours.work(await hours.begin(length_s=40))
    assert await bench.states() == {"t1": "waiting"}


async def test_leases_have_a_holder_and_an_end_and_can_be_ended(bench: Bench):
    bench.add("t1")
    bench.add("t2")
    gone = bench.poller()
    await gone.held.ledger.prepare()
    claims = (await gone.collector.collect()).taken
    ledger = bench.ledger()
    (holder,) = (await ledger.overview()).holders
    assert (holder.owner, holder.claims) == ("a test", 2)
    assert holder.until_s > bench.clock.now
    assert await ledger.waking.release(older_than_s=60) == 0
    bench.clock.now += 61
    assert await ledger.waking.release(older_than_s=60) == 2
    assert (await ledger.overview()).holders == ()
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE, "t2": DONE}
    # Whoever lives after all sends nothing any more.
    assert len(claims) == 2
    assert await gone.held.confirm(claims) == []
    rows = (await bench.rows()).values()
    assert {row["state"] for row in rows} == {RowState.REPORTED}

"""Limits, budgets and breakers around a poller: nothing fails for them, and nothing is lost."""

from datetime import UTC, datetime, timedelta

import pytest

from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    BreakerOpen,
    BudgetExceeded,
    Misconfigured,
    RateLimited,
    Refused,
    Unauthorized,
)
from tests.aletheia.intake.conftest import Bench

DONE = ["processing", "succeeded"]


def at(bench: Bench, seconds: float) -> datetime:
    return datetime.fromtimestamp(bench.clock.now, UTC) + timedelta(seconds=seconds)


async def test_what_is_deferred_before_its_claim_stays_pending_upstream(bench: Bench):
    bench.add("t1")
    bench.processors.holds = [RateLimited("openai", at(bench, 40), ("minute",))]
    poller = await bench.drain()
    assert bench.upstream.states == {}
    assert await bench.rows() == {}
    assert "over its limit per minute" in poller.held.tally.deferred["m"]
    assert poller.held.trouble is None


async def test_a_group_that_is_deferred_is_not_asked_about_before_its_time(bench: Bench):
    bench.add("t1")
    bench.processors.holds = [RateLimited("openai", at(bench, 40))]
    poller = await bench.drain()
    bench.clock.now += 39
    await bench.drain(poller)
    assert (len(bench.processors.asked), bench.upstream.states) == (1, {})
    bench.clock.now += 2
    await bench.drain(poller)
    assert bench.upstream.states == {"t1": DONE}


async def test_other_groups_go_on_beside_one_that_is_deferred(bench: Bench):
    bench.add("slow", input_data={"text": "a", "model": "x"}, data=None)
    bench.add("t1")
    bench.processors.holds = [BreakerOpen("openai", at(bench, 60))]
    poller = await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    assert isinstance(poller.held.trouble, BreakerOpen)


async def test_only_as_many_are_claimed_as_limits_allow_the_oldest_first(bench: Bench):
    for number in range(5):
        bench.add(f"t{number}")
    bench.processors.max_inputs = 3
    poller = bench.poller(poll_limit=10)
    await poller.held.ledger.prepare()
    batch = await poller.collector.collect()
    assert [claim.task.id for claim in batch.work] == ["t0", "t1", "t2"]
    assert sorted(bench.upstream.states) == ["t0", "t1", "t2"]
    # Those that were collected already count towards the capacity.
    assert bench.processors.asked[:2] == [5, 5]
    await poller.held.release_all()


@pytest.mark.parametrize(
    "problem",
    [
        RateLimited("openai", datetime(2030, 1, 1, tzinfo=UTC)),
        BudgetExceeded("BUDGET_USD_PER_DAY", 1, 1, 1, datetime(2030, 1, 1, tzinfo=UTC)),
        BreakerOpen("openai", datetime(2030, 1, 1, tzinfo=UTC)),
    ],
    ids=lambda problem: problem.code,
)
async def test_what_is_deferred_after_processing_waits_in_the_ledger_until_it_may_go_on(
    bench: Bench, problem: AletheiaError
):
    bench.add("t1")
    bench.processors.outages = [problem]
    await bench.drain()
    row = (await bench.rows())["t1"]
    assert (row["state"], row["attempts"]) == ("waiting", 0)
    # Not until then, as a limit may be raised and a breaker close meanwhile.
    assert row["waiting_until"] == bench.clock.now + 600
    assert bench.upstream.states == {"t1": ["processing"]}
    bench.clock.now += 610
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}


@pytest.mark.parametrize(
    "problem", [Unauthorized("openai", 401), Misconfigured("RATE_LIMIT_PER_MINUTE", "too low")]
)
async def test_a_provider_that_refuses_us_fails_no_task(bench: Bench, problem: AletheiaError):
    bench.add("t1")
    bench.processors.outages = [problem]
    poller = await bench.drain()
    assert (await bench.rows())["t1"]["state"] == "waiting"
    assert poller.held.trouble is problem
    bench.clock.now += 100
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}


async def test_what_is_listed_again_and_has_to_be_computed_again_needs_capacity_like_new_work(
    bench: Bench,
):
    bench.add("t1")
    await bench.drain()
    bench.upstream.relist("t1", forgets=True)
    bench.clock.now += 100_000
    await bench.documents.delete("aletheia_results", {})
    bench.processors.holds = [BreakerOpen("openai", at(bench, 60))]
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    bench.clock.now += 61
    await bench.drain()
    assert bench.upstream.states == {"t1": [*DONE, *DONE]}


async def test_a_kept_result_is_sent_again_although_its_group_is_deferred(bench: Bench):
    bench.add("t1")
    poller = await bench.drain()
    bench.upstream.relist("t1", forgets=True)
    bench.clock.now += 100
    bench.add("t2")
    bench.processors.holds = [BreakerOpen("openai", at(bench, 600))]
    await bench.drain(poller)
    assert bench.upstream.bodies["t1"][-1] == bench.upstream.bodies["t1"][1]
    assert bench.upstream.states.get("t2") is None
    assert len(bench.processors.texts) == 1


async def test_a_task_that_no_budget_ever_suffices_for_is_in_nobodys_way(bench: Bench):
    bench.add("huge", "x" * 100)
    bench.add("t1")
    bench.processors.budget = 50
    poller = await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    assert "BUDGET_TOKENS_PER_DAY is 50" in poller.held.tally.deferred["task huge"]


@pytest.mark.parametrize(
    "problem", [BadAnswer("openai", "html", status=200), Refused("openai", 400, "no")]
)
async def test_what_costs_something_each_time_is_not_tried_for_ever(
    bench: Bench, problem: AletheiaError
):
    bench.add("t1")
    bench.processors.outages = [problem] * 9
    poller = bench.poller(max_retries=2)
    for _ in range(5):
        await bench.drain(poller)
        bench.clock.now += 100
    assert bench.upstream.states == {"t1": ["processing", "failed"]}
    assert len(bench.processors.outages) == 6

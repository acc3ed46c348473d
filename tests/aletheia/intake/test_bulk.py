"""The bulk lane between a strict upstream, a strict batch API, and a real embedded store."""

import asyncio
import contextlib
import json
import pickle
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from aletheia.adapters.openai_batches import OpenAIBatches
from aletheia.adapters.openai_tokens import Encoding, TokenTables
from aletheia.analysis.processor import Processors
from aletheia.analysis.text_embedding import TextEmbedding
from aletheia.errors import LaneTaken, Misconfigured, Unauthorized
from aletheia.intake.bulk import (
    AWAKE_FOR_S,
    BULK,
    LEASE_S,
    TASK_TYPE,
    BulkLane,
    BulkReport,
    is_for_bulk,
)
from aletheia.intake.desk import Pace
from aletheia.intake.shift import Shift
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import BudgetLimits, Spending, UsageState
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter, RateLimits, Tier
from aletheia.settings import BudgetSettings, IntakeSettings
from tests.aletheia.intake.conftest import Bench
from tests.fakes.openai_batches import FakeBatch, FakeBatchAPI, serve_fake_batches

SMALL = "text-embedding-3-small"
LARGE = "text-embedding-3-large"
DONE = ["processing", "succeeded"]
FAILED = ["processing", "failed"]


def no_tables(name: str) -> Encoding:
    raise OSError(f"{name} cannot be had")


class Lanes:
    """Everything around runs of the lane.

    Attributes:
        bench: upstream, store and clock.
        api: the provider.
        client: speaks to it.
        spending: the budgets of all runs.
        limiter: the limits of all runs.
        breakers: the breakers of all runs.
    """

    def __init__(self, bench: Bench, api: FakeBatchAPI, client: OpenAIBatches) -> None:
        self.bench, self.api, self.client = bench, api, client
        self.upstream, self.clock = bench.upstream, bench.clock
        self.prices = PriceTable.from_settings(BudgetSettings(_env_file=None))  # pyright: ignore[reportCallIssue]
        self.spending = Spending(bench.documents, self.prices, BudgetLimits(), clock=bench.clock)
        self.limiter = RateLimiter(
            bench.documents, RateLimits(100, 100, 100, 100, 100), clock=bench.clock
        )
        self.breakers = CircuitBreaker(
            bench.documents, threshold=1, cooldown_s=60, clock=bench.clock
        )
        self.processors = Processors(
            {TASK_TYPE: TextEmbedding(client, max_text_bytes=100_000)}, plugins=[]
        )

    def add(self, *texts: str, model: str | None = None, **raw: Any) -> None:
        """List texts to embed; their tasks are called after them."""
        for text in texts:
            data = {"text": text} if model is None else {"text": text, "model": model}
            self.upstream.add(text, data=data, **raw)

    def open(self, run_id: str = "run 1", **options: Any) -> BulkLane:
        """Begin a run."""
        settings = IntakeSettings(
            _env_file=None,  # pyright: ignore[reportCallIssue]
            clock_skew_seconds=0,
            poll_limit=100,
        )
        return BulkLane(
            self.bench.client,
            self.bench.documents,
            self.processors,
            self.client,
            spending=self.spending,
            prices=self.prices,
            limiter=self.limiter,
            breakers=self.breakers,
            settings=settings,
            clock=self.clock,
            run_id=run_id,
            **options,
        )

    async def work(
        self,
        lane: BulkLane | None = None,
        *,
        above: int | None = 2,
        limit: int | None = None,
        looks: int = 10,
    ) -> BulkReport:
        """Work a run to its end, or for so many looks."""
        lane = lane or self.open()
        async with lane.held():
            if not await lane.attach():
                await lane.collect(limit, above)
            for _ in range(looks):
                if not await lane.under_way():
                    break
                await lane.look()
        return lane.report()

    async def shift(self) -> Shift:
        """Work a shift, one that embeds one request at a time."""
        pace = Pace(backoff_s=0, page=100)
        ledger = self.bench.ledger(clock_skew_seconds=0)
        shift = Shift(self.bench.client, ledger, self.processors, pace, self.clock)
        return await self.bench.drain(shift)

    def result(self, task_id: str) -> dict[str, Any]:
        """The result that was reported for a task."""
        return json.loads(self.upstream.bodies[task_id][-1])["result"]

    def error(self, task_id: str) -> dict[str, Any]:
        """The error that was reported for a task."""
        return json.loads(self.upstream.bodies[task_id][-1])["error"]

    @property
    def batch(self) -> FakeBatch:
        """The only batch there ever was."""
        (batch,) = self.api.batches.values()
        return batch

    @property
    def single(self) -> list[list[str]]:
        """The texts of requests outside batches."""
        return [texts for texts in self.api.sent if texts]

    async def orders(self) -> list[dict[str, Any]]:
        """The orders, oldest first, without what names the lane."""
        return await self.bench.documents.find(
            BULK, {"created_at": {"$gt": 0}}, sort="created_at", with_payload=True
        )

    async def grants(self) -> int:
        """How many requests were charged."""
        usage = await self.limiter.usage("openai")
        return usage[Tier.MONTH].used


@pytest.fixture
async def lanes(bench: Bench) -> AsyncGenerator[Lanes]:
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(serve_fake_batches())
        api.models = {SMALL: 16, LARGE: 24}
        client = OpenAIBatches(
            api.api_key, base_url=api.url, timeout_s=5, tables=TokenTables(no_tables)
        )
        await client.open()
        stack.push_async_callback(client.close)
        yield Lanes(bench, api, client)


# What a batch does


async def test_a_backlog_is_embedded_by_one_batch(lanes: Lanes):
    lanes.add("one", "two", "three four")
    report = await lanes.work()
    assert (report.ended, report.submitted, report.tally.succeeded) == ("done", 1, 3)
    assert lanes.upstream.states == {"one": DONE, "two": DONE, "three four": DONE}
    result = lanes.result("two")
    assert np.array_equal(np.float32(result.pop("embedding")), lanes.api.vector(SMALL, "two"))
    assert result == {"model": SMALL, "provider": "openai", "dimensions": 16}
    assert json.loads(lanes.upstream.bodies["three four"][-1])["usage"] == {"tokens": 2}
    assert lanes.single == []


async def test_a_batch_is_one_request_at_the_batch_price(lanes: Lanes):
    lanes.add("one", "two", "three four")
    await lanes.work()
    (record,) = await lanes.spending.records("run 1")
    assert record.state is UsageState.SETTLED
    assert record.call.is_batch
    assert record.tokens.input == 4
    assert record.nanousd == 4 * 20 * Decimal("0.5")
    assert await lanes.grants() == 1


async def test_until_it_is_settled_the_upper_estimate_is_spent(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three four")
    await lanes.work(looks=2)
    (reservation,) = await lanes.spending.unsettled()
    assert reservation.tokens.input == len("onetwothree four")


async def test_equal_texts_are_sent_once_and_each_reported(lanes: Lanes):
    for number in range(4):
        lanes.upstream.add(f"t{number}", "the same")
    lanes.add("another")
    await lanes.work()
    assert sorted(lanes.api.worked_on) == ["another", "the same"]
    assert set(map(tuple, lanes.upstream.states.values())) == {tuple(DONE)}
    assert len(lanes.upstream.states) == 5


async def test_answers_find_their_tasks_in_whatever_order_they_come(lanes: Lanes):
    lanes.api.shuffles = True
    texts = [f"text {number}" for number in range(40)]
    lanes.add(*texts)
    await lanes.work()
    for text in texts:
        expected = lanes.api.vector(SMALL, text)
        assert np.array_equal(np.float32(lanes.result(text)["embedding"]), expected)


async def test_each_model_has_a_batch_of_its_own(lanes: Lanes):
    lanes.add("one", "two", model=SMALL)
    lanes.add("three", "four", model=LARGE)
    report = await lanes.work()
    assert report.submitted == 2
    assert lanes.result("three")["dimensions"] == 24
    assert await lanes.grants() == 2


async def test_what_one_batch_cannot_hold_goes_into_another(lanes: Lanes):
    body = lanes.client.body_of(SMALL, {"text": "a" * 9})
    lanes.client.max_bytes = 2 * lanes.client.size_of(body)
    lanes.add(*[letter * 9 for letter in "abcde"])
    report = await lanes.work()
    assert report.submitted == 3
    assert report.tally.succeeded == 5
    assert sorted(len(lanes.api.lines_of(one)) for one in lanes.api.batches.values()) == [1, 2, 2]


async def test_texts_do_not_stay_with_the_provider(lanes: Lanes):
    lanes.api.refuses = {"two"}
    lanes.add("one", "two", "three")
    await lanes.work()
    assert lanes.api.files == {}


# What is none of the lane's


async def test_too_small_a_backlog_stays_pending(lanes: Lanes):
    lanes.add("one", "two")
    report = await lanes.work(above=2)
    assert report.ended == "too_little"
    assert lanes.upstream.states == {}
    assert lanes.api.requests == []


async def test_where_pages_do_not_tell_too_small_a_backlog_is_left_to_the_shifts(lanes: Lanes):
    lanes.upstream.max_limit = 100
    lanes.add("one", "two")
    report = await lanes.work(above=200)
    assert (report.ended, report.handed_back) == ("too_little", 2)
    await lanes.shift()
    assert lanes.upstream.states == {"one": DONE, "two": DONE}
    assert lanes.api.batches == {}


async def test_the_lane_is_off_unless_it_is_told_from_where(lanes: Lanes):
    lanes.add("one", "two", "three")
    assert (await lanes.work(above=None)).ended == "off"
    assert lanes.upstream.states == {}


async def test_paused_intake_claims_nothing_for_a_batch_either(lanes: Lanes):
    await lanes.bench.ledger().set_paused(is_paused=True)
    lanes.add("one", "two", "three")
    assert (await lanes.work()).ended == "paused"
    assert lanes.upstream.states == {}


async def test_no_more_is_claimed_than_the_limit_allows(lanes: Lanes):
    lanes.add(*[f"text {number}" for number in range(10)])
    await lanes.work(limit=4)
    assert len(lanes.upstream.states) == 4


async def test_other_types_faulty_tasks_and_long_texts_stay_pending(lanes: Lanes):
    lanes.upstream.add("other", type="sentiment_analysis")
    lanes.upstream.add("faulty", data={"text": ""})
    lanes.upstream.add("long", "word " * 2000)
    lanes.add("one", "two", "three")
    await lanes.work()
    assert lanes.upstream.states == {"one": DONE, "two": DONE, "three": DONE}


# What goes wrong with a batch


async def test_what_expired_goes_to_the_next_shift_and_counts_as_no_attempt(lanes: Lanes):
    lanes.api.ends, lanes.api.answers = "expired", 2
    lanes.add("one", "two", "three", "four", "five")
    report = await lanes.work()
    assert (report.tally.succeeded, report.handed_back) == (2, 3)
    rows = await lanes.bench.rows()
    left = [row for row in rows.values() if row["state"] == "processing"]
    assert [(row["attempts"], row["lease_until"]) for row in left] == [(0, 0)] * 3
    await lanes.shift()
    assert set(map(tuple, lanes.upstream.states.values())) == {tuple(DONE)}
    assert sorted(text for texts in lanes.single for text in texts) == ["five", "four", "three"]


async def test_only_what_was_answered_before_expiry_is_paid(lanes: Lanes):
    lanes.api.ends, lanes.api.answers = "expired", 2
    lanes.add("one", "two", "three", "four", "five")
    await lanes.work()
    (record,) = await lanes.spending.records("run 1")
    assert (record.state, record.tokens.input) == (UsageState.SETTLED, 2)


async def test_a_batch_that_somebody_cancelled_gives_what_it_had(lanes: Lanes):
    lanes.api.ends, lanes.api.answers = "cancelled", 1
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.tally.succeeded, report.handed_back) == (1, 2)


async def test_a_batch_that_fails_its_validation_costs_nothing(lanes: Lanes):
    lanes.api.validation_error = "token_limit_exceeded"
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.ended, report.handed_back) == ("done", 3)
    (record,) = await lanes.spending.records("run 1")
    assert record.state is UsageState.RELEASED
    (order,) = await lanes.orders()
    assert (order["outcome"], "token_limit_exceeded" in order["reason"]) == ("failed", True)
    await lanes.shift()
    assert set(map(tuple, lanes.upstream.states.values())) == {tuple(DONE)}


async def test_a_text_that_is_refused_fails_alone_with_its_own_code(lanes: Lanes):
    lanes.api.refuses = {"two"}
    lanes.api.max_text_tokens = 2
    lanes.add("one", "two", "three four five")
    report = await lanes.work()
    assert lanes.upstream.states == {"one": DONE, "two": FAILED, "three four five": FAILED}
    assert lanes.error("two")["code"] == "invalid_text"
    assert lanes.error("three four five")["code"] == "input_too_long"
    assert report.tally.by_error == {"invalid_text": 1, "input_too_long": 1}


async def test_tasks_whose_model_does_not_exist_fail(lanes: Lanes):
    lanes.add("one", "two", "three", model="text-embedding-9")
    await lanes.work()
    assert {lanes.error(text)["code"] for text in ("one", "two", "three")} == {"model_not_found"}


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_an_answer_that_says_nothing_of_the_text_counts_as_no_attempt(
    lanes: Lanes, status: int
):
    lanes.api.line_faults["two"] = (status, {"error": {"message": "not now"}})
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.tally.succeeded, report.handed_back) == (2, 1)
    assert (await lanes.bench.rows())["two"]["attempts"] == 0


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_an_answer_that_refuses_us_is_not_the_tasks_fault(lanes: Lanes, status: int):
    lanes.api.line_faults["two"] = (status, {"error": {"message": "That is not allowed."}})
    lanes.add("one", "two", "three")
    assert (await lanes.work()).handed_back == 1
    assert lanes.upstream.states["two"] == ["processing"]


@pytest.mark.parametrize("spoil", ["nan", "zeros", "short", "infinite"])
async def test_a_bad_vector_is_an_attempt_and_the_next_one_is_a_shifts(lanes: Lanes, spoil: Any):
    lanes.api.spoils = {"two": spoil}
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert report.handed_back == 1
    assert (await lanes.bench.rows())["two"]["attempts"] == 1
    lanes.api.spoils = {}
    await lanes.shift()
    assert lanes.upstream.states["two"] == DONE


async def test_a_bad_vector_fails_a_task_that_allows_no_further_attempt(lanes: Lanes):
    lanes.api.spoils = {"two": "nan"}
    lanes.add("one", "three")
    lanes.add("two", max_retries=0)
    await lanes.work()
    assert lanes.upstream.states["two"] == FAILED
    assert lanes.error("two")["code"] == "bad_vector"


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"custom_id": 7}', b'{"custom_id": "99999"}'])
async def test_a_line_that_cannot_be_read_leaves_its_task_to_the_shifts(lanes: Lanes, line: bytes):
    lanes.api.spoils_lines = {"two": line}
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.tally.succeeded, report.handed_back) == (2, 1)
    await lanes.shift()
    assert lanes.upstream.states["two"] == DONE


async def test_a_batch_that_is_gone_leaves_its_tasks_to_the_shifts_and_counts_as_spent(
    lanes: Lanes,
):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(looks=2)
    lanes.api.batches.clear()
    report = await lanes.work(lanes.open("run 2"))
    assert report.handed_back == 3
    assert len(await lanes.spending.unsettled()) == 1


async def test_answers_that_are_gone_leave_their_tasks_to_the_shifts(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(404, on="content")
    report = await lanes.work()
    assert report.handed_back == 3
    assert len(await lanes.spending.unsettled()) == 1


async def test_answers_that_break_off_are_fetched_again(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.misbehave_next("cuts_its_body", "hangs_up", on="content")
    report = await lanes.work()
    assert report.tally.succeeded == 3
    assert lanes.single == []


async def test_a_provider_out_of_reach_is_asked_again(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(503, 429, on="files")
    report = await lanes.work()
    assert report.tally.succeeded == 3
    assert len(lanes.api.batches) == 1


async def test_a_batch_that_never_ends_is_given_up(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(looks=2)
    lanes.clock.now += LEASE_S + 1
    report = await lanes.work(lanes.open("run 2"))
    assert report.handed_back == 3
    assert lanes.batch.status == "cancelling"


# Budgets, limits, keys


async def test_a_spent_budget_leaves_everything_pending(lanes: Lanes):
    lanes.spending.limits = BudgetLimits(tokens_per_day=0)
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.ended, "BUDGET_TOKENS_PER_DAY" in report.why) == ("held_up", True)
    assert lanes.upstream.states == {}
    assert lanes.api.requests == []


@pytest.mark.parametrize(
    "limits",
    [BudgetLimits(tokens_per_run=16), BudgetLimits(nanousd_per_day=160)],
    ids=["tokens", "dollars"],
)
async def test_what_a_budget_has_no_room_for_stays_pending(lanes: Lanes, limits: BudgetLimits):
    lanes.spending.limits = limits
    lanes.add(*[f"abc{number}" for number in range(10)])
    report = await lanes.work()
    assert len(lanes.upstream.states) == 4
    assert "4 tasks only" in report.why
    assert report.tally.succeeded == 4


async def test_a_rate_limit_leaves_everything_pending(lanes: Lanes):
    lanes.limiter.limits = RateLimits(1, 1, 1, 1, 1)
    await lanes.limiter.acquire("openai")
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.ended, "over its limit" in report.why) == ("held_up", True)
    assert lanes.upstream.states == {}


async def test_an_open_breaker_leaves_everything_pending(lanes: Lanes):
    await lanes.breakers.fail(await lanes.breakers.admit("openai"), "it is down")
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.ended, "breaker" in report.why) == ("held_up", True)
    assert lanes.upstream.states == {}


async def test_what_is_held_up_after_it_was_claimed_waits_in_the_ledger(lanes: Lanes):
    lanes.limiter.limits = RateLimits(1, 10, 10, 10, 10)
    lanes.add("one", "two", model=SMALL)
    lanes.add("three", "four", model=LARGE)
    report = await lanes.work()
    assert (report.ended, report.submitted, report.tally.waiting) == ("held_up", 1, 2)
    waiting = [row for row in (await lanes.bench.rows()).values() if row["state"] == "waiting"]
    assert {row["waiting_for"]["code"] for row in waiting} == {"rate_limited"}
    states = {record.state for record in await lanes.spending.records("run 1")}
    assert states == {UsageState.SETTLED, UsageState.RELEASED}
    lanes.clock.now += 61
    await lanes.shift()
    assert set(map(tuple, lanes.upstream.states.values())) == {tuple(DONE)}


async def test_a_wrong_key_is_found_before_anything_is_claimed(lanes: Lanes):
    lanes.api.api_key = "another"
    lanes.add("one", "two", "three")
    with pytest.raises(Unauthorized):
        await lanes.work()
    assert lanes.upstream.states == {}


async def test_a_key_refused_on_submission_leaves_the_tasks_to_the_shifts(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(401, on="files")
    lane = lanes.open()
    report = await lanes.work(lane)
    assert isinstance(lane.trouble, Unauthorized)
    assert report.handed_back == 3
    assert lanes.api.batches == {}
    (record,) = await lanes.spending.records("run 1")
    assert record.state is UsageState.RELEASED


async def test_a_key_refused_while_a_batch_is_under_way_leaves_the_batch_alone(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.is_held = True
    await lanes.work(looks=2)
    lanes.api.fail_next(401, on="batches")
    with pytest.raises(Unauthorized):
        await lanes.work(lanes.open("run 2"))
    lanes.api.is_held = False
    report = await lanes.work(lanes.open("run 3"))
    assert report.tally.succeeded == 3
    assert len(lanes.api.batches) == 1


# Runs that end too early, and those that come after them


async def test_the_next_run_takes_up_the_batch_of_one_that_ended(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(looks=2)
    lanes.add("four", "five", "six")
    lanes.api.is_held = False
    report = await lanes.work(lanes.open("run 2"))
    assert (report.attached, report.submitted, report.tally.succeeded) == (1, 0, 3)
    assert len(lanes.api.batches) == 1
    assert lanes.upstream.states == {"one": DONE, "two": DONE, "three": DONE}


async def test_a_run_cancelled_while_it_waits_leaves_its_batch_and_its_claims(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    lane = lanes.open()

    async def run() -> None:
        async with lane.held():
            await lane.collect(None, 2)
            while True:
                await lane.look()

    running = asyncio.create_task(run())
    while not lanes.api.batches or lanes.batch.status != "in_progress":
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert lanes.batch.status == "in_progress"
    owners = {row["owner"] for row in (await lanes.bench.rows()).values()}
    assert owners == {"bulk_embed"}
    lanes.api.is_held = False
    assert (await lanes.work(lanes.open("run 2"))).tally.succeeded == 3


async def test_a_run_cancelled_while_it_collects_gives_everything_back(lanes: Lanes):
    lanes.upstream.delay_s = 0.05
    lanes.add(*[f"text {number}" for number in range(5)])
    lane = lanes.open()

    async def run() -> None:
        async with lane.held():
            await lane.collect(None, 2)

    running = asyncio.create_task(run())
    while not lanes.upstream.count("report"):
        await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    lanes.upstream.delay_s = 0
    await lanes.shift()
    assert set(map(tuple, lanes.upstream.states.values())) == {tuple(DONE)}
    assert lanes.api.batches == {}


async def test_a_batch_whose_id_got_lost_is_found_by_its_metadata(lanes: Lanes):
    lanes.api.page = 1
    lanes.add("one", "two", "three")
    lanes.api.misbehave_next("loses_its_answer", on="create")
    await lanes.work(looks=1)
    (order,) = await lanes.orders()
    assert "batch_id" not in order
    report = await lanes.work(lanes.open("run 2"))
    assert report.tally.succeeded == 3
    assert len(lanes.api.batches) == 1
    assert await lanes.grants() == 1


async def test_a_submission_that_never_arrived_is_made_again_after_a_while(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.misbehave_next("hangs_up", on="create")
    await lanes.work(looks=3)
    assert lanes.api.batches == {}
    lanes.clock.now += 61
    report = await lanes.work(lanes.open("run 2"))
    assert report.tally.succeeded == 3
    assert len(lanes.api.batches) == 1
    assert await lanes.grants() == 2


async def test_a_late_submission_holds_its_tasks_as_long_as_any(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(503, on="files")
    await lanes.work(looks=1)
    lanes.clock.now += LEASE_S - 60
    lanes.api.is_held = True
    await lanes.work(lanes.open("run 2"), looks=2)
    lanes.clock.now += LEASE_S - 60
    await lanes.shift()
    assert lanes.upstream.states["one"] == ["processing"]
    lanes.api.is_held = False
    assert (await lanes.work(lanes.open("run 3"))).tally.succeeded == 3


async def test_of_two_batches_of_one_order_the_later_is_cancelled(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    lanes.api.misbehave_next("loses_its_answer", on="create")
    await lanes.work(looks=1)
    first = lanes.batch
    twin = FakeBatch("batch_x", first.input_file, first.metadata, first.created_at + 5)
    lanes.api.batches["batch_x"] = twin
    await lanes.work(lanes.open("run 2"), looks=1)
    assert twin.status == "cancelling"
    (order,) = await lanes.orders()
    assert order["batch_id"] == first.id


async def test_no_shift_takes_the_tasks_of_a_batch_before_its_lease_is_over(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(looks=2)
    lanes.clock.now += LEASE_S - 1
    await lanes.shift()
    assert lanes.upstream.states["one"] == ["processing"]
    lanes.clock.now += 2
    await lanes.shift()
    assert lanes.upstream.states == {"one": DONE, "two": DONE, "three": DONE}


async def test_a_batch_that_comes_too_late_changes_nothing(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(looks=2)
    lanes.clock.now += LEASE_S + 1
    await lanes.shift()
    reports = {task_id: list(bodies) for task_id, bodies in lanes.upstream.bodies.items()}
    lanes.api.is_held = False
    lanes.batch.status = "finalizing"
    report = await lanes.work(lanes.open("run 2"))
    assert (report.tally.succeeded, report.handed_back) == (0, 0)
    assert lanes.upstream.bodies == reports
    assert [record.state for record in await lanes.spending.records("run 1")] == [
        UsageState.SETTLED
    ]


async def test_an_order_whose_rows_others_have_taken_is_not_submitted(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(503, on="files")
    await lanes.work(looks=1)
    lanes.clock.now += LEASE_S + 1
    await lanes.shift()
    await lanes.work(lanes.open("run 2"))
    assert lanes.api.batches == {}
    (order,) = await lanes.orders()
    assert order["outcome"] == "lost"


async def test_a_report_the_upstream_cannot_take_is_sent_by_a_shift(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    lane = lanes.open()
    await lanes.work(lane, looks=2)
    lanes.api.is_held = False
    lanes.upstream.refuse_reports("two", 503)
    report = await lanes.work(lanes.open("run 2"))
    assert (report.tally.succeeded, report.tally.deferred_reports) == (2, 1)
    lanes.upstream.refuse_reports("two", None)
    lanes.clock.now += 3600
    await lanes.shift()
    assert lanes.upstream.states["two"] == DONE
    assert lanes.single == []


# What a shift leaves to the lane


async def is_for_bulk_now(lanes: Lanes, above: int | None = 2) -> bool:
    return await is_for_bulk(
        lanes.bench.client, lanes.bench.documents, above=above, now=lanes.clock()
    )


async def test_a_large_backlog_is_the_lanes_while_a_run_may_be_expected(lanes: Lanes):
    lanes.add("one", "two", "three")
    assert not await is_for_bulk_now(lanes), "nobody was ever in the lane"
    async with lanes.open().held():
        pass
    assert await is_for_bulk_now(lanes)
    assert not await is_for_bulk_now(lanes, above=3)
    assert not await is_for_bulk_now(lanes, above=None)
    assert not await is_for_bulk_now(lanes, above=1000), "the upstream serves no such page"
    lanes.clock.now += AWAKE_FOR_S + 1
    assert not await is_for_bulk_now(lanes), "nobody comes any more"


async def test_a_backlog_beside_a_batch_that_is_under_way_is_the_shifts(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(looks=2)
    lanes.add("four", "five", "six")
    assert not await is_for_bulk_now(lanes)
    lanes.api.is_held = False
    await lanes.work(lanes.open("run 2"))
    assert await is_for_bulk_now(lanes)


# One run at a time


async def test_a_second_run_is_kept_out(lanes: Lanes):
    lanes.add("one", "two", "three")
    async with lanes.open().held():
        with pytest.raises(LaneTaken, match="another run"):
            await lanes.work(lanes.open("run 2", lane_lease_s=0.05))
    assert lanes.upstream.states == {}


async def test_a_run_that_lost_the_lane_submits_nothing(lanes: Lanes):
    lanes.add("one", "two", "three")
    lane = lanes.open()
    async with lane.held():
        await lane.collect(None, 2)
        lanes.clock.now += 61
        async with lanes.open("run 2").held():
            with pytest.raises(LaneTaken):
                await lane.look()
    assert lanes.api.batches == {}


async def test_the_lane_of_a_run_that_was_killed_is_free_after_its_lease(lanes: Lanes):
    lanes.add("one", "two", "three")
    dead = lanes.open().held()
    await dead.__aenter__()
    lanes.clock.now += 61
    assert (await lanes.work(lanes.open("run 2"))).tally.succeeded == 3
    await dead.__aexit__(None, None, None)


async def test_a_run_that_fails_before_its_order_is_written_gives_everything_back(lanes: Lanes):
    table = {"openai": {"models": {SMALL: {"embedding": 0.02}}}}
    lanes.spending = Spending(
        lanes.bench.documents,
        PriceTable(table, unknown="refuse"),
        BudgetLimits(),
        clock=lanes.clock,
    )
    lanes.api.models["unpriced"] = 8
    lanes.add("one", "two", "three", model="unpriced")
    with pytest.raises(Misconfigured):
        await lanes.work()
    await lanes.shift()
    assert lanes.upstream.states == {"one": DONE, "two": DONE, "three": DONE}
    assert lanes.api.batches == {}


async def test_a_refusal_of_the_lane_passes_between_processes():
    taken = LaneTaken(datetime(2026, 11, 19, tzinfo=UTC))
    again = pickle.loads(pickle.dumps(taken))
    assert (again.until, again.code, again.retryable) == (taken.until, "lane_taken", True)

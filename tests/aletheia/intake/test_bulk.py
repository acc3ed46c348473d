"""The bulk lane between a strict upstream, a strict batch API, and a real embedded store."""

import asyncio
import contextlib
import json
import pickle
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from aletheia.adapters.embedding.input_limits import InputLimits
from aletheia.adapters.embedding.remote import EmbedderPlan
from aletheia.adapters.metering import Meter
from aletheia.adapters.openai.batches import MAX_LINE_BYTES, OpenAIBatches
from aletheia.adapters.openai.embedder import OpenAIEmbedder
from aletheia.adapters.openai.tokens import Encoding, TokenTables
from aletheia.adapters.openai.wire import Api
from aletheia.analysis.registry import Processors
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.text_embedding import TextEmbedding
from aletheia.errors import (
    AletheiaError,
    LaneTaken,
    Misconfigured,
    NotFound,
    QuotaExhausted,
    Unauthorized,
)
from aletheia.intake.bulk.backlog import TASK_TYPE, Capacity
from aletheia.intake.bulk.claims import LEASE_S
from aletheia.intake.bulk.lane import BulkLane, BulkReport
from aletheia.intake.bulk.orders import BULK
from aletheia.intake.bulk.ports import LaneDeps
from aletheia.intake.bulk.settling import READS_AT_ONCE
from aletheia.intake.bulk.turn import AWAKE_FOR_S, prefers_bulk
from aletheia.intake.models import NewTask
from aletheia.intake.parsing import parse_page
from aletheia.intake.poller import Poller
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import Spending, UsageState
from aletheia.resilience.breaker import CircuitBreaker, State
from aletheia.resilience.limits import RateLimiter, RateLimits, Tier
from aletheia.settings import BudgetSettings, IntakeSettings
from aletheia.store.clock import Clock
from tests.aletheia.intake.conftest import Bench
from tests.fakes.openai_batches import FakeBatch, FakeBatchAPI, serve_fake_batches
from tests.fakes.usage import budget_limits, read_usage

SMALL = "text-embedding-3-small"
LARGE = "text-embedding-3-large"
NO_QUOTA = b'{"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}}'
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

    def __init__(
        self, bench: Bench, api: FakeBatchAPI, client: OpenAIBatches, breakers: CircuitBreaker
    ) -> None:
        self.bench, self.api, self.client, self.breakers = bench, api, client, breakers
        self.upstream, self.clock = bench.upstream, bench.clock
        prices = PriceTable.from_settings(BudgetSettings(_env_file=None))  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument
        self.spending = Spending(bench.documents, prices, budget_limits(), clock=bench.clock)
        self.limiter = RateLimiter(
            bench.documents, RateLimits(100, 100, 100, 100, 100), clock=Clock(bench.clock)
        )
        self.processors = Processors(
            {TASK_TYPE: TextEmbedding(client, WorkerSettings(max_text_bytes=100_000))}
        )

    def add(self, *texts: str, model: str | None = None, **raw: Any) -> None:
        """List texts to embed; their tasks are called after them."""
        for text in texts:
            data = {"text": text} if model is None else {"text": text, "model": model}
            self.upstream.add(text, data=data, **raw)

    def open(self, run_id: str = "run 1", **options: Any) -> BulkLane:
        """Begin a run."""
        settings = IntakeSettings(
            _env_file=None,  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument
            clock_skew_seconds=0,
            poll_limit=100,
        )
        deps = LaneDeps(
            upstream=self.bench.client,
            documents=self.bench.documents,
            processors=self.processors,
            batches=self.client,
            spending=self.spending,
            limiter=self.limiter,
            breakers=self.breakers,
            settings=settings,
            run_id=run_id,
            clock=self.clock.both,
            **options,
        )
        return BulkLane(deps)

    async def work(
        self,
        lane: BulkLane | None = None,
        *,
        above: int | None = 2,
        limit: int | None = None,
        polls: int = 10,
    ) -> BulkReport:
        """Work a run to its end, or for so many looks."""
        lane = lane or self.open()
        async with lane.held():
            if not await lane.attach():
                await lane.collect(limit, above)
            for _ in range(polls):
                if not await lane.under_way():
                    break
                await lane.poll()
        return lane.report()

    async def drain(self, *, above: int | None = None) -> Poller:
        """Drain the upstream with a poller, which embeds one request at a time.

        Args:
            above: with more than this it may leave texts to the lane.
        """
        ledger = self.bench.ledger(clock_skew_seconds=0, poll_limit=100)
        poller = Poller(self.bench.client, ledger, self.processors)
        if await prefers_bulk_now(self, above):
            poller.held.left_alone = frozenset({TASK_TYPE})
        return await self.bench.drain(poller)

    def result(self, task_id: str) -> dict[str, Any]:
        """The result that was reported for a task."""
        return json.loads(self.upstream.bodies[task_id][-1])["result"]

    def error(self, task_id: str) -> dict[str, Any]:
        """The error that was reported for a task."""
        return json.loads(self.upstream.bodies[task_id][-1])["error"]

    def count(self, end: str) -> int:
        """Count the requests to addresses that end so."""
        return sum(request.path.endswith(end) for request in self.api.requests)

    @property
    def batch(self) -> FakeBatch:
        """The only batch there ever was."""
        (batch,) = self.api.batches.values()
        return batch

    @property
    def single(self) -> list[list[str]]:
        """The texts of requests outside batches."""
        return [texts for texts in self.api.sent if texts]

    async def trip(self) -> None:
        """Open the provider's breaker."""
        for _ in range(5):
            await self.breakers.fail(await self.breakers.admit("openai"), "it is down")

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
        breakers = CircuitBreaker(
            bench.documents, threshold=5, cooldown_s=60, clock=Clock(bench.clock)
        )
        server = Api("openai", api.api_key, api.url, timeout_s=5)
        client = OpenAIBatches(server, EmbedderPlan(SMALL), TokenTables(no_tables), breakers)
        await client.open()
        stack.push_async_callback(client.close)
        yield Lanes(bench, api, client, breakers)


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
    (record,) = await read_usage(lanes.bench.documents, run_id="run 1")
    assert record.state is UsageState.SETTLED
    assert record.call.is_batch
    assert record.tokens.input == 4
    assert record.nanousd == 4 * 20 * Decimal("0.5")
    assert await lanes.grants() == 1


async def test_until_it_is_settled_the_upper_estimate_is_spent(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three four")
    await lanes.work(polls=2)
    (reservation,) = await read_usage(lanes.bench.documents, state="reserved")
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
    lanes.add(*[char * 9 for char in "abcde"])
    report = await lanes.work()
    assert report.submitted == 3
    assert report.tally.succeeded == 5
    lines = [len(lanes.api.lines_of(batch)) for batch in lanes.api.batches.values()]
    assert sorted(lines) == [1, 2, 2]


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
    await lanes.drain()
    assert lanes.upstream.states == {"one": DONE, "two": DONE}
    assert lanes.api.batches == {}


async def test_the_lane_is_off_unless_its_threshold_is_set(lanes: Lanes):
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
    await lanes.drain()
    assert set(map(tuple, lanes.upstream.states.values())) == {tuple(DONE)}
    assert sorted(text for texts in lanes.single for text in texts) == ["five", "four", "three"]


async def test_only_what_was_answered_before_expiry_is_paid(lanes: Lanes):
    lanes.api.ends, lanes.api.answers = "expired", 2
    lanes.add("one", "two", "three", "four", "five")
    await lanes.work()
    (record,) = await read_usage(lanes.bench.documents, run_id="run 1")
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
    (record,) = await read_usage(lanes.bench.documents, run_id="run 1")
    assert record.state is UsageState.RELEASED
    (order,) = await lanes.orders()
    assert (order["outcome"], "token_limit_exceeded" in order["reason"]) == ("failed", True)
    await lanes.drain()
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
    await lanes.drain()
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
    await lanes.drain()
    assert lanes.upstream.states["two"] == DONE


async def test_a_batch_that_is_gone_leaves_its_tasks_to_the_shifts_and_counts_as_spent(
    lanes: Lanes,
):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(polls=2)
    lanes.api.batches.clear()
    report = await lanes.work(lanes.open("run 2"))
    assert report.handed_back == 3
    assert len(await read_usage(lanes.bench.documents, state="reserved")) == 1


async def test_answers_that_are_gone_leave_their_tasks_to_the_shifts(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(404, on="content")
    report = await lanes.work()
    assert report.handed_back == 3
    assert len(await read_usage(lanes.bench.documents, state="reserved")) == 1


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
    await lanes.work(polls=2)
    lanes.clock.now += LEASE_S + 1
    report = await lanes.work(lanes.open("run 2"))
    assert report.handed_back == 3
    assert lanes.batch.status == "cancelling"


@pytest.mark.parametrize("what", ["503", "401", "403", "not JSON", "an unknown status"])
async def test_a_batch_is_given_up_when_its_leases_are_over_whatever_is_said_of_it(
    lanes: Lanes, what: str
):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(polls=2)

    def fail() -> None:
        if what == "not JSON":
            lanes.api.answer_next(b"{", on="batches")
        elif what == "an unknown status":
            lanes.batch.status = "asleep"
        else:
            lanes.api.fail_next(int(what), on="batches")

    lanes.clock.now += LEASE_S - 60
    fail()
    with contextlib.suppress(Unauthorized):
        await lanes.work(lanes.open("run 2"), polls=1)
    assert [order["state"] for order in await lanes.orders()] == ["submitted"]
    lanes.clock.now += 61
    fail()
    report = await lanes.work(lanes.open("run 3"), polls=1)
    assert report.handed_back == 3
    assert [order["outcome"] for order in await lanes.orders()] == ["overdue"]
    assert len(await read_usage(lanes.bench.documents, state="reserved")) == 1, (
        "nobody knows what it has cost"
    )


async def test_what_a_batch_given_up_has_answered_is_taken_in(lanes: Lanes):
    lanes.api.is_held, lanes.api.answers = True, 2
    lanes.add("one", "two", "three")
    await lanes.work(polls=2)
    lanes.api.is_held = False
    for _ in range(2):
        await lanes.client.poll(lanes.batch.id)
    lanes.batch.status = "asleep"
    assert (await lanes.work(lanes.open("run 2"))).tally.succeeded == 0
    lanes.clock.now += LEASE_S + 1
    report = await lanes.work(lanes.open("run 3"))
    assert (report.tally.succeeded, report.handed_back) == (2, 1)
    assert lanes.api.files == {}


async def test_an_order_that_is_never_accepted_is_given_up(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(*[503] * 3, on="files")
    await lanes.work(polls=1)
    lanes.clock.now += LEASE_S - 60
    await lanes.work(lanes.open("run 2"), polls=1)
    lanes.clock.now += 61
    report = await lanes.work(lanes.open("run 3"), polls=1)
    assert report.handed_back == 3
    (record,) = await read_usage(lanes.bench.documents, run_id="run 1")
    assert record.state is UsageState.RELEASED
    await lanes.drain()
    assert lanes.upstream.states == {"one": DONE, "two": DONE, "three": DONE}
    assert lanes.api.batches == {}


async def test_of_answers_that_are_too_long_what_can_be_read_is_taken_in(lanes: Lanes):
    lanes.add("one", "two", "three")
    async with contextlib.AsyncExitStack() as stack:
        server = Api("openai", lanes.api.api_key, lanes.api.url)
        lanes.client = OpenAIBatches(server, EmbedderPlan(SMALL), TokenTables(no_tables))
        lanes.client.max_output_bytes = 700
        await lanes.client.open()
        stack.push_async_callback(lanes.client.close)
        report = await lanes.work()
    assert (report.tally.succeeded, report.handed_back) == (2, 1)
    assert lanes.count("/content") == 1
    assert [order["state"] for order in await lanes.orders()] == ["done"]
    assert len(await read_usage(lanes.bench.documents, state="reserved")) == 1, (
        "nobody knows what it has cost"
    )


async def test_a_line_that_is_too_long_leaves_its_task_to_the_shifts(lanes: Lanes):
    lanes.api.spoils_lines = {"two": b"x" * (2 * MAX_LINE_BYTES)}
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.tally.succeeded, report.handed_back) == (2, 1)
    assert lanes.count("/content") == 1


async def test_between_readings_that_break_off_there_are_pauses(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(*[429] * (READS_AT_ONCE + 1), on="content")
    await lanes.work(polls=10)
    assert lanes.count("/content") == READS_AT_ONCE
    lanes.clock.now += 61
    await lanes.work(lanes.open("run 2"), polls=10)
    assert lanes.count("/content") == READS_AT_ONCE + 1
    lanes.clock.now += 121
    assert (await lanes.work(lanes.open("run 3"))).tally.succeeded == 3


# Budgets, limits, keys


async def test_a_spent_budget_leaves_everything_pending(lanes: Lanes):
    lanes.spending.counters.limits = budget_limits(tokens_per_day=0)
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.ended, "BUDGET_TOKENS_PER_DAY" in report.why) == ("deferred", True)
    assert lanes.upstream.states == {}
    assert lanes.api.requests == []


@pytest.mark.parametrize(
    "limits",
    [budget_limits(tokens_per_run=16), budget_limits(nanousd_per_day=160)],
    ids=["tokens", "dollars"],
)
async def test_what_a_budget_does_not_cover_stays_pending(lanes: Lanes, limits: BudgetSettings):
    lanes.spending.counters.limits = limits
    lanes.add(*[f"abc{number}" for number in range(10)])
    report = await lanes.work()
    assert len(lanes.upstream.states) == 4
    assert "4 tasks only" in report.why
    assert report.tally.succeeded == 4


@pytest.mark.parametrize("tokens", [None, 1000])
def test_once_a_task_did_not_fit_a_smaller_one_is_left_as_well(tokens: int | None):
    capacity = Capacity(tokens, nanousd=100, cost=lambda _model, count: count)
    weights = {"first": 60, "large": 60, "small": 30}
    taken = [capacity.take(row_id, "m", weight) for row_id, weight in weights.items()]
    assert (taken, capacity.is_full) == ([True, False, False], True)


async def test_a_rate_limit_leaves_everything_pending(lanes: Lanes):
    lanes.limiter.limits = RateLimits(1, 1, 1, 1, 1)
    await lanes.limiter.acquire("openai")
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.ended, "over its limit" in report.why) == ("deferred", True)
    assert lanes.upstream.states == {}


async def test_an_open_breaker_leaves_everything_pending(lanes: Lanes):
    await lanes.trip()
    lanes.add("one", "two", "three")
    report = await lanes.work()
    assert (report.ended, "breaker" in report.why) == ("deferred", True)
    assert lanes.upstream.states == {}


async def test_the_limits_of_single_requests_are_none_of_a_batchs(lanes: Lanes):
    lanes.limiter.limits = RateLimits(2, 2, 2, 2, 2)
    meter = Meter(lanes.limiter, lanes.breakers, lanes.spending)
    async with contextlib.AsyncExitStack() as stack:
        plan = EmbedderPlan(SMALL, limits=InputLimits(1), guard=meter)
        single = OpenAIEmbedder(Api("openai", lanes.api.api_key, lanes.api.url), plan)
        await single.open()
        stack.push_async_callback(single.close)
        lanes.processors = Processors(
            {TASK_TYPE: TextEmbedding(single, WorkerSettings(max_text_bytes=100_000))}
        )
        lanes.add("one", "two", "three")
        report = await lanes.work()
    assert (report.submitted, report.tally.succeeded) == (1, 3)
    assert await lanes.grants() == 1


async def test_calls_that_fail_open_the_breaker_that_all_calls_share(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(*[503] * 5, on="files")
    await lanes.work(polls=10)
    (breaker,) = await lanes.breakers.states()
    assert (breaker.dependency, breaker.state) == ("openai", State.OPEN)
    assert lanes.count("/v1/files") == 5
    lanes.clock.now += 61
    assert (await lanes.work(lanes.open("run 2"))).tally.succeeded == 3
    (breaker,) = await lanes.breakers.states()
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize(
    ("endpoint", "polls"), [("batches", 0), ("create", 1), ("batches", 2), ("content", 4)]
)
async def test_every_call_is_reported_to_the_breaker(lanes: Lanes, endpoint: str, polls: int):
    lanes.add("one", "two", "three")
    if polls:
        await lanes.work(polls=polls - 1)
    lanes.api.fail_next(503, on=endpoint)
    with contextlib.suppress(AletheiaError):
        await lanes.work(lanes.open("run 2"), polls=1)
    (breaker,) = await lanes.breakers.states()
    assert breaker.failures == 1


async def test_what_is_deferred_after_it_was_claimed_waits_in_the_ledger(lanes: Lanes):
    lanes.limiter.limits = RateLimits(1, 10, 10, 10, 10)
    lanes.add("one", "two", model=SMALL)
    lanes.add("three", "four", model=LARGE)
    report = await lanes.work()
    assert (report.ended, report.submitted, report.tally.waiting) == ("deferred", 1, 2)
    waiting = [row for row in (await lanes.bench.rows()).values() if row["state"] == "waiting"]
    assert {row["waiting_for"]["code"] for row in waiting} == {"rate_limited"}
    states = {record.state for record in await read_usage(lanes.bench.documents, run_id="run 1")}
    assert states == {UsageState.SETTLED, UsageState.RELEASED}
    lanes.clock.now += 61
    await lanes.drain()
    assert set(map(tuple, lanes.upstream.states.values())) == {tuple(DONE)}


async def test_a_wrong_key_is_found_before_anything_is_claimed(lanes: Lanes):
    lanes.api.api_key = "another"
    lanes.add("one", "two", "three")
    with pytest.raises(Unauthorized):
        await lanes.work()
    assert lanes.upstream.states == {}


@pytest.mark.parametrize("endpoint", ["files", "create"])
async def test_a_wrong_key_on_submission_loses_nothing(lanes: Lanes, endpoint: str):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(401, on=endpoint)
    with pytest.raises(Unauthorized):
        await lanes.work()
    await lanes.drain()
    assert lanes.upstream.states["one"] == ["processing"]
    lanes.clock.now += 61
    report = await lanes.work(lanes.open("run 2"))
    assert (report.attached, report.tally.succeeded) == (1, 3)
    assert len(lanes.api.batches) == 1
    assert lanes.count("/v1/files") == (2 if endpoint == "files" else 1)


@pytest.mark.parametrize("status", [400, 403])
async def test_what_may_not_be_submitted_is_left_to_the_shifts(lanes: Lanes, status: int):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(status, on="create")
    lane = lanes.open()
    report = await lanes.work(lane)
    assert await lane.find_trouble() is not None
    assert report.handed_back == 3
    assert lanes.api.batches == {}
    assert lanes.api.files == {}
    (record,) = await read_usage(lanes.bench.documents, run_id="run 1")
    assert record.state is UsageState.RELEASED
    await lanes.drain()
    assert set(map(tuple, lanes.upstream.states.values())) == {tuple(DONE)}


async def test_a_spent_quota_leaves_the_tasks_to_whoever_can_pay(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(429, on="create", body=NO_QUOTA)
    lane = lanes.open()
    report = await lanes.work(lane)
    assert isinstance(await lane.find_trouble(), QuotaExhausted)
    assert report.handed_back == 3
    assert (lanes.api.batches, lanes.api.files) == ({}, {})
    assert await lanes.grants() == 1
    (record,) = await read_usage(lanes.bench.documents, run_id="run 1")
    assert record.state is UsageState.RELEASED
    (order,) = await lanes.orders()
    assert (order["state"], order["outcome"]) == ("done", "refused")


async def test_a_file_is_uploaded_once_however_often_its_batch_is_deferred(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(429, 429, 429, on="create")
    submissions: list[int] = []
    for minute in range(8):
        await lanes.work(lanes.open(f"run {minute}"), polls=3)
        submissions.append(await lanes.grants())
        lanes.clock.now += 61
    await lanes.work(lanes.open("the last run"))
    # After the first, the pauses are of one minute, two and four.
    assert submissions == [1, 2, 2, 3, 3, 3, 3, 4]
    assert lanes.count("/v1/files") == 1
    assert lanes.upstream.states == {"one": DONE, "two": DONE, "three": DONE}
    assert lanes.api.files == {}


async def test_a_file_that_names_lost_rows_is_uploaded_anew(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(429, on="create")
    await lanes.work(polls=1)
    await lanes.bench.ledger().claims.supersede([(await lanes.bench.rows())["two"]["_id"]])
    lanes.clock.now += 61
    await lanes.work(lanes.open("run 2"))
    assert sorted(lanes.api.worked_on) == ["one", "three"]
    assert lanes.count("/v1/files") == 2
    assert lanes.api.files == {}


async def test_a_key_refused_while_a_batch_is_under_way_leaves_the_batch_alone(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.is_held = True
    await lanes.work(polls=2)
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
    await lanes.work(polls=2)
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
                await lane.poll()

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


async def test_a_run_cancelled_while_it_collects_releases_everything(lanes: Lanes):
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
    await lanes.drain()
    assert set(map(tuple, lanes.upstream.states.values())) == {tuple(DONE)}
    assert lanes.api.batches == {}


async def test_a_batch_whose_id_got_lost_is_found_by_its_metadata(lanes: Lanes):
    lanes.api.page = 1
    lanes.add("one", "two", "three")
    lanes.api.misbehave_next("loses_its_answer", on="create")
    await lanes.work(polls=1)
    (order,) = await lanes.orders()
    assert "batch_id" not in order
    report = await lanes.work(lanes.open("run 2"))
    assert report.tally.succeeded == 3
    assert len(lanes.api.batches) == 1
    assert await lanes.grants() == 1


async def test_a_submission_that_never_arrived_is_made_again_after_a_while(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.misbehave_next("hangs_up", on="create")
    await lanes.work(polls=3)
    assert lanes.api.batches == {}
    lanes.clock.now += 61
    report = await lanes.work(lanes.open("run 2"))
    assert report.tally.succeeded == 3
    assert len(lanes.api.batches) == 1
    assert await lanes.grants() == 2


async def test_a_late_submission_holds_its_tasks_as_long_as_any(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(503, on="files")
    await lanes.work(polls=1)
    lanes.clock.now += LEASE_S - 60
    lanes.api.is_held = True
    await lanes.work(lanes.open("run 2"), polls=2)
    lanes.clock.now += LEASE_S - 60
    await lanes.drain()
    assert lanes.upstream.states["one"] == ["processing"]
    lanes.api.is_held = False
    assert (await lanes.work(lanes.open("run 3"))).tally.succeeded == 3


async def test_of_two_batches_of_one_order_the_later_is_cancelled(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    lanes.api.misbehave_next("loses_its_answer", on="create")
    await lanes.work(polls=1)
    first = lanes.batch
    twin = FakeBatch("batch_x", first.input_file, first.metadata, first.created_at + 5)
    lanes.api.batches["batch_x"] = twin
    await lanes.work(lanes.open("run 2"), polls=1)
    assert twin.status == "cancelling"
    (order,) = await lanes.orders()
    assert order["batch_id"] == first.id


async def test_no_shift_takes_the_tasks_of_a_batch_before_its_lease_is_over(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(polls=2)
    lanes.clock.now += LEASE_S - 1
    await lanes.drain()
    assert lanes.upstream.states["one"] == ["processing"]
    lanes.clock.now += 2
    await lanes.drain()
    assert lanes.upstream.states == {"one": DONE, "two": DONE, "three": DONE}


async def test_a_batch_that_comes_too_late_changes_nothing(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(polls=2)
    lanes.clock.now += LEASE_S + 1
    await lanes.drain()
    reports = {task_id: list(bodies) for task_id, bodies in lanes.upstream.bodies.items()}
    lanes.api.is_held = False
    lanes.batch.status = "finalizing"
    report = await lanes.work(lanes.open("run 2"))
    assert (report.tally.succeeded, report.handed_back) == (0, 0)
    assert lanes.upstream.bodies == reports
    assert [record.state for record in await read_usage(lanes.bench.documents, run_id="run 1")] == [
        UsageState.SETTLED
    ]


async def test_an_order_whose_rows_others_have_taken_is_not_submitted(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.api.fail_next(503, on="files")
    await lanes.work(polls=1)
    rows = await lanes.bench.rows()
    await lanes.bench.ledger().claims.supersede([row["_id"] for row in rows.values()])
    await lanes.work(lanes.open("run 2"))
    assert lanes.api.batches == {}
    (order,) = await lanes.orders()
    assert order["outcome"] == "lost"


async def test_a_report_the_upstream_cannot_take_is_sent_by_a_shift(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    lane = lanes.open()
    await lanes.work(lane, polls=2)
    lanes.api.is_held = False
    lanes.upstream.refuse_reports("two", 503)
    report = await lanes.work(lanes.open("run 2"))
    assert (report.tally.succeeded, report.tally.deferred_reports) == (2, 1)
    lanes.upstream.refuse_reports("two", None)
    lanes.clock.now += 3600
    await lanes.drain()
    assert lanes.upstream.states["two"] == DONE
    assert lanes.single == []


async def test_a_run_whose_reports_nobody_acknowledges_is_reported(lanes: Lanes):
    lanes.add("one", "two", "three")
    lanes.upstream.break_results(b"<html>Sign in</html>")
    lane = lanes.open()
    report = await lanes.work(lane)
    assert report.tally.deferred_reports == 3
    assert "3 reports are not acknowledged" in str(await lane.find_trouble())
    lanes.upstream.break_results(None)
    lanes.clock.now += 3600
    await lanes.drain()
    assert await lanes.open("run 2").find_trouble() is None
    assert lanes.upstream.states["two"] == DONE


# What a shift leaves to the lane


async def prefers_bulk_now(lanes: Lanes, above: int | None = 2) -> bool:
    return await prefers_bulk(
        lanes.bench.client, lanes.bench.documents, above=above, now_s=lanes.clock()
    )


async def test_a_large_backlog_is_the_lanes_while_a_run_may_be_expected(lanes: Lanes):
    lanes.add("one", "two", "three")
    assert not await prefers_bulk_now(lanes), "nobody was ever in the lane"
    async with lanes.open().held():
        assert await prefers_bulk_now(lanes), "a run is at work"
    await lanes.work(lanes.open("run 2"))
    lanes.add("four", "five", "six")
    assert await prefers_bulk_now(lanes)
    assert not await prefers_bulk_now(lanes, above=3)
    assert not await prefers_bulk_now(lanes, above=None)
    assert not await prefers_bulk_now(lanes, above=1000), "the upstream serves no such page"
    lanes.clock.now += AWAKE_FOR_S + 1
    assert not await prefers_bulk_now(lanes), "nobody comes any more"


async def test_a_clock_moved_back_leaves_nothing_to_the_lane(lanes: Lanes):
    await lanes.work()
    lanes.add("one", "two", "three")
    assert await prefers_bulk_now(lanes)
    lanes.clock.now -= 86_400
    assert not await prefers_bulk_now(lanes)


async def test_a_run_that_finds_too_little_gets_the_next_backlog(lanes: Lanes):
    lanes.add("one")
    assert (await lanes.work()).ended == "too_little"
    await lanes.drain(above=2)
    lanes.add("two", "three", "four")
    await lanes.drain(above=2)
    assert lanes.upstream.states == {"one": DONE}


async def test_what_is_too_little_for_the_lane_is_never_left_to_it(lanes: Lanes):
    lanes.add("one", "two", "three")
    assert (await lanes.work(above=5)).ended == "too_little"
    assert not await prefers_bulk_now(lanes, above=2)


async def test_a_backlog_of_other_tasks_keeps_no_text_waiting(lanes: Lanes):
    await lanes.work()
    for number in range(3):
        lanes.upstream.add(f"t{number}", type="sentiment_analysis")
    lanes.add("one", "two")
    assert not await prefers_bulk_now(lanes)


async def test_what_a_run_has_passed_over_is_the_shifts(lanes: Lanes):
    lanes.upstream.add("long", "word " * 2000)
    lanes.add("one", "two", "three")
    assert (await lanes.work()).tally.succeeded == 3
    lanes.add("four", "five", "six")
    assert not await prefers_bulk_now(lanes)
    await lanes.drain(above=2)
    assert lanes.upstream.states["long"] == DONE
    lanes.add("seven", "eight", "nine")
    assert await prefers_bulk_now(lanes)


async def test_what_a_killed_shift_had_claimed_is_the_shifts(lanes: Lanes):
    lanes.add("claimed")
    ledger = lanes.bench.ledger()
    page = parse_page(await lanes.bench.client.pending(10), max_entry_bytes=10_000)
    await ledger.claims.claim([NewTask(page.entries[0], SMALL, 1)])
    lanes.add("one", "two", "three")
    assert (await lanes.work()).tally.succeeded == 3
    lanes.add("four", "five", "six")
    assert not await prefers_bulk_now(lanes)
    lanes.clock.now += 61
    await lanes.drain(above=2)
    assert lanes.upstream.states["claimed"] == DONE


async def none_fits(lanes: Lanes) -> None:
    for number in range(30):
        lanes.upstream.add(f"long {number}", "word " * 2000 + str(number))
    await lanes.work()


async def too_few_fit(lanes: Lanes) -> None:
    lanes.upstream.add("long", "word " * 2000)
    await lanes.work(above=3)


async def its_report_is_deferred(lanes: Lanes) -> None:
    await lanes.trip()
    await lanes.work()
    lanes.clock.now += 61


async def there_is_no_such_api(lanes: Lanes) -> None:
    lanes.api.fail_next(404, on="batches")
    with pytest.raises(NotFound):
        await lanes.work()


async def the_batch_is_not_begun(lanes: Lanes) -> None:
    lanes.api.validation_error = "token_limit_exceeded"
    await lanes.work()


async def the_batch_is_not_accepted(lanes: Lanes) -> None:
    lanes.api.fail_next(400, on="create")
    await lanes.work()


async def nothing_is_answered(lanes: Lanes) -> None:
    lanes.api.ends, lanes.api.answers = "expired", 0
    await lanes.work()


async def it_is_killed(lanes: Lanes) -> None:
    dead = lanes.open().held()
    await dead.__aenter__()
    lanes.clock.now += 61
    assert not await prefers_bulk_now(lanes)
    lanes.clock.now -= 61
    await dead.__aexit__(None, None, None)


@pytest.mark.parametrize(
    "fail",
    [
        none_fits,
        too_few_fit,
        its_report_is_deferred,
        there_is_no_such_api,
        the_batch_is_not_begun,
        the_batch_is_not_accepted,
        nothing_is_answered,
        it_is_killed,
    ],
)
async def test_after_a_run_that_was_of_no_use_everything_is_the_shifts(
    lanes: Lanes, fail: Callable[[Lanes], Awaitable[None]]
):
    await lanes.work()
    lanes.add("one", "two", "three")
    assert await prefers_bulk_now(lanes)
    await fail(lanes)
    lanes.add("four", "five", "six", "seven")
    assert not await prefers_bulk_now(lanes, above=3)
    await lanes.drain(above=3)
    assert set(map(tuple, lanes.upstream.states.values())) == {tuple(DONE)}
    assert len(lanes.upstream.states) == len(lanes.upstream.tasks)
    await lanes.work(lanes.open("run 2"))
    lanes.add("eight", "nine", "ten")
    assert await prefers_bulk_now(lanes), "the next backlog is another one"


async def test_lane_and_shifts_together_leave_nothing_behind(lanes: Lanes):
    for number in range(25):
        lanes.upstream.add(f"long {number}", "word " * 2000 + str(number))
    for number in range(5):
        lanes.upstream.add(f"other {number}", type="sentiment_analysis")
    lanes.add(*[f"text {number}" for number in range(30)])
    for hour in range(3):
        await lanes.work(lanes.open(f"run {hour}"), above=10)
        await lanes.drain(above=10)
        lanes.clock.now += 3600
    assert len(lanes.upstream.states) == 60
    assert {states[-1] for states in lanes.upstream.states.values()} == {"succeeded", "failed"}


async def test_a_backlog_beside_a_batch_that_is_under_way_is_the_shifts(lanes: Lanes):
    lanes.api.is_held = True
    lanes.add("one", "two", "three")
    await lanes.work(polls=2)
    lanes.add("four", "five", "six")
    assert not await prefers_bulk_now(lanes)
    lanes.api.is_held = False
    await lanes.work(lanes.open("run 2"))
    assert await prefers_bulk_now(lanes)


# One run at a time


async def test_a_second_run_is_kept_out(lanes: Lanes):
    lanes.add("one", "two", "three")
    async with lanes.open(lane_lease_s=0.05).held():
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
                await lane.poll()
    assert lanes.api.batches == {}


async def test_the_lane_of_a_run_that_was_killed_is_free_after_its_lease(lanes: Lanes):
    lanes.add("one", "two", "three")
    dead = lanes.open().held()
    await dead.__aenter__()
    lanes.clock.now += 61
    assert (await lanes.work(lanes.open("run 2"))).tally.succeeded == 3
    await dead.__aexit__(None, None, None)


async def test_a_run_that_fails_before_its_order_is_written_releases_everything(lanes: Lanes):
    table = {"openai": {"models": {SMALL: {"embedding": 0.02}}}}
    lanes.spending = Spending(
        lanes.bench.documents,
        PriceTable(table, unknown="refuse"),
        budget_limits(),
        clock=lanes.clock,
    )
    lanes.api.models["unpriced"] = 8
    lanes.add("one", "two", "three", model="unpriced")
    with pytest.raises(Misconfigured):
        await lanes.work()
    await lanes.drain()
    assert lanes.upstream.states == {"one": DONE, "two": DONE, "three": DONE}
    assert lanes.api.batches == {}


async def test_a_refusal_of_the_lane_passes_between_processes():
    taken = LaneTaken(datetime(2026, 11, 19, tzinfo=UTC))
    again = pickle.loads(pickle.dumps(taken))
    assert (again.until, again.code, again.retryable) == (taken.until, "lane_taken", True)

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import BudgetExceeded, Misconfigured, Unavailable
from aletheia.llm.prices import NANO, PriceTable, Tokens
from aletheia.llm.usage import (
    BUDGETS,
    TOTALS,
    USAGE,
    BudgetUsage,
    Call,
    Reservation,
    Spending,
    UsageState,
    UsageTotal,
)
from aletheia.metrics import COST, TOKENS
from aletheia.series import Counters
from aletheia.settings import BudgetSettings
from tests.aletheia.llm.spenders import (
    PRICES,
    reserve_and_die,
    reserve_until_refused,
    spend_at_random,
)
from tests.aletheia.resilience.conftest import Clock
from tests.aletheia.resilience.contenders import compete
from tests.fakes.documents import InTurnDocuments
from tests.fakes.usage import budget_limits, read_usage

TODAY = "day:2026-11-18"
MIDNIGHT = datetime(2026, 11, 19, tzinfo=UTC)


def usd(nanousd: int) -> Decimal:
    return Decimal(nanousd) / 10**9


def book(documents: Documents, clock: Clock, **limits: int) -> Spending:
    return Spending(documents, PriceTable(PRICES), budget_limits(**limits), clock=clock)


def call(run_id: str | None = "a", **values: Any) -> Call:
    usual: dict[str, Any] = {"key": "k", "provider": "openai", "model": "m", "kind": "embedding"}
    return Call(**usual | values, run_id=run_id)


async def refusal(spending: Spending, tokens: int, run_id: str | None = "a") -> BudgetExceeded:
    with pytest.raises(BudgetExceeded) as caught:
        await spending.reserve(call(run_id), Tokens(tokens))
    return caught.value


async def counters(documents: Documents) -> dict[str, tuple[int, int]]:
    return {
        document["_id"]: (document["tokens"], document["nanousd"])
        for document in await documents.find(BUDGETS, {})
    }


# Reserving and settling.


async def test_an_estimate_is_reserved_before_a_call_and_settled_after_it(
    documents: Documents, clock: Clock
):
    spending = book(documents, clock)
    reservation = await spending.reserve(call(), Tokens(100))
    assert await counters(documents) == {"run:a": (100, 100_000), TODAY: (100, 100_000)}
    (record,) = await read_usage(documents, run_id="a")
    assert (record.state, record.tokens, record.nanousd) == ("reserved", Tokens(100), 100_000)
    clock.move(seconds=2)
    await spending.settle(reservation, Tokens(60))
    assert await counters(documents) == {"run:a": (60, 60_000), TODAY: (60, 60_000)}
    (record,) = await read_usage(documents, run_id="a")
    assert record.call == call()
    assert (record.state, record.tokens, record.nanousd) == ("settled", Tokens(60), 60_000)
    assert record.at == clock.now - timedelta(seconds=2)
    assert record.settled_at == clock.now


async def test_an_estimate_that_was_too_low_is_made_up_for(documents: Documents, clock: Clock):
    spending = book(documents, clock, tokens_per_day=100)
    reservation = await spending.reserve(call(), Tokens(10))
    await spending.settle(reservation, Tokens(130))
    assert await counters(documents) == {"run:a": (130, 130_000), TODAY: (130, 130_000)}
    assert (await refusal(spending, 0)).spent == 130


async def test_settling_twice_counts_once(documents: Documents, clock: Clock):
    spending = book(documents, clock)
    for used in (40, 160):
        reservation = await spending.reserve(call(), Tokens(100))
        for _ in range(2):
            await spending.settle(reservation, Tokens(used))
        await spending.release(reservation)
    assert await counters(documents) == {"run:a": (200, 200_000), TODAY: (200, 200_000)}
    (total,) = await spending.totals()
    assert (total.calls, total.tokens) == (2, 200)


async def test_settling_twice_at_once_counts_once(documents: Documents, clock: Clock):
    spending = book(documents, clock)
    reservation = await spending.reserve(call(), Tokens(100))
    await asyncio.gather(*(spending.settle(reservation, Tokens(60)) for _ in range(4)))
    assert await counters(documents) == {"run:a": (60, 60_000), TODAY: (60, 60_000)}
    (total,) = await spending.totals()
    assert total.calls == 1


async def test_a_call_may_use_more_tokens_than_estimated_and_cost_less(
    documents: Documents, clock: Clock
):
    prices = PriceTable({"openai": {"models": {"m": {"input": 1, "output": 5}}}})
    spending = Spending(documents, prices, budget_limits(), clock=clock)
    for used, cost in ((Tokens(25), 25_000), (Tokens(0, 13), 65_000)):
        reservation = await spending.reserve(call(None, kind="chat"), Tokens(10, 10))
        assert reservation.nanousd == 60_000
        before = (await counters(documents))[TODAY]
        await spending.settle(reservation, used)
        after = (await counters(documents))[TODAY]
        assert after == (before[0] - 20 + used.total, before[1] - 60_000 + cost)


async def test_what_was_not_sent_is_released(documents: Documents, clock: Clock):
    spending = book(documents, clock, tokens_per_day=100)
    reservation = await spending.reserve(call(), Tokens(100))
    await refusal(spending, 1)
    await spending.release(reservation)
    assert await counters(documents) == {"run:a": (0, 0), TODAY: (0, 0)}
    (record,) = await read_usage(documents, run_id="a")
    assert (record.state, record.nanousd) == ("released", 0)
    assert await spending.totals() == []
    await spending.reserve(call(), Tokens(100))


async def test_a_reservation_nobody_settled_counts_as_spent_after_a_crash(
    tmp_path: Path, clock: Clock
):
    plan = (budget_limits(tokens_per_day=150), clock())
    context = get_context("spawn")
    died = context.Process(target=_reserve_and_die, args=(tmp_path, plan))
    died.start()
    await asyncio.to_thread(died.join)
    assert died.exitcode == -9
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    spending = book(documents, clock, tokens_per_day=150)
    refused = await refusal(spending, 51)
    assert (refused.spent, refused.asked, refused.limit) == (100, 51, 150)
    (left,) = await read_usage(documents, run_id="a")
    assert (left.call.key, left.state) == ("batch-7", "reserved")
    await spending.settle(
        Reservation(left.id, left.call, left.tokens, left.nanousd, "2026-11-18"), Tokens(70)
    )
    await spending.reserve(call(), Tokens(80))
    await documents.close()


def _reserve_and_die(directory: Path, plan: tuple[BudgetSettings, float]) -> None:
    async def run() -> None:
        documents = EmbeddedDocuments(directory)
        await documents.open()
        await reserve_and_die(documents, plan)

    asyncio.run(run())


# Budgets.


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (
            {"nanousd_per_day": 150_000},
            ("BUDGET_USD_PER_DAY", usd(150_000), usd(100_000), usd(51_000), MIDNIGHT),
        ),
        (
            {"nanousd_per_run": 150_000},
            ("BUDGET_USD_PER_RUN", usd(150_000), usd(100_000), usd(51_000), None),
        ),
        ({"tokens_per_day": 150}, ("BUDGET_TOKENS_PER_DAY", 150, 100, 51, MIDNIGHT)),
        ({"tokens_per_run": 150}, ("BUDGET_TOKENS_PER_RUN", 150, 100, 51, None)),
    ],
)
async def test_a_budget_is_spent_to_its_last_bit_and_not_beyond(
    documents: Documents, clock: Clock, limits: dict[str, int], expected: tuple[object, ...]
):
    spending = book(documents, clock, **limits)
    await spending.reserve(call(), Tokens(100))
    assert (await refusal(spending, 51)).args == expected
    assert await counters(documents) == {"run:a": (100, 100_000), TODAY: (100, 100_000)}
    assert await documents.count(USAGE, {}) == 1
    assert not any(usage.is_spent for usage in await spending.budgets("a"))
    await spending.reserve(call(), Tokens(50))
    (spent,) = [usage for usage in await spending.budgets("a") if usage.is_spent]
    assert (spent.name, spent.until) == (expected[0], expected[-1])


async def test_a_day_ends_at_midnight_in_utc(documents: Documents, clock: Clock):
    spending = book(documents, clock, tokens_per_day=100)
    clock.now = MIDNIGHT - timedelta(microseconds=1)
    late = await spending.reserve(call(), Tokens(100))
    assert (await refusal(spending, 1)).until == MIDNIGHT
    clock.now = MIDNIGHT
    await spending.reserve(call(), Tokens(100))
    assert (await refusal(spending, 1)).until == MIDNIGHT + timedelta(days=1)
    await spending.settle(late, Tokens(30))
    assert (await counters(documents))[TODAY] == (30, 30_000)
    assert (await counters(documents))["day:2026-11-19"] == (100, 100_000)
    clock.now = MIDNIGHT - timedelta(microseconds=1)
    assert (await refusal(spending, 71)).spent == 30


async def test_a_run_keeps_its_budget_over_midnight_and_restarts(tmp_path: Path, clock: Clock):
    for spent in (0, 40, 80):
        documents = EmbeddedDocuments(tmp_path)
        await documents.open()
        spending = book(documents, clock, tokens_per_run=100)
        if spent:
            assert (await refusal(spending, 101 - spent)).spent == spent
        if spent < 80:
            await spending.reserve(call(), Tokens(40))
        await documents.close()
        clock.move(days=1)


async def test_every_run_has_a_budget_of_its_own_and_a_call_without_one_only_the_days(
    documents: Documents, clock: Clock
):
    spending = book(documents, clock, tokens_per_run=100, tokens_per_day=250)
    await spending.reserve(call("a"), Tokens(100))
    await spending.reserve(call("b"), Tokens(100))
    assert (await refusal(spending, 1, "a")).budget == "BUDGET_TOKENS_PER_RUN"
    assert (await refusal(spending, 51, "c")).budget == "BUDGET_TOKENS_PER_DAY"
    assert (await refusal(spending, 51, None)).budget == "BUDGET_TOKENS_PER_DAY"
    assert await counters(documents) == {
        "run:a": (100, 100_000),
        "run:b": (100, 100_000),
        "run:c": (0, 0),
        TODAY: (200, 200_000),
    }
    await spending.reserve(call(None), Tokens(50))


async def test_a_budget_of_nothing_lets_only_free_calls_through(documents: Documents, clock: Clock):
    spending = book(documents, clock, nanousd_per_day=0)
    await spending.reserve(call(), Tokens(0))
    await refusal(spending, 1)


async def test_a_budget_that_changes_holds_at_once(documents: Documents, clock: Clock):
    spending = book(documents, clock)
    await spending.reserve(call(), Tokens(100))
    spending.counters.limits = budget_limits(tokens_per_day=99)
    await refusal(spending, 0)
    spending.counters.limits = budget_limits(tokens_per_day=101)
    await spending.reserve(call(), Tokens(1))


async def test_how_the_budgets_stand_can_be_asked(documents: Documents, clock: Clock):
    spending = book(documents, clock, nanousd_per_day=NANO, tokens_per_run=100)
    assert [usage.spent for usage in await spending.budgets("a")] == [0, 0, 0, 0]
    await spending.reserve(call(), Tokens(100))
    assert await spending.budgets("a") == [
        BudgetUsage("BUDGET_USD_PER_DAY", Decimal(1), Decimal("0.0001"), MIDNIGHT),
        BudgetUsage("BUDGET_TOKENS_PER_DAY", None, 100, MIDNIGHT),
        BudgetUsage("BUDGET_USD_PER_RUN", None, Decimal("0.0001"), None),
        BudgetUsage("BUDGET_TOKENS_PER_RUN", 100, 100, None),
    ]
    assert [usage.is_spent for usage in await spending.budgets("a")] == [False, False, False, True]
    assert len(await spending.budgets()) == 2


async def test_settings_are_read_to_the_last_digit(documents: Documents, clock: Clock):
    settings = BudgetSettings(
        _env_file=None,  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument
        budget_usd_per_day=0.1,
        budget_usd_per_run=12.345678901,
        budget_tokens_per_run=5,
    )
    spending = Spending(documents, PriceTable(PRICES), settings, clock=clock)
    limits = [usage.limit for usage in await spending.budgets("a")]
    assert limits == [Decimal("0.1"), None, Decimal("12.345678901"), 5]


# Records.


async def test_free_calls_are_recorded_and_no_budget_counts_them(
    documents: Documents, clock: Clock
):
    spending = book(documents, clock, tokens_per_day=10)
    mock = call(is_mock=True, provider="mock", computation="c1", tasks=1)
    await spending.record(mock, Tokens(1000))
    (record,) = await read_usage(documents, run_id="a")
    assert (record.call, record.state, record.nanousd) == (mock, UsageState.SETTLED, 0)
    assert record.settled_at == clock.now
    assert await counters(documents) == {}


async def test_what_is_mocked_costs_nothing_whatever_it_is_called(
    documents: Documents, clock: Clock
):
    reservation = await book(documents, clock).reserve(call(is_mock=True), Tokens(1000))
    assert reservation.nanousd == 0


async def test_totals_are_kept_by_provider_model_kind_and_mock(documents: Documents, clock: Clock):
    spending = book(documents, clock)
    for used in (10, 20):
        await spending.settle(await spending.reserve(call(), Tokens(50)), Tokens(used))
    await spending.record(call(is_mock=True), Tokens(5, 6))
    await spending.reserve(call(), Tokens(7))
    assert await spending.totals() == [
        UsageTotal("openai", "m", "embedding", False, 2, 30, Decimal("0.00003")),
        UsageTotal("openai", "m", "embedding", True, 1, 11, Decimal(0)),
    ]


async def test_a_batch_is_reserved_at_the_batch_price(documents: Documents, clock: Clock):
    prices = PriceTable({"openai": {"batch_factor": 0.5, "models": {"m": {"embedding": 1}}}})
    spending = Spending(documents, prices, budget_limits(), clock=clock)
    assert (await spending.reserve(call(is_batch=True), Tokens(100))).nanousd == 50_000


async def test_a_model_without_a_price_may_be_refused_before_anything_is_charged(
    documents: Documents, clock: Clock
):
    spending = Spending(documents, PriceTable({}, unknown="refuse"), budget_limits(), clock=clock)
    with pytest.raises(Misconfigured):
        await spending.reserve(call(), Tokens(1))
    assert await counters(documents) == {}


async def test_purging_takes_what_is_old_and_never_todays(documents: Documents, clock: Clock):
    spending = book(documents, clock)
    await spending.prepare()
    await spending.settle(await spending.reserve(call("old"), Tokens(1)), Tokens(1))
    clock.move(days=10)
    await spending.reserve(call("new"), Tokens(1))
    assert await spending.purge(timedelta(days=5).total_seconds()) == 3
    assert await read_usage(documents, run_id="old") == []
    assert len(await read_usage(documents, run_id="new")) == 1
    assert set(await counters(documents)) == {"run:new", "day:2026-11-28"}
    assert await documents.count(TOTALS, {}) == 1
    with pytest.raises(ValueError, match="two days"):
        await spending.purge(86_400)


# Whatever ends in between.


class Failing(InTurnDocuments):
    """A real store that is lost before, or just after, one of the writes to come."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.fails_at: float = 0

    def _step(self) -> None:
        self.fails_at -= 0.5
        if self.fails_at == 0:
            raise Unavailable("store", "lost")

    async def insert(self, *args: Any, **options: Any) -> set[str]:
        self._step()
        done = await super().insert(*args, **options)
        self._step()
        return done

    async def update(self, *args: Any, **options: Any) -> list[bool]:
        self._step()
        done = await super().update(*args, **options)
        self._step()
        return done

    async def upsert(self, *args: Any, **options: Any) -> None:
        self._step()
        await super().upsert(*args, **options)
        self._step()

    async def take(self, *args: Any, **options: Any) -> Document | None:
        self._step()
        done = await super().take(*args, **options)
        self._step()
        return done


@pytest.mark.parametrize("used", [30, 100, 170])
async def test_a_store_lost_at_any_step_never_leaves_less_counted_than_was_spent(
    tmp_path: Path, clock: Clock, used: int
):
    documents = Failing(tmp_path)
    await documents.open()
    spending = book(documents, clock)
    half_steps, is_finished = 0, False
    while not is_finished:
        half_steps += 1
        run_id, reservation = f"run-{half_steps}", None
        documents.fails_at = half_steps / 2
        try:
            reservation = await spending.reserve(call(run_id), Tokens(100))
            await spending.settle(reservation, Tokens(used))
            is_finished = True
        except Unavailable:
            documents.fails_at = 0
            if reservation is not None:
                await spending.settle(reservation, Tokens(used))
        if reservation is not None:
            tokens, nanousd = (await counters(documents))[f"run:{run_id}"]
            assert tokens >= used
            assert nanousd == tokens * 1000
    assert half_steps > 8
    assert (await counters(documents))[f"run:run-{half_steps}"] == (used, used * 1000)
    await documents.close()


# Many at once.


async def test_callers_at_once_never_overspend(documents: Documents, clock: Clock):
    books = [book(documents, clock, tokens_per_day=1000, tokens_per_run=600) for _ in range(3)]

    async def reserve(number: int) -> bool:
        try:
            await books[number % 3].reserve(call("ab"[number % 2]), Tokens(100))
        except BudgetExceeded:
            return False
        return True

    reserved = await asyncio.gather(*(reserve(number) for number in range(40)))
    assert sum(reserved) == 10
    assert (await counters(documents))[TODAY] == (1000, 1_000_000)


async def test_processes_at_once_reserve_exactly_the_budget(tmp_path: Path, clock: Clock):
    plan = (budget_limits(nanousd_per_day=4_050_000), clock())
    counts = await asyncio.to_thread(compete, tmp_path, reserve_until_refused, plan, processes=4)
    assert sum(counts) == 40


async def test_processes_that_settle_and_release_leave_what_their_records_say(
    tmp_path: Path, clock: Clock
):
    limits = budget_limits(tokens_per_day=3000, nanousd_per_run=1_800_000)
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    competing = asyncio.create_task(
        asyncio.to_thread(compete, tmp_path, spend_at_random, (limits, clock()), processes=4)
    )
    while not competing.done():
        seen = await counters(documents)
        assert seen.get(TODAY, (0, 0))[0] <= 3000
        assert all(seen.get(run, (0, 0))[1] <= 1_800_000 for run in ("run:a", "run:b"))
        await asyncio.sleep(0.01)
    assert sum(await competing) > 30
    left = await counters(documents)
    records = await documents.find(USAGE, {})
    assert left[TODAY][0] == sum(record["tokens_in"] for record in records)
    for run in "ab":
        of_run = [record for record in records if record["run_id"] == run]
        assert left[f"run:{run}"][1] == sum(record["nanousd"] for record in of_run)
    await documents.close()


async def test_a_refusal_that_was_overtaken_by_a_settlement_is_thought_over(
    documents: Documents, clock: Clock
):
    chance = random.Random(5)
    spending = book(documents, clock, tokens_per_day=300)

    async def spend() -> None:
        for _ in range(10):
            reservation = await spending.reserve(call(), Tokens(100))
            await asyncio.sleep(chance.random() / 500)
            await spending.settle(reservation, Tokens(0))

    await asyncio.gather(*(spend() for _ in range(3)))
    assert (await counters(documents))[TODAY] == (0, 0)
    await documents.update(BUDGETS, [Update(TODAY, Change(set={"tokens": 201}))])
    await refusal(spending, 100)


# What is counted for metrics.


async def test_tokens_and_cost_are_counted_once_when_they_are_settled(
    documents: Documents, clock: Clock
):
    spending = book(documents, clock)
    reservation = await spending.reserve(call(), Tokens(100))
    released = await spending.reserve(call(), Tokens(100))
    assert Counters(await documents.counters()).total(TOKENS) == 0
    for _ in range(2):
        await spending.settle(reservation, Tokens(60))
        await spending.release(released)
    await spending.record(call(provider="local", model="mini"), Tokens(5, 1))
    counters = Counters(await documents.counters())
    assert counters.value(TOKENS, "openai", "m", "input") == 60
    assert counters.by(TOKENS, "kind", provider="local") == {"input": 5, "output": 1}
    assert counters.value(COST, "openai", "m") == pytest.approx(60_000 / NANO)
    assert counters.total(COST, provider="local") == 0

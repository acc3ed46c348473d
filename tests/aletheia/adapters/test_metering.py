"""What stands between us and a provider."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from aletheia.adapters.metering import Meter, Recorded, key_of
from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.documents import Documents
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    BreakerOpen,
    BudgetExceeded,
    ComputeFailed,
    ConnectionLost,
    InvalidTask,
    Misconfigured,
    QuotaExhausted,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from aletheia.llm.calls import CallPlan, PlannedCall
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.llm.usage import USAGE, Spending, UsageState
from aletheia.logs import about_tasks
from aletheia.metrics import PROVIDER_CALLS, PROVIDER_DURATION
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter, RateLimits, Tier
from aletheia.series import Counters
from tests.aletheia.llm.spenders import PRICES
from tests.aletheia.resilience.conftest import Clock, clock, documents, mongodb_uri
from tests.fakes.tracing import recording
from tests.fakes.usage import budget_limits, read_usage

__all__ = ["clock", "documents", "mongodb_uri"]

USED = Tokens(40)
PLAN = CallPlan("openai", "m", "embedding", "key", Tokens(100), texts=3)


@dataclass(frozen=True)
class Sent:
    """What a request brought."""

    used: Tokens = USED


class Gates:
    """A meter, and what it asks."""

    def __init__(self, documents: Documents, clock: Clock, **options: object) -> None:
        limits = RateLimits(minute=2, hour=100, day=100, week=100, month=100)
        self.documents = documents
        self.limiter = RateLimiter(documents, limits, clock=clock.both)
        self.breakers = CircuitBreaker(documents, threshold=2, cooldown_s=60, clock=clock.both)
        self.spending = Spending(
            documents, PriceTable(PRICES), budget_limits(tokens_per_run=1000), clock=clock
        )
        self.meter = Meter(
            self.limiter,
            self.breakers,
            self.spending,
            run_id="run",
            retry_base_s=0,
            **options,  # pyright: ignore[reportArgumentType] - any option of a test
        )

    async def ask(
        self,
        plan: CallPlan,
        send: Callable[[], Awaitable[Sent]],
        *,
        reach: Callable[[], Awaitable[None]] | None = None,
        probe: PlannedCall[Sent] | None = None,
    ) -> Sent:
        """Send a request through the meter."""
        return await self.meter(PlannedCall(plan, send, reach), probe)

    async def count_usage(self) -> tuple[int, int]:
        """Return how many requests count this minute, and how many tokens count for the run."""
        usage = await self.limiter.usage("openai")
        budgets = {budget.name: budget.spent for budget in await self.spending.budgets("run")}
        return usage[Tier.MINUTE].used, int(budgets["BUDGET_TOKENS_PER_RUN"])


@pytest.fixture
def gates(documents: Documents, clock: Clock) -> Gates:
    return Gates(documents, clock, max_retries=0)


def ending(*outcomes: AletheiaError | Sent) -> Callable[[], Awaitable[Sent]]:
    """Build a request that ends like this, one try after the other."""
    left = list(outcomes)

    async def send() -> Sent:
        outcome = left.pop(0)
        if isinstance(outcome, AletheiaError):
            raise outcome
        return outcome

    return send


async def test_a_request_that_is_not_confirmed_is_neither_sent_nor_charged(
    documents: Documents, clock: Clock
):
    async def refuse() -> None:
        raise asyncio.CancelledError

    async def send() -> Sent:
        raise AssertionError

    gates = Gates(documents, clock, confirm=refuse)
    with pytest.raises(asyncio.CancelledError):
        await gates.ask(PLAN, send)
    assert not await read_usage(documents)
    assert (await gates.limiter.usage("openai"))[Tier.MINUTE].used == 0


async def test_a_request_is_charged_once_and_settled_at_what_it_used(gates: Gates):
    assert await gates.ask(PLAN, ending(Sent())) == Sent()
    assert await gates.count_usage() == (1, 40)
    (record,) = await read_usage(gates.documents, run_id="run")
    assert (record.call.key, record.call.model, record.state) == ("key", "m", UsageState.SETTLED)


async def test_over_a_limit_nothing_is_sent_and_nothing_else_charged(gates: Gates):
    for _ in range(2):
        await gates.ask(PLAN, ending(Sent()))
    with pytest.raises(RateLimited) as caught:
        await gates.ask(PLAN, ending())
    assert caught.value.tiers == ("minute",)
    assert await gates.count_usage() == (2, 80)


async def test_a_provider_that_the_limits_are_not_for_is_held_to_budgets_alone(gates: Gates):
    plan = replace(PLAN, provider="openrouter")
    for _ in range(3):
        assert await gates.ask(plan, ending(Sent())) == Sent()
    assert await gates.count_usage() == (0, 120)


async def test_over_budget_nothing_is_sent_and_no_limit_charged(gates: Gates):
    gates.spending.counters.limits = budget_limits(tokens_per_run=99)
    with pytest.raises(BudgetExceeded):
        await gates.ask(PLAN, ending())
    assert await gates.count_usage() == (0, 0)


async def test_an_open_breaker_charges_nothing(gates: Gates, clock: Clock):
    for _ in range(2):
        with pytest.raises(Unavailable):
            await gates.ask(PLAN, ending(Unreachable("openai", "down")))
    clock.move(seconds=59)
    before = await gates.count_usage()
    with pytest.raises(BreakerOpen):
        await gates.ask(PLAN, ending())
    assert await gates.count_usage() == before
    clock.move(seconds=2)
    assert await gates.ask(PLAN, ending(Sent())) == Sent()


async def test_a_probe_that_a_limit_holds_back_lets_another_one_try(gates: Gates, clock: Clock):
    for _ in range(2):
        with pytest.raises(Unavailable):
            await gates.ask(PLAN, ending(Unreachable("openai", "down")))
    clock.move(seconds=61)
    gates.spending.counters.limits = budget_limits(tokens_per_run=1)
    with pytest.raises(BudgetExceeded):
        await gates.ask(PLAN, ending())
    gates.spending.counters.limits = budget_limits()
    assert await gates.ask(PLAN, ending(Sent())) == Sent()


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        pytest.param(Unreachable("openai", "no route"), 0, id="nothing was sent"),
        pytest.param(Unavailable("openai", "timeout"), 100, id="it may have been done"),
        pytest.param(Unavailable("openai", "cut", status=200), 100, id="cut in the answer"),
        pytest.param(Unavailable("openai", "busy", status=503), 0, id="an error is not charged"),
        pytest.param(Unavailable("openai", "slow down", 9, 429), 0, id="429"),
        pytest.param(Unauthorized("openai", 401), 0, id="wrong key"),
        pytest.param(Refused("openai", 400), 0, id="refused"),
        pytest.param(InvalidTask("input_too_long", "too long"), 0, id="the text's own fault"),
        pytest.param(BadAnswer("openai", "html", status=200), 100, id="done, and of no use"),
    ],
)
async def test_what_may_have_been_charged_counts_as_spent(
    gates: Gates, error: AletheiaError, counted: int
):
    with pytest.raises(type(error)):
        await gates.ask(PLAN, ending(error))
    assert await gates.count_usage() == (1, counted)


async def test_every_try_is_counted(documents: Documents, clock: Clock):
    gates = Gates(documents, clock, max_retries=3)
    busy = Unavailable("openai", "busy", status=500)
    assert await gates.ask(PLAN, ending(busy, Sent())) == Sent()
    assert await gates.count_usage() == (2, 40)


async def test_tries_end_where_a_limit_ends_them(documents: Documents, clock: Clock):
    gates = Gates(documents, clock, max_retries=5)
    gates.breakers = CircuitBreaker(documents, threshold=9, cooldown_s=60, clock=clock.both)
    with pytest.raises((RateLimited, BreakerOpen)):
        await gates.ask(PLAN, ending(*[Unavailable("openai", "busy", status=500)] * 9))
    assert (await gates.count_usage())[0] == 2


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Unavailable("openai", "slow down", 5.5, 429), id="asks for too long"),
        pytest.param(QuotaExhausted("openai", "unpaid", None, 429), id="waiting does not help"),
        pytest.param(Unauthorized("openai", 401), id="a wrong key stays wrong"),
    ],
)
async def test_what_another_try_cannot_mend_is_tried_once(
    documents: Documents, clock: Clock, error: AletheiaError
):
    gates = Gates(documents, clock, max_retries=3)
    with pytest.raises(type(error)):
        await gates.ask(PLAN, ending(error))
    assert (await gates.count_usage())[0] == 1


async def test_texts_can_be_what_counts(documents: Documents, clock: Clock):
    gates = Gates(documents, clock, unit="task", max_retries=0)
    with pytest.raises(Misconfigured, match="RATE_LIMIT_PER_MINUTE"):
        await gates.ask(PLAN, ending())
    assert gates.meter.max_texts(2048) == 2
    assert await gates.meter.capacity("openai", "m", "embedding", [[1, 1, 1]]) == 2
    gates.limiter.limits = RateLimits(minute=4, hour=9, day=9, week=9, month=9)
    await gates.ask(PLAN, ending(Sent()))
    assert await gates.meter.capacity("openai", "m", "embedding", [[1, 1, 1]]) == 1


async def test_capacity_is_what_the_budget_has_left(gates: Gates):
    assert await gates.meter.capacity("openai", "m", "embedding", [[400, 400, 400]]) == 2
    assert await gates.meter.capacity("openai", "m", "embedding", [[1000, 1]]) == 1
    with pytest.raises(BudgetExceeded) as caught:
        await gates.meter.capacity("openai", "m", "embedding", [[1001]])
    assert caught.value.asked == 1001
    gates.spending.counters.limits = budget_limits(nanousd_per_day=2_000_000)
    assert await gates.meter.capacity("openai", "m", "embedding", [[1000, 1000, 1]]) == 2
    assert await gates.count_usage() == (0, 0)


async def test_there_is_no_capacity_over_a_limit_or_behind_an_open_breaker(gates: Gates):
    for _ in range(2):
        await gates.ask(PLAN, ending(Sent()))
    with pytest.raises(RateLimited):
        await gates.meter.capacity("openai", "m", "embedding", [[1]])
    assert await gates.meter.capacity("ollama", "m", "embedding", [[1]]) == 1
    for _ in range(2):
        permit = await gates.breakers.admit("ollama")
        await gates.breakers.fail(permit, "down")
    with pytest.raises(BreakerOpen):
        await gates.meter.capacity("ollama", "m", "embedding", [[1]])


async def test_a_request_that_is_cancelled_counts_as_spent(gates: Gates):
    started = asyncio.Event()

    async def send() -> Sent:
        started.set()
        await asyncio.sleep(60)
        return Sent()

    calling = asyncio.create_task(gates.ask(PLAN, send))
    await started.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert await gates.count_usage() == (1, 100)


async def test_what_costs_nothing_is_written_down_all_the_same(gates: Gates):
    embedder = Recorded(MockEmbedder(default_model="m"), gates.spending, "run")
    model = embedder.canonical_model(None)
    async for _ in embedder.embed(model, ["one two", "three"]):
        pass
    (record,) = await read_usage(gates.documents, run_id="run")
    assert (record.call.provider, record.call.is_mock, record.nanousd) == ("mock", True, 0)
    assert record.call.key == key_of(model, ["one two", "three"])
    assert record.tokens.total > 0
    budgets = await gates.spending.budgets("run")
    assert {budget.spent for budget in budgets} == {0, Decimal(0)}


async def test_capacity_counts_the_requests_that_would_be_sent(gates: Gates):
    requests = [[10, 10], [10], [10, 10]]
    assert await gates.meter.capacity("openai", "m", "embedding", requests) == 3
    await gates.ask(PLAN, ending(Sent()))
    assert await gates.meter.capacity("openai", "m", "embedding", requests) == 2


async def test_while_nobody_is_there_no_limit_is_charged(gates: Gates, clock: Clock):
    reached: list[bool] = []

    async def reach() -> None:
        reached.append(False)
        raise Unreachable("openai", "no route")

    for _ in range(2):
        with pytest.raises(Unreachable):
            await gates.ask(PLAN, ending(Unreachable("openai", "no route")), reach=reach)
    # The first one had to be sent to find out; from then on somebody looks first.
    assert (await gates.count_usage(), len(reached)) == ((1, 0), 1)
    for _ in range(3):
        clock.move(seconds=61)
        with pytest.raises(Unreachable):
            await gates.ask(PLAN, ending(), reach=reach)
        with pytest.raises(BreakerOpen):
            await gates.ask(PLAN, ending(), reach=reach)
    assert len(reached) == 4
    assert (await gates.limiter.usage("openai"))[Tier.DAY].used == 1

    async def find() -> None:
        reached.append(True)

    clock.move(seconds=61)
    assert await gates.ask(PLAN, ending(Sent()), reach=find) == Sent()
    assert await gates.ask(PLAN, ending(Sent()), reach=find) == Sent()
    assert reached.count(True) == 1


BROKEN = Unavailable("openai", "end of file", status=500)
HARMLESS = replace(PLAN, key="probe", max_tokens=Tokens(5), texts=1)


def make_probe(*outcomes: AletheiaError | Sent) -> PlannedCall[Sent]:
    return PlannedCall(HARMLESS, ending(*outcomes))


@pytest.fixture
def wide(documents: Documents, clock: Clock) -> Gates:
    """Gates that let three tries through, with a breaker that opens at the second failure."""
    gates = Gates(documents, clock, max_retries=3)
    gates.limiter.limits = RateLimits(minute=100, hour=100, day=100, week=100, month=100)
    return gates


@pytest.mark.parametrize("status", [424, 500, 502])
async def test_a_request_that_fails_twice_while_a_probe_passes_is_the_culprit(
    wide: Gates, status: int
):
    error = Unavailable("openai", "end of file", status=status)
    for _ in range(5):
        with pytest.raises(ComputeFailed, match="end of file") as caught:
            await wide.ask(PLAN, ending(error, error), probe=make_probe(Sent()))
        assert caught.value.code == "provider_cannot"
    assert {state.failures for state in await wide.breakers.states()} <= {0}
    assert (await wide.count_usage())[0] == 15


async def test_a_request_that_loses_its_connection_twice_may_be_the_culprit_and_costs(wide: Gates):
    lost = ConnectionLost("openai", "connection lost")
    with pytest.raises(ComputeFailed, match="connection lost"):
        await wide.ask(PLAN, ending(lost, lost), probe=make_probe(Sent()))
    assert {state.failures for state in await wide.breakers.states()} <= {0}
    assert (await wide.count_usage())[1] >= 2 * PLAN.max_tokens.input


async def test_no_probe_is_sent_where_others_pass_meanwhile(wide: Gates):
    async def fail() -> Sent:
        await wide.ask(replace(PLAN, key="other"), ending(Sent()))
        raise BROKEN

    with pytest.raises(ComputeFailed):
        await wide.ask(PLAN, fail, probe=make_probe())


async def test_a_request_that_passes_the_second_time_is_no_culprit(wide: Gates):
    assert await wide.ask(PLAN, ending(BROKEN, Sent()), probe=make_probe()) == Sent()


async def test_an_outage_of_everything_is_the_providers(wide: Gates):
    with pytest.raises(BreakerOpen):
        await wide.ask(PLAN, ending(*[BROKEN] * 9), probe=make_probe(BROKEN))
    with pytest.raises(BreakerOpen):
        await wide.ask(PLAN, ending())


async def test_without_retries_a_server_error_is_tried_twice_to_tell_whose_it_is(gates: Gates):
    gates.limiter.limits = RateLimits(minute=100, hour=100, day=100, week=100, month=100)
    assert await gates.ask(PLAN, ending(BROKEN, Sent()), probe=make_probe()) == Sent()
    with pytest.raises(ComputeFailed):
        await gates.ask(PLAN, ending(BROKEN, BROKEN), probe=make_probe(Sent()))
    with pytest.raises(Unavailable):
        await gates.ask(PLAN, ending(BROKEN, BROKEN), probe=make_probe(BROKEN))
    with pytest.raises(Unreachable):
        await gates.ask(PLAN, ending(Unreachable("openai", "down")), probe=make_probe())


async def test_an_outage_that_says_when_it_ends_opens_the_breaker(wide: Gates):
    busy = Unavailable("openai", "busy", 30.0, 503)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await wide.ask(PLAN, ending(busy), probe=make_probe())
    with pytest.raises(BreakerOpen):
        await wide.ask(PLAN, ending(), probe=make_probe())


async def test_a_culprit_is_found_whatever_short_wait_is_asked_for(wide: Gates):
    busy = Unavailable("openai", "busy", 0.001, 503)
    with pytest.raises(ComputeFailed):
        await wide.ask(PLAN, ending(busy, busy), probe=make_probe(Sent()))


async def test_a_breaker_is_probed_with_harmless_words(wide: Gates, clock: Clock):
    with pytest.raises(BreakerOpen):
        await wide.ask(PLAN, ending(*[Unreachable("openai", "down")] * 4))
    clock.move(seconds=61)
    with pytest.raises(BreakerOpen):
        await wide.ask(PLAN, ending(), probe=make_probe(BROKEN))
    clock.move(seconds=61)
    with pytest.raises(ComputeFailed):
        await wide.ask(PLAN, ending(BROKEN, BROKEN), probe=make_probe(Sent()))
    assert await wide.ask(PLAN, ending(Sent()), probe=make_probe()) == Sent()


async def test_a_probe_that_may_not_be_sent_defers_the_request(wide: Gates):
    wide.limiter.limits = RateLimits(minute=2, hour=9, day=9, week=9, month=9)
    with pytest.raises(RateLimited):
        await wide.ask(PLAN, ending(BROKEN, BROKEN), probe=make_probe())


async def test_calls_are_counted_by_how_they_ended(gates: Gates):
    await gates.ask(PLAN, ending(Sent()))
    with pytest.raises(Unavailable):
        await gates.ask(PLAN, ending(Unavailable("openai", "down", status=503)))
    counters = Counters(await gates.documents.counters())
    assert counters.by(PROVIDER_CALLS, "outcome", provider="openai") == {
        "succeeded": 1,
        "failed": 1,
    }
    assert counters.histogram(PROVIDER_DURATION, "openai", "embedding").count == 2


async def test_a_refused_call_is_none(gates: Gates):
    with pytest.raises(BudgetExceeded):
        await gates.ask(replace(PLAN, max_tokens=Tokens(2000)), ending(Sent()))
    assert Counters(await gates.documents.counters()).total(PROVIDER_CALLS) == 0


async def test_a_local_model_is_counted_without_the_time_of_who_takes_its_answers(gates: Gates):
    recorded = Recorded(MockEmbedder(), gates.spending, "run")
    async for _ in recorded.embed(recorded.canonical_model(None), ["a text"]):
        await asyncio.sleep(0.3)
    counters = Counters(await gates.documents.counters())
    took = counters.histogram(PROVIDER_DURATION, "mock", "embedding")
    assert (took.count, counters.total(PROVIDER_CALLS, outcome="succeeded")) == (1, 1)
    assert took.total < 0.25


async def test_a_call_names_the_tasks_and_the_run_that_it_is_made_for(gates: Gates):
    traced = recording()
    recorded = Recorded(MockEmbedder(default_model="m"), gates.spending, "run")
    with about_tasks(["t1", "t2"]) as computation:
        await gates.ask(PLAN, ending(Sent()))
        async for _ in recorded.embed("m", ["a", "b"]):
            pass
    await gates.ask(PLAN, ending(Sent()))
    found = await gates.documents.find(USAGE, {"computation": computation.id})
    assert sorted((call["provider"], call["tasks"]) for call in found) == [
        ("mock", 2),
        ("openai", 2),
    ]
    *of_tasks, of_none = traced.named("embeddings m")
    assert len(of_tasks) == 2
    for span in of_tasks:
        assert span.attributes["aletheia.task.ids"] == ["t1", "t2"]
        assert span.attributes["aletheia.computation.id"] == computation.id
        assert span.attributes["aletheia.run.id"] == "run"
    assert "aletheia.task.ids" not in of_none.attributes
    (unattributed,) = await gates.documents.find(USAGE, {"computation": None})
    assert unattributed["tasks"] == 0

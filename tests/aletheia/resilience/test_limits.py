import asyncio
import random
import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Documents
from aletheia.errors import Misconfigured, RateLimited
from aletheia.resilience import limits as limits_module
from aletheia.resilience.limits import (
    GRANTS,
    REFUSALS,
    Grant,
    RateLimiter,
    RateLimits,
    Strategy,
    Tier,
    counts_since,
    counts_until,
)
from aletheia.settings import RateLimitSettings
from bench.limiter import count_violations, measure_limiter
from tests.aletheia.resilience.conftest import EPOCH, Clock
from tests.aletheia.resilience.contenders import acquire_until_refused, compete

PLENTY = 1_000_000
MICROSECOND = timedelta(microseconds=1)


def limits(**tiers: int) -> RateLimits:
    return RateLimits(**{tier: tiers.get(tier, PLENTY) for tier in Tier})


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def micros(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


async def refusal(limiter: RateLimiter, weight: int = 1, provider: str = "openai") -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        await limiter.acquire(provider, weight)
    return caught.value


async def used(limiter: RateLimiter, provider: str = "openai") -> dict[Tier, int]:
    return {tier: usage.used for tier, usage in (await limiter.usage(provider)).items()}


# Windows.


@pytest.mark.parametrize(
    ("tier", "length"),
    [
        (Tier.MINUTE, timedelta(minutes=1)),
        (Tier.HOUR, timedelta(hours=1)),
        (Tier.DAY, timedelta(days=1)),
        (Tier.WEEK, timedelta(days=7)),
        (Tier.MONTH, timedelta(days=30)),
    ],
)
async def test_a_rolling_window_is_exact_to_the_microsecond(
    documents: Documents, clock: Clock, tier: Tier, length: timedelta
):
    limiter = RateLimiter(documents, limits(**{tier: 2}), clock=clock.both)
    first = await limiter.acquire("openai")
    assert first.at == micros(clock.now)
    clock.now += length - MICROSECOND
    second = await limiter.acquire("openai")
    refused = await refusal(limiter)
    assert (refused.until, refused.tiers) == (EPOCH + first.at * MICROSECOND + length, (tier,))
    clock.now += MICROSECOND
    await limiter.acquire("openai")
    refused = await refusal(limiter)
    assert refused.until == EPOCH + second.at * MICROSECOND + length


@pytest.mark.parametrize(
    ("tier", "last", "first"),
    [
        (Tier.MINUTE, "2026-11-18T10:00:59.999999", "2026-11-18T10:01:00"),
        (Tier.HOUR, "2026-11-18T10:59:59.999999", "2026-11-18T11:00:00"),
        (Tier.DAY, "2026-12-31T23:59:59.999999", "2027-01-01T00:00:00"),
        (Tier.WEEK, "2026-11-22T23:59:59.999999", "2026-11-23T00:00:00"),
        (Tier.WEEK, "2026-12-27T23:59:59.999999", "2026-12-28T00:00:00"),
        (Tier.MONTH, "2026-11-30T23:59:59.999999", "2026-12-01T00:00:00"),
        (Tier.MONTH, "2026-12-31T23:59:59.999999", "2027-01-01T00:00:00"),
        (Tier.MONTH, "2027-02-28T23:59:59.999999", "2027-03-01T00:00:00"),
        (Tier.MONTH, "2028-02-29T23:59:59.999999", "2028-03-01T00:00:00"),
    ],
)
async def test_a_fixed_window_ends_with_the_utc_calendars(
    documents: Documents, clock: Clock, tier: Tier, last: str, first: str
):
    limiter = RateLimiter(documents, limits(**{tier: 1}), strategy="fixed", clock=clock.both)
    clock.now = moment(last)
    await limiter.acquire("openai")
    refused = await refusal(limiter)
    assert (refused.until, refused.tiers) == (moment(first), (tier,))
    clock.now = moment(first)
    await limiter.acquire("openai")
    await refusal(limiter)


@pytest.mark.parametrize(
    ("tier", "at", "begin", "end"),
    [
        (Tier.MONTH, "2028-02-10T05:06:07", "2028-02-01", "2028-03-01"),
        (Tier.MONTH, "2027-02-28T23:59:59", "2027-02-01", "2027-03-01"),
        (Tier.MONTH, "2026-01-31T00:00:00", "2026-01-01", "2026-02-01"),
        (Tier.MONTH, "2026-04-30T23:00:00", "2026-04-01", "2026-05-01"),
        (Tier.MONTH, "2000-02-29T12:00:00", "2000-02-01", "2000-03-01"),
        (Tier.WEEK, "2026-11-18T10:00:00", "2026-11-16", "2026-11-23"),
        (Tier.WEEK, "2026-11-16T00:00:00", "2026-11-16", "2026-11-23"),
        (Tier.WEEK, "2028-02-29T12:00:00", "2028-02-28", "2028-03-06"),
        (Tier.DAY, "2028-02-29T23:59:59", "2028-02-29", "2028-03-01"),
    ],
)
def test_a_fixed_window_is_that_of_the_calendar(tier: Tier, at: str, begin: str, end: str):
    assert counts_since("fixed", tier, micros(moment(at))) == micros(moment(begin))
    assert counts_until("fixed", tier, micros(moment(at))) == micros(moment(end))


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("change", ["2026-03-29T01:00:00", "2026-10-25T01:00:00"])
async def test_the_time_zone_of_the_machine_and_its_summer_time_change_nothing(
    tmp_path: Path, clock: Clock, change: str
):
    assert time.localtime(moment("2026-07-01").timestamp()).tm_isdst
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    fixed = RateLimiter(documents, limits(day=1), strategy="fixed", clock=clock.both)
    rolling = RateLimiter(documents, limits(day=1), clock=clock.both)
    clock.now = moment(change) - MICROSECOND
    await fixed.acquire("fixed")
    await rolling.acquire("rolling")
    clock.now += MICROSECOND
    day = moment(change).replace(hour=0) + timedelta(days=1)
    assert (await refusal(fixed, provider="fixed")).until == day
    until = (await refusal(rolling, provider="rolling")).until
    assert until == moment(change) - MICROSECOND + timedelta(days=1)
    await documents.close()


# All tiers at once.


async def test_a_call_refused_in_one_tier_is_charged_in_none(documents: Documents, clock: Clock):
    limiter = RateLimiter(documents, limits(minute=1, hour=3, day=5), clock=clock.both)
    for _ in range(3):
        await limiter.acquire("openai")
        for _ in range(4):
            await refusal(limiter)
        clock.move(minutes=1)
    refused = await refusal(limiter)
    assert refused.tiers == ("hour",)
    assert await used(limiter) == {tier: 0 if tier is Tier.MINUTE else 3 for tier in Tier}


async def test_the_next_call_is_allowed_when_the_last_of_the_tiers_admits_it(
    documents: Documents, clock: Clock
):
    limiter = RateLimiter(documents, limits(minute=2, hour=2, week=2), clock=clock.both)
    began = clock.now
    await limiter.acquire("openai")
    clock.move(seconds=1)
    await limiter.acquire("openai")
    refused = await refusal(limiter)
    assert refused.tiers == ("minute", "hour", "week")
    assert refused.until == began + timedelta(days=7)
    assert refused.code == "rate_limited"
    assert refused.retryable
    assert refused.until is not None
    clock.now = refused.until - MICROSECOND
    await refusal(limiter)
    clock.now = refused.until
    await limiter.acquire("openai")


async def test_a_longer_tier_may_have_the_smaller_limit(documents: Documents, clock: Clock):
    limiter = RateLimiter(documents, limits(minute=9, hour=4, day=7, month=3), clock=clock.both)
    for _ in range(3):
        await limiter.acquire("openai")
    assert (await refusal(limiter)).tiers == ("month",)


async def test_every_provider_has_counters_of_its_own(documents: Documents, clock: Clock):
    limiter = RateLimiter(documents, limits(minute=1), clock=clock.both)
    await limiter.acquire("openai")
    await limiter.acquire("ollama")
    await limiter.acquire("openai-2")
    await refusal(limiter)
    await refusal(limiter, provider="ollama")
    assert await limiter.providers() == ["ollama", "openai", "openai-2"]


@pytest.mark.parametrize("provider", ["", "Open AI", "openai:1", "9", "a" * 64])
async def test_an_odd_name_of_a_provider_is_refused(
    documents: Documents, clock: Clock, provider: str
):
    with pytest.raises(ValueError, match="name"):
        await RateLimiter(documents, limits(), clock=clock.both).acquire(provider)


async def test_looking_charges_nothing_and_agrees_with_the_next_call(
    documents: Documents, clock: Clock
):
    limiter = RateLimiter(documents, limits(minute=2), clock=clock.both)
    assert await limiter.peek("openai") is None
    await limiter.acquire("openai")
    assert await limiter.peek("openai") is None
    assert await limiter.peek("openai", 2) == clock.now + timedelta(minutes=1)
    await limiter.acquire("openai")
    until = await limiter.peek("openai")
    assert until == (await refusal(limiter)).until == clock.now + timedelta(minutes=1)
    assert (await limiter.usage("openai"))[Tier.MINUTE].refusals == 1


# Weights.


async def test_a_call_of_many_units_is_granted_whole_or_not_at_all(
    documents: Documents, clock: Clock
):
    limiter = RateLimiter(documents, limits(minute=10), clock=clock.both)
    began = clock.now
    assert (await limiter.acquire("openai", 6)).weight == 6
    clock.move(seconds=10)
    await limiter.acquire("openai", 3)
    clock.move(seconds=10)
    assert (await refusal(limiter, 2)).until == began + timedelta(seconds=60)
    assert await used(limiter) == dict.fromkeys(Tier, 9)
    await limiter.acquire("openai", 1)
    assert (await refusal(limiter, 7)).until == began + timedelta(seconds=70)
    clock.now = began + timedelta(seconds=60)
    await limiter.acquire("openai", 6)
    assert await used(limiter) == {tier: 10 if tier is Tier.MINUTE else 16 for tier in Tier}


async def test_a_weight_above_a_limit_is_never_allowed_and_says_which(
    documents: Documents, clock: Clock
):
    limiter = RateLimiter(documents, limits(minute=20, hour=15), clock=clock.both)
    assert limiter.limits is not None
    assert limiter.limits.max_weight == 15
    for ask in (limiter.acquire, limiter.peek):
        with pytest.raises(Misconfigured, match=r"RATE_LIMIT_PER_HOUR: it is 15.* counts 16"):
            await ask("openai", 16)
    await limiter.acquire("openai", 15)


@pytest.mark.parametrize("weight", [0, -1])
async def test_a_call_without_weight_is_none(documents: Documents, clock: Clock, weight: int):
    with pytest.raises(ValueError, match="weight"):
        await RateLimiter(documents, limits(), clock=clock.both).acquire("openai", weight)


# Over time.


@pytest.mark.parametrize("strategy", ["rolling", "fixed"])
async def test_a_restart_in_the_middle_of_a_window_keeps_the_count(
    tmp_path: Path, clock: Clock, strategy: Strategy
):
    began = clock.now
    for number in range(3):
        documents = EmbeddedDocuments(tmp_path)
        await documents.open()
        limiter = RateLimiter(documents, limits(hour=3), strategy=strategy, clock=clock.both)
        assert (await limiter.acquire("openai")).first == number + 1
        await documents.close()
        clock.move(minutes=5)
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    limiter = RateLimiter(documents, limits(hour=3), strategy=strategy, clock=clock.both)
    free = began + timedelta(hours=1) if strategy == "rolling" else moment("2026-11-18T11:00")
    assert (await refusal(limiter)).until == free
    await documents.close()


@pytest.mark.parametrize("strategy", ["rolling", "fixed"])
@pytest.mark.parametrize("back", [MICROSECOND, timedelta(hours=3), timedelta(days=40)])
async def test_a_clock_moved_back_never_frees_quota(
    documents: Documents, clock: Clock, strategy: Strategy, back: timedelta
):
    tight = limits(minute=2, hour=3)
    limiter = RateLimiter(documents, tight, strategy=strategy, clock=clock.both)
    await limiter.acquire("openai")
    before = await limiter.acquire("openai")
    full = await refusal(limiter)
    clock.now -= back
    for again in (limiter, RateLimiter(documents, tight, strategy=strategy, clock=clock.both)):
        assert (await refusal(again)).until == full.until
    assert full.until is not None
    clock.now = full.until
    grant = await limiter.acquire("openai")
    clock.now -= back
    refused = await refusal(limiter)
    assert refused.until is not None
    assert micros(refused.until) >= grant.at > before.at
    assert await used(limiter) == {tier: 1 if tier is Tier.MINUTE else 3 for tier in Tier}


async def test_a_clock_that_goes_back_and_forth_frees_no_quota(documents: Documents, clock: Clock):
    limiter = RateLimiter(documents, limits(hour=2), clock=clock.both)
    await limiter.acquire("openai", 2)
    until = (await refusal(limiter)).until
    for _ in range(2):
        clock.set(minutes=-61)
        await refusal(limiter)
        clock.set(minutes=61)
        assert (await refusal(limiter)).until == until


async def test_while_the_clock_is_behind_grants_bear_the_time_of_the_last_one(
    documents: Documents, clock: Clock
):
    limiter = RateLimiter(documents, limits(minute=3), clock=clock.both)
    first = await limiter.acquire("openai")
    clock.move(minutes=-30)
    second = await limiter.acquire("openai")
    assert second.at == first.at


async def test_limits_that_change_hold_at_once(documents: Documents, clock: Clock):
    limiter = RateLimiter(documents, limits(hour=2), clock=clock.both)
    began = clock.now
    for _ in range(2):
        await limiter.acquire("openai")
        clock.move(seconds=1)
    await refusal(limiter)
    limiter.limits = limits(hour=4)
    await limiter.acquire("openai")
    clock.move(seconds=1)
    await limiter.acquire("openai")
    limiter.limits = limits(hour=1)
    usage = (await limiter.usage("openai"))[Tier.HOUR]
    assert (usage.used, usage.limit) == (4, 1)
    assert (await refusal(limiter)).until == began + timedelta(hours=1, seconds=3)
    limiter.limits = limits(hour=3)
    assert (await refusal(limiter)).until == began + timedelta(hours=1, seconds=1)


async def test_another_strategy_counts_what_was_granted_before(documents: Documents, clock: Clock):
    clock.now = moment("2026-11-18T10:50:00")
    limiter = RateLimiter(documents, limits(hour=1), clock=clock.both)
    await limiter.acquire("openai")
    clock.move(minutes=5)
    limiter.strategy = "fixed"
    assert (await refusal(limiter)).until == moment("2026-11-18T11:00:00")
    clock.now = moment("2026-11-18T11:00:00")
    await limiter.acquire("openai")
    limiter.strategy = "rolling"
    assert (await refusal(limiter)).until == moment("2026-11-18T12:00:00")


async def test_without_limits_everything_is_granted_and_nothing_written(
    documents: Documents, clock: Clock
):
    limits = RateLimits.from_settings(RateLimitSettings(rate_limit_enabled=False))
    limiter = RateLimiter(documents, limits, clock=clock.both)
    for _ in range(30):
        assert (await limiter.acquire("openai", 1000)).first == 0
    assert await limiter.peek("openai") is None
    assert await documents.count(GRANTS, {}) == 0
    assert (await limiter.usage("openai"))[Tier.MINUTE].limit is None


def test_the_defaults_are_those_of_the_specification():
    settings = RateLimitSettings(_env_file=None)  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument
    limits = RateLimits(minute=20, hour=100, day=500, week=2000, month=7500)
    assert RateLimits.from_settings(settings) == limits
    assert settings.rate_limit_strategy == "rolling"
    assert settings.rate_limit_unit == "request"


# Looking and tidying.


async def test_usage_says_what_counts_what_may_and_until_when(documents: Documents, clock: Clock):
    limiter = RateLimiter(documents, limits(minute=2, hour=5), clock=clock.both)
    await limiter.prepare()
    began = clock.now
    assert {usage.frees_at for usage in (await limiter.usage("openai")).values()} == {None}
    await limiter.acquire("openai", 2)
    clock.move(seconds=60)
    await limiter.acquire("openai")
    await limiter.acquire("openai")
    for _ in range(3):
        await refusal(limiter)
    clock.move(seconds=1)
    usage = await limiter.usage("openai")
    minute, hour = usage[Tier.MINUTE], usage[Tier.HOUR]
    assert (minute.used, minute.limit, minute.refusals) == (2, 2, 3)
    assert minute.frees_at == began + timedelta(seconds=120)
    assert (hour.used, hour.limit, hour.refusals) == (4, 5, 0)
    assert hour.frees_at == began + timedelta(hours=1)


async def test_refusals_are_counted_in_every_tier_that_refused(documents: Documents, clock: Clock):
    limiter = RateLimiter(documents, limits(minute=1, day=1), clock=clock.both)
    await limiter.acquire("openai")
    await refusal(limiter)
    clock.move(minutes=1)
    await refusal(limiter)
    usage = await limiter.usage("openai")
    assert {tier: one.refusals for tier, one in usage.items() if one.refusals} == {
        Tier.MINUTE: 1,
        Tier.DAY: 2,
    }
    assert await documents.count(REFUSALS, {}) == 1


@pytest.mark.parametrize("strategy", ["rolling", "fixed"])
async def test_purging_takes_only_what_counts_no_more_and_never_the_newest(
    documents: Documents, clock: Clock, strategy: Strategy
):
    limiter = RateLimiter(documents, limits(month=4), strategy=strategy, clock=clock.both)
    clock.now = moment("2027-01-01")
    await limiter.acquire("openai", 2)
    clock.now = moment("2027-01-31T23:59:59")
    await limiter.acquire("openai")
    clock.now = moment("2027-02-01T00:00:01")
    assert await limiter.purge() == 1
    assert (await used(limiter))[Tier.MONTH] == (1 if strategy == "rolling" else 0)
    clock.now = moment("2027-06-01")
    assert await limiter.purge() == 0
    assert await documents.count(GRANTS, {}) == 1
    fresh = RateLimiter(documents, limits(month=4), strategy=strategy, clock=clock.both)
    assert (await fresh.acquire("openai", 4)).first == 4
    await refusal(fresh)
    assert await fresh.purge() == 1
    await refusal(fresh)


async def test_a_process_far_behind_sees_all_that_others_were_granted(tmp_path: Path, clock: Clock):
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    idle = RateLimiter(documents, limits(hour=1502), clock=clock.both)
    at = (await idle.acquire("openai")).at
    others = [
        {"_id": f"openai:{n:016}", "provider": "openai", "first": n, "weight": 1, "at": at}
        for n in range(2, 1502)
    ]
    await documents.insert(GRANTS, others)
    assert await idle.peek("openai", 2) == clock.now + timedelta(hours=1)
    assert (await idle.acquire("openai")).first == 1502
    await refusal(idle)
    await documents.close()


async def test_a_store_that_was_cleared_does_not_split_the_log(documents: Documents, clock: Clock):
    old = RateLimiter(documents, limits(hour=10), clock=clock.both)
    for _ in range(3):
        await old.acquire("openai")
    await documents.delete(GRANTS, {})
    new = RateLimiter(documents, limits(hour=10), clock=clock.both)
    await new.acquire("openai")
    assert (await old.acquire("openai")).first == 4
    assert (await new.acquire("openai")).first == 5
    assert (await old.acquire("openai")).first == 6


# Many at once.


@pytest.mark.parametrize("strategy", ["rolling", "fixed"])
async def test_callers_at_once_are_granted_exactly_the_limit(
    documents: Documents, clock: Clock, strategy: Strategy
):
    limiters = [
        RateLimiter(documents, limits(minute=17, hour=23), strategy=strategy, clock=clock.both)
        for _ in range(3)
    ]

    async def ask(limiter: RateLimiter) -> Grant | None:
        try:
            return await limiter.acquire("openai")
        except RateLimited:
            return None

    for allowed in (17, 6, 0):
        answers = await asyncio.gather(*(ask(limiters[n % 3]) for n in range(30)))
        grants = [answer for answer in answers if answer is not None]
        assert len(grants) == len({grant.first for grant in grants}) == allowed
        clock.move(minutes=1)


async def test_processes_at_once_are_granted_exactly_the_limit(tmp_path: Path):
    answers = await asyncio.to_thread(
        compete, tmp_path, acquire_until_refused, (limits(hour=150), 1_800_000_000.0), processes=4
    )
    grants = [grant for answer in answers for grant in answer]
    assert sorted(grant.first for grant in grants) == list(range(1, 151))


@pytest.mark.parametrize("strategy", ["rolling", "fixed"])
def test_processes_at_once_break_no_limit_while_windows_end(strategy: Strategy):
    figures = measure_limiter(checks=1600, processes=4, strategy=strategy)
    assert figures.violations == 0
    assert figures.checks == figures.granted + figures.refused == 1600


def test_what_breaks_a_limit_is_found():
    at = micros(moment("2026-11-18T10:00:00"))
    good = [Grant(n + 1, 1, at + 30_000_000 * n) for n in range(9)]
    assert count_violations(good, limits(minute=2), "rolling") == 0
    assert count_violations(good, limits(minute=1), "rolling") == 8
    assert count_violations(good, limits(minute=1), "fixed") == 4
    assert count_violations([*good, good[3]], limits(minute=3), "rolling") == 1


# Against a model that counts everything each time.


class Model:
    """What the limiter must answer, worked out from all grants there ever were."""

    def __init__(self) -> None:
        self.grants: list[tuple[datetime, int]] = []

    def now(self, at: datetime) -> datetime:
        return max([at, *(grant[0] for grant in self.grants[-1:])])

    def used(self, tier: Tier, strategy: Strategy, at: datetime) -> int:
        return sum(
            weight
            for then, weight in self.grants
            if (
                at - then < ROLLING[tier]
                if strategy == "rolling"
                else fixed_window(tier, at) == fixed_window(tier, then)
            )
        )

    def allowed_at(
        self, weight: int, of: RateLimits, strategy: Strategy, at: datetime
    ) -> tuple[datetime, set[Tier]]:
        """Try all moments at which something ends, in order."""
        ends = {at}
        for tier in Tier:
            ends |= {then + ROLLING[tier] for then, _ in self.grants}
            ends.add(next_window(tier, at))
        refusing = {tier for tier in Tier if self.used(tier, strategy, at) + weight > of.of(tier)}
        for end in sorted(end for end in ends if end >= at):
            if all(self.used(tier, strategy, end) + weight <= of.of(tier) for tier in Tier):
                return end, refusing
        raise AssertionError


ROLLING = {
    Tier.MINUTE: timedelta(minutes=1),
    Tier.HOUR: timedelta(hours=1),
    Tier.DAY: timedelta(days=1),
    Tier.WEEK: timedelta(days=7),
    Tier.MONTH: timedelta(days=30),
}


def fixed_window(tier: Tier, at: datetime) -> tuple[int, ...]:
    match tier:
        case Tier.MINUTE:
            return (at.year, at.month, at.day, at.hour, at.minute)
        case Tier.HOUR:
            return (at.year, at.month, at.day, at.hour)
        case Tier.DAY:
            return (at.year, at.month, at.day)
        case Tier.WEEK:
            return at.isocalendar()[:2]
        case Tier.MONTH:
            return (at.year, at.month)


def next_window(tier: Tier, at: datetime) -> datetime:
    """Walk until the calendar shows another window."""
    step = timedelta(minutes=1) if tier in (Tier.MINUTE, Tier.HOUR) else timedelta(days=1)
    then = at.replace(second=0, microsecond=0)
    if step == timedelta(days=1):
        then = then.replace(hour=0, minute=0)
    while fixed_window(tier, then) == fixed_window(tier, at):
        then += step
    return then


STEPS = [
    timedelta(0),
    MICROSECOND,
    timedelta(milliseconds=700),
    timedelta(seconds=20),
    timedelta(seconds=60),
    timedelta(minutes=17),
    timedelta(hours=1),
    timedelta(hours=9),
    timedelta(days=1),
    timedelta(days=4),
    timedelta(days=30),
]


class Day:
    """A limiter, the model, and the chances of a day."""

    def __init__(self, documents: Documents, clock: Clock, seed: int) -> None:
        self._documents, self._clock = documents, clock
        self.chance = random.Random(seed)
        self.strategy: Strategy = self.chance.choice(["rolling", "fixed"])
        self.limits = self._draw_limits()
        self.limiter = self._restarted()
        self.model = Model()

    async def go_on(self) -> None:
        """Move the clock, and perhaps restart or change a limit."""
        steps = [9, 3, 3, 6, 2, 2, 2, 2, 2, 1, 0.5]
        self._clock.now += self.chance.choices(STEPS, steps)[0]
        match self.chance.randrange(24):
            case 0:
                self._clock.now -= self.chance.choice(STEPS)
            case 1:
                self.limits = self.limiter.limits = self._draw_limits()
            case 2:
                self.limiter = self._restarted()
            case 3:
                self.strategy = self.limiter.strategy = self.chance.choice(["rolling", "fixed"])
            case 4:
                await self.limiter.purge()
            case _:
                pass

    def _draw_limits(self) -> RateLimits:
        draw = self.chance.randint
        return RateLimits(**{tier: draw(3, 9 + 6 * n) for n, tier in enumerate(Tier)})

    def _restarted(self) -> RateLimiter:
        return RateLimiter(
            self._documents,
            self.limits,
            strategy=self.strategy,
            clock=self._clock.both,
        )


@pytest.mark.parametrize("seed", range(6))
async def test_random_days_go_as_a_model_says_that_counts_everything(
    documents: Documents, clock: Clock, seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits_module, "REMEMBERED", [1, 5, 10_000][seed % 3])
    day = Day(documents, clock, seed)
    model, chance = day.model, day.chance
    for _ in range(100):
        await day.go_on()
        now = model.now(clock.now)
        if chance.random() < 0.3:
            counted = {tier: model.used(tier, day.strategy, now) for tier in Tier}
            assert await used(day.limiter) == counted
        weight = chance.choice([1, 1, 1, 2, 3])
        allowed_at, refusing = model.allowed_at(weight, day.limits, day.strategy, now)
        assert await day.limiter.peek("openai", weight) == (allowed_at if refusing else None)
        if not refusing:
            assert (await day.limiter.acquire("openai", weight)).at == micros(now)
            model.grants.append((now, weight))
            continue
        refused = await refusal(day.limiter, weight)
        assert (refused.until, set(refused.tiers)) == (allowed_at, refusing)
        if chance.random() < 0.5:
            clock.now = allowed_at - chance.choice([timedelta(0), MICROSECOND])
    assert len(model.grants) > 20

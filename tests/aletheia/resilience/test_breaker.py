import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Documents
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    BreakerOpen,
    ComputeFailed,
    Conflict,
    InvalidTask,
    Misconfigured,
    ModelUnavailable,
    NotFound,
    QuotaExhausted,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from aletheia.resilience.breaker import (
    BREAKERS,
    BreakerState,
    CircuitBreaker,
    Permit,
    State,
    is_answer,
    is_breaker_failure,
)
from aletheia.settings import BreakerSettings
from tests.aletheia.resilience.conftest import Clock
from tests.aletheia.resilience.contenders import compete, fail_once, try_to_probe

COOLDOWN = timedelta(seconds=60)
LEASE = timedelta(seconds=180)
SKEW = timedelta(seconds=5)
TIMEOUT = Unavailable("openai", "no answer in 60 s")


@pytest.fixture
def breaker(documents: Documents, clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(documents, threshold=3, cooldown_s=60, clock=clock.both)


async def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        await breaker.fail(await breaker.admit("openai"), "no answer")


async def state(breaker: CircuitBreaker) -> BreakerState:
    (only,) = await breaker.states()
    return only


async def refusal(breaker: CircuitBreaker) -> BreakerOpen:
    with pytest.raises(BreakerOpen) as caught:
        await breaker.admit("openai")
    return caught.value


async def call(breaker: CircuitBreaker, error: BaseException | None = None) -> None:
    async with breaker.guarding("openai"):
        if error is not None:
            raise error


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("openai", "timed out"),
        Unavailable("openai", "connection lost"),
        Unavailable("openai", "500", status=500),
        Unavailable("openai", "503", 5.0, 503),
        Unavailable("openai", "599", status=599),
        BadAnswer("openai", "a page of HTML", status=502),
    ],
)
def test_timeouts_lost_connections_and_5xx_are_failures(error: AletheiaError):
    assert is_breaker_failure(error)
    assert not is_answer(error)


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("openai", "too many requests", 20.0, 429),
        Unavailable("openai", "request timeout", status=408),
        QuotaExhausted("openai", "insufficient_quota", status=429),
        QuotaExhausted("openai", "insufficient_quota"),
        BadAnswer("openai", "not JSON", status=200),
        BadAnswer("openai", "not JSON"),
        Refused("openai", 400),
        Unauthorized("openai", 401),
        NotFound("openai", 404),
        Conflict("openai", 409),
    ],
)
def test_what_was_answered_otherwise_is_no_failure(error: AletheiaError):
    assert not is_breaker_failure(error)
    assert is_answer(error)


@pytest.mark.parametrize(
    "error",
    [
        InvalidTask("empty_text", "the text is empty"),
        ComputeFailed("bad_vector", "not finite"),
        ModelUnavailable("nomic", "not pulled"),
        Misconfigured("OPENAI_API_KEY", "missing"),
        asyncio.CancelledError(),
        ZeroDivisionError(),
    ],
)
def test_what_never_reached_it_says_nothing(error: BaseException):
    assert not is_breaker_failure(error)
    assert not is_answer(error)


async def test_it_opens_after_as_many_failures_in_a_row_as_the_threshold(
    breaker: CircuitBreaker, clock: Clock
):
    await fail(breaker, 2)
    assert (await state(breaker)).state is State.CLOSED
    clock.move(seconds=10)
    await fail(breaker)
    refused = await refusal(breaker)
    assert (refused.dependency, refused.until) == ("openai", clock.now + COOLDOWN)
    assert (refused.code, refused.retryable) == ("breaker_open", True)
    assert await state(breaker) == BreakerState(
        "openai", State.OPEN, 3, clock.now + COOLDOWN, "no answer"
    )


async def test_an_answer_between_failures_begins_the_count_anew(breaker: CircuitBreaker):
    await fail(breaker, 2)
    await breaker.succeed(await breaker.admit("openai"))
    assert (await state(breaker)).failures == 0
    await fail(breaker, 2)
    assert (await state(breaker)).state is State.CLOSED
    await fail(breaker)
    await refusal(breaker)


async def test_what_is_guarded_counts_by_what_becomes_of_it(breaker: CircuitBreaker):
    for _ in range(2):
        with pytest.raises(Unavailable):
            await call(breaker, TIMEOUT)
    with pytest.raises(ZeroDivisionError):
        await call(breaker, ZeroDivisionError())
    assert (await state(breaker)).failures == 2
    with pytest.raises(Unavailable):
        await call(breaker, Unavailable("openai", "slow down", 1.0, 429))
    assert (await state(breaker)).failures == 0
    for _ in range(3):
        with pytest.raises(Unavailable):
            await call(breaker, TIMEOUT)
    with pytest.raises(BreakerOpen):
        await call(breaker)


async def test_429_and_other_4xx_never_open_it(breaker: CircuitBreaker):
    for error in [Unavailable("openai", "slow down", 1.0, 429), Refused("openai", 400)] * 4:
        with pytest.raises(AletheiaError):
            await call(breaker, error)
    assert await breaker.states() == []


async def test_every_dependency_has_a_breaker_of_its_own(breaker: CircuitBreaker):
    await fail(breaker, 3)
    await breaker.admit("ollama")
    await refusal(breaker)


async def test_after_the_cooldown_one_call_is_admitted(breaker: CircuitBreaker, clock: Clock):
    await fail(breaker, 3)
    opened = clock.now
    clock.now = opened + COOLDOWN - timedelta(microseconds=1)
    await refusal(breaker)
    clock.now = opened + COOLDOWN
    assert (await state(breaker)).state is State.HALF_OPEN
    assert (await state(breaker)).until is None
    probe = await breaker.admit("openai")
    assert probe.probe is not None
    # The probe is done long before its lease runs out.
    assert (await refusal(breaker)).until == clock.now + timedelta(seconds=5)
    assert (await state(breaker)).until == clock.now + LEASE


async def test_a_probe_that_is_answered_closes_it(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
):
    await fail(breaker, 3)
    clock.now += COOLDOWN
    await call(breaker)
    assert await state(breaker) == BreakerState("openai", State.CLOSED, 0, None, "", 1)
    await fail(breaker, 2)
    assert (await breaker.admit("openai")).probe is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


async def test_a_probe_that_fails_opens_it_for_another_cooldown(
    breaker: CircuitBreaker, clock: Clock
):
    await fail(breaker, 3)
    clock.now += COOLDOWN
    with pytest.raises(Unavailable):
        await call(breaker, Unavailable("openai", "still down", status=503))
    assert (await refusal(breaker)).until == clock.now + COOLDOWN
    assert "still down" in (await state(breaker)).reason
    clock.now += COOLDOWN
    assert (await breaker.admit("openai")).probe is not None


async def test_a_probe_that_shows_nothing_leaves_the_place_to_the_next(
    breaker: CircuitBreaker, clock: Clock
):
    await fail(breaker, 3)
    clock.now += COOLDOWN
    with pytest.raises(ZeroDivisionError):
        await call(breaker, ZeroDivisionError())
    await call(breaker)
    assert (await state(breaker)).state is State.CLOSED


async def test_a_probe_that_is_cancelled_leaves_the_place_to_the_next(
    breaker: CircuitBreaker, clock: Clock
):
    await fail(breaker, 3)
    clock.now += COOLDOWN
    begun = asyncio.Event()

    async def hang() -> None:
        async with breaker.guarding("openai"):
            begun.set()
            await asyncio.Event().wait()

    probe = asyncio.create_task(hang())
    await begun.wait()
    await refusal(breaker)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert (await breaker.admit("openai")).probe is not None


async def test_the_lease_of_a_probe_that_crashed_runs_out(breaker: CircuitBreaker, clock: Clock):
    await fail(breaker, 3)
    clock.now += COOLDOWN
    crashed = await breaker.admit("openai")
    clock.now += LEASE + SKEW - timedelta(microseconds=1)
    await refusal(breaker)
    clock.move(microseconds=1)
    second = await breaker.admit("openai")
    await breaker.succeed(crashed)
    assert (await state(breaker)).state is State.HALF_OPEN
    await breaker.fail(crashed, "late")
    assert (await state(breaker)).state is State.HALF_OPEN
    await breaker.succeed(second)
    assert (await state(breaker)).state is State.CLOSED


async def test_calls_from_before_it_closed_have_no_say_any_more(
    breaker: CircuitBreaker, clock: Clock
):
    slow = [await breaker.admit("openai") for _ in range(5)]
    await fail(breaker, 3)
    opened = await state(breaker)
    clock.move(seconds=30)
    await breaker.fail(slow[0], "late")
    await breaker.succeed(slow[1])
    assert await state(breaker) == opened
    clock.now += COOLDOWN
    await call(breaker)
    await fail(breaker, 2)
    await breaker.fail(slow[2], "very late")
    await breaker.succeed(slow[3])
    assert (await state(breaker)).failures == 2


async def test_a_restart_keeps_the_state(tmp_path: Path, clock: Clock):
    @asynccontextmanager
    async def restarted() -> AsyncGenerator[CircuitBreaker]:
        documents = EmbeddedDocuments(tmp_path)
        await documents.open()
        settings = BreakerSettings(_env_file=None)  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument
        yield CircuitBreaker(
            documents,
            threshold=settings.circuit_breaker_threshold,
            cooldown_s=settings.circuit_breaker_cooldown_seconds,
            clock=clock.both,
        )
        await documents.close()

    for _ in range(5):
        async with restarted() as breaker:
            await fail(breaker)
    async with restarted() as breaker:
        assert (await refusal(breaker)).until == clock.now + COOLDOWN
        clock.now += COOLDOWN
        await breaker.admit("openai")
    async with restarted() as breaker:
        await refusal(breaker)


@pytest.mark.parametrize("back", [timedelta(seconds=30), timedelta(days=1)])
async def test_a_clock_moved_back_keeps_it_open_for_two_cooldowns_at_most(
    breaker: CircuitBreaker, clock: Clock, back: timedelta
):
    await fail(breaker, 3)
    clock.now -= back
    waited = timedelta(0)
    while (await state(breaker)).state is State.OPEN:
        clock.move(seconds=10)
        waited += timedelta(seconds=10)
    assert waited <= 2 * COOLDOWN
    assert (await breaker.admit("openai")).probe is not None


@pytest.mark.parametrize(("threshold", "expected"), [(2, State.OPEN), (4, State.CLOSED)])
async def test_another_threshold_holds_at_once(
    documents: Documents, clock: Clock, threshold: int, expected: State
):
    await fail(CircuitBreaker(documents, threshold=3, cooldown_s=60, clock=clock.both), 3)
    other = CircuitBreaker(documents, threshold=threshold, cooldown_s=60, clock=clock.both)
    assert (await state(other)).state is expected


async def test_failures_at_once_are_all_counted(documents: Documents, clock: Clock):
    others = [
        CircuitBreaker(documents, threshold=9, cooldown_s=60, clock=clock.both) for _ in range(4)
    ]
    permits = [await other.admit("openai") for other in others for _ in range(2)]
    await asyncio.gather(
        *(other.fail(p, "x") for other, p in zip(others * 2, permits, strict=True))
    )
    assert (await state(others[0])).failures == 8


async def test_of_callers_at_once_one_is_the_probe(
    documents: Documents, breaker: CircuitBreaker, clock: Clock
):
    await fail(breaker, 3)
    clock.now += COOLDOWN
    others = [
        CircuitBreaker(documents, threshold=3, cooldown_s=60, clock=clock.both) for _ in range(9)
    ]
    answers = await asyncio.gather(
        *(other.admit("openai") for other in others), return_exceptions=True
    )
    assert sum(isinstance(answer, Permit) for answer in answers) == 1
    assert sum(isinstance(answer, BreakerOpen) for answer in answers) == 8


async def test_failures_are_counted_and_the_probe_chosen_over_all_processes(
    tmp_path: Path, clock: Clock
):
    await asyncio.to_thread(compete, tmp_path, fail_once, clock(), processes=4)
    clock.now += COOLDOWN
    probes = await asyncio.to_thread(compete, tmp_path, try_to_probe, clock(), processes=4)
    assert sorted(probes) == [False, False, False, True]


@pytest.mark.parametrize("error", [None, TIMEOUT, ZeroDivisionError()])
async def test_a_verdict_that_cannot_be_written_changes_nothing_about_the_call(
    tmp_path: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    error: Exception | None,
):
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    breaker = CircuitBreaker(documents, threshold=3, cooldown_s=60, clock=clock.both)
    await fail(breaker, 3)
    clock.now += COOLDOWN

    async def lose_the_store() -> str:
        async with breaker.guarding("openai"):
            await documents.close()
            if error is not None:
                raise error
            return "the answer"

    if error is None:
        assert await lose_the_store() == "the answer"
    else:
        with pytest.raises(type(error)) as caught:
            await lose_the_store()
        assert caught.value is error
    assert "could not be written" in caplog.text


async def test_a_reason_is_cut_to_a_readable_length(breaker: CircuitBreaker):
    await breaker.fail(await breaker.admit("openai"), "x" * 5000)
    assert len((await state(breaker)).reason) == 300


async def test_nothing_is_written_while_all_goes_well(
    documents: Documents, breaker: CircuitBreaker
):
    for _ in range(3):
        await call(breaker)
    assert await documents.count(BREAKERS, {}) == 0


async def test_what_our_own_rules_hold_up_says_nothing(breaker: CircuitBreaker, clock: Clock):
    with pytest.raises(RateLimited):
        await call(breaker, RateLimited("openai", clock.now))
    assert await breaker.states() == []

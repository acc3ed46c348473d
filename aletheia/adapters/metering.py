"""What stands between us and a provider: its breaker, its limits, the budgets, and a second try.

Every request passes in this order, and what is refused at one gate is charged at none:

    breaker admits → budget reserves the upper estimate → limits charge → the request is sent
    → the breaker records how it went → budget settles what was used
"""

import asyncio
import hashlib
import itertools
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Final, Literal, TypeAlias

from aletheia import telemetry
from aletheia.analysis.ports import Embedded, Embedder, Embedding
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    ComputeFailed,
    ConnectionLost,
    Deferred,
    InvalidTask,
    Misconfigured,
    RateLimited,
    Refused,
    TimedOut,
    TooLong,
    Unavailable,
    Unreachable,
    WrongCount,
)
from aletheia.llm.calls import CallPlan, PlannedCall, SentT
from aletheia.llm.prices import Kind, Tokens
from aletheia.llm.usage import Call, Reservation, Spending
from aletheia.logs import COMPUTATION
from aletheia.metrics import PROVIDER_CALLS, PROVIDER_DURATION
from aletheia.resilience.breaker import CircuitBreaker, Permit
from aletheia.resilience.limits import RateLimiter
from aletheia.series import Counts, merged
from aletheia.store.backoff import CallBackoff
from aletheia.store.clock import SYSTEM_CLOCK

log = logging.getLogger(__name__)

Unit: TypeAlias = Literal["request", "task"]

LIMITED: Final = frozenset({"openai", "ollama"})
"""Providers that the limits hold for (SPEC §1)."""

MAX_PAUSE_S: Final = 5.0
"""Longest wait between two tries of one request, seconds. A provider that asks for more is waited
for in the ledger, where a task blocks nobody."""

CANNOT: Final = "provider_cannot"
"""Code of a request that fails each time while others pass."""

MAX_FAILURES: Final = 2
"""How often a request may fail (5xx, bad answer, lost connection) before the request, and not its
provider, is suspected."""

FILTERED: Final = frozenset(
    {
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.CONFLICT,
        HTTPStatus.GONE,
        HTTPStatus.REQUEST_URI_TOO_LONG,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.IM_A_TEAPOT,
        HTTPStatus.LOCKED,
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS,
    }
)
"""Statuses of refusals that may be due to a text, as a firewall sees it, or hold for us."""

MAX_MISSES: Final = 3
"""How many such failures in a row are believed to be due to requests that are suspected anyway."""


class Meter:
    """Holds the requests of one run to breakers, limits and budgets, and records their use."""

    def __init__(
        self,
        limiter: RateLimiter,
        breakers: CircuitBreaker,
        spending: Spending,
        *,
        unit: Unit = "request",  # what counts with the limiter: requests, or the texts in them
        run_id: str | None = None,
        max_retries: int = 3,  # further tries, each through all gates anew
        retry_base_s: float = 0.5,  # up to the first pause
        draw: Callable[[], float] = random.random,
        confirm: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Build one; `confirm` returns if a request may still be sent."""
        self._confirm = confirm
        self._limiter, self._breakers, self._spending = limiter, breakers, spending
        self._unit: Unit = unit
        self._run_id = run_id
        self._max_retries, self._retry_base_s, self._draw = max_retries, retry_base_s, draw
        self._lost: set[str] = set()
        self._answered = Counter[tuple[str, str]]()
        self._misses = Counter[tuple[str, str]]()  # suspicious failures since the last success

    def max_texts(self, provider_max: int) -> int:
        """Return how many texts a request may carry, so that no limit forbids it for ever."""
        limits = self._limiter.limits
        if self._unit == "request" or limits is None:
            return provider_max
        return min(provider_max, limits.max_weight)

    async def __call__(
        self, call: PlannedCall[SentT], probe: PlannedCall[SentT] | None = None
    ) -> SentT:
        """See `aletheia.llm.calls.Guard`; what is suspicious counts once the probe failed."""
        backoff = CallBackoff(self._retry_base_s, self._draw, max_s=MAX_PAUSE_S)
        plan = call.plan
        answered, failures, suspected = self._answered[plan.provider, plan.model], 0, probe
        tries = 0
        while True:
            tries += 1
            try:
                return await self._try(call, probe, spares_errors=suspected is not None)
            except (Refused, Unavailable) as error:
                failure = error
            if suspected is not None and is_suspicious(failure):
                failures += 1
                # A refusal does not pass by itself.
                is_sure = call.is_suspected or isinstance(failure, Refused)
                if is_sure or failures == MAX_FAILURES:
                    if await self._passes(call, suspected, answered):
                        raise ComputeFailed(CANNOT, str(failure)) from failure
                    suspected = None
            pause_s = backoff(failure)
            is_open = suspected is not None and failures > 0  # whose fault it is
            if (pause_s is False and not is_open) or tries > max(self._max_retries, is_open):
                raise failure
            await asyncio.sleep(pause_s)

    async def capacity(
        self, provider: str, model: str, kind: Kind, requests: Sequence[Sequence[int]]
    ) -> int:
        """See `aletheia.llm.calls.Guard.capacity`; `Misconfigured` if there never is any."""
        await self._breakers.check(provider)
        until = await self._limiter.peek(provider)
        if until is not None:
            raise RateLimited(provider, until)
        usage = await self._limiter.usage(provider) if self._limiter.limits is not None else {}
        left = min(
            (tier.limit - tier.used for tier in usage.values() if tier.limit is not None),
            default=None,
        )
        if self._unit == "request":
            requests = requests[:left]
        tokens = list(itertools.chain.from_iterable(requests))
        if self._unit == "task":
            tokens = tokens[:left]
        call = Call(key="", provider=provider, model=model, kind=kind, run_id=self._run_id)
        return await self._spending.capacity(call, tokens)

    async def _passes(
        self, call: PlannedCall[SentT], probe: PlannedCall[SentT], answered: int
    ) -> bool:
        """Check whether the provider answers others: some did since `answered`, or the probe."""
        asked = probe.plan.provider, probe.plan.model
        if self._answered[asked] > answered:
            return True
        if call.is_suspected and self._misses[asked] <= MAX_MISSES:
            return True
        try:
            await self._try(probe, None, spares_errors=False)
        except Deferred:
            raise
        except AletheiaError:
            return False
        return True

    async def _try(
        self, call: PlannedCall[SentT], probe: PlannedCall[SentT] | None, *, spares_errors: bool
    ) -> SentT:
        permit = await self._breakers.admit(call.plan.provider)
        if permit.probe is not None and probe is not None:
            # What may have opened the breaker does not decide whether it closes.
            await self._pass(permit, probe)
            permit = await self._breakers.admit(call.plan.provider)
        return await self._pass(permit, call, spares_errors=spares_errors)

    async def _pass(
        self, permit: Permit, call: PlannedCall[SentT], *, spares_errors: bool = False
    ) -> SentT:
        """Send an admitted request through all other gates."""
        plan = call.plan
        if call.reach is not None and (permit.probe is not None or plan.provider in self._lost):
            # Limits count what is sent: while nobody is there, nothing is.
            async with self._breakers.recording(permit, is_first=True):
                await call.reach()
            self._lost.discard(plan.provider)
        try:
            if self._confirm is not None:
                await self._confirm()
            used = Call(plan.key, plan.provider, plan.model, plan.kind, run_id=self._run_id)
            reservation = await self._spending.reserve(used, plan.max_tokens)
            await self._charge(plan, reservation)
        except BaseException:
            await self._breakers.abandon(permit)
            raise
        try:
            async with self._breakers.recording(
                permit, spares=lambda error: spares_errors and is_suspicious(error)
            ):
                sent = await self._send(call)
        except AletheiaError as error:
            if isinstance(error, Unreachable):
                self._lost.add(plan.provider)
            if is_free(error):
                await _written(self._spending.release(reservation))
            elif isinstance(error, BadAnswer):
                await _written(self._spending.settle(reservation, plan.max_tokens))
            # What became of any other call nobody knows: its estimate counts as spent.
            self._misses[plan.provider, plan.model] += is_suspicious(error)
            raise
        self._answered[plan.provider, plan.model] += 1
        self._misses[plan.provider, plan.model] = 0
        await _written(self._spending.settle(reservation, sent.used))
        return sent

    async def _send(self, call: PlannedCall[SentT]) -> SentT:
        """Send an admitted request, and count it with what is written about it next."""
        plan, began_s, outcome = call.plan, SYSTEM_CLOCK.steady_s(), "failed"
        try:
            about = describe_work(self._run_id)
            with telemetry.model_call(plan.provider, plan.model, plan.kind, about) as span:
                sent = await call.send()
                span.used(sent.used.input, sent.used.output)
            outcome = "succeeded"
        finally:
            took_s = SYSTEM_CLOCK.steady_s() - began_s
            self._spending.note(count_call(plan.provider, plan.kind, outcome, took_s))
        return sent

    async def _charge(self, plan: CallPlan, reservation: Reservation) -> None:
        """Charge the limits, or release what the budgets have reserved."""
        if plan.provider not in LIMITED:
            return
        weight = plan.texts if self._unit == "task" else 1
        try:
            await self._limiter.acquire(plan.provider, weight)
        except BaseException:
            await self._spending.release(reservation)
            raise


def count_call(provider: str, kind: Kind, outcome: str, took_s: float) -> Counts:
    """Return what a call to a model adds to counters."""
    return merged(
        PROVIDER_CALLS.add(provider, kind, outcome),
        PROVIDER_DURATION.observe(provider, kind, amount=took_s),
    )


def describe_work(run_id: str | None) -> dict[str, str | Sequence[str]]:
    """Return what a span says of the work that a call to a model is part of: run and tasks."""
    about: dict[str, str | Sequence[str]] = {}
    if run_id is not None:
        about[telemetry.RUN_ID] = run_id
    if (computation := COMPUTATION.get()) is not None:
        about[telemetry.COMPUTATION_ID] = computation.id
        about[telemetry.TASK_IDS] = computation.named_tasks
    return about


def is_free(error: AletheiaError) -> bool:
    """Check whether a failed call surely cost nothing; one that broke off may have been charged."""
    if isinstance(error, Unavailable):
        return isinstance(error, Unreachable) or (error.status or 0) >= HTTPStatus.BAD_REQUEST
    return isinstance(error, Refused | InvalidTask | ComputeFailed | Misconfigured)


def is_suspicious(error: BaseException) -> bool:
    """Check whether a failure may be due to what was asked, and so is tried again at once."""
    if isinstance(error, Refused):
        return error.status in FILTERED
    if not isinstance(error, Unavailable) or (error.retry_after_s or 0.0) > MAX_PAUSE_S:
        return False
    if isinstance(error, BadAnswer):
        return not isinstance(error, TooLong | WrongCount)  # which are known to be about texts
    status = error.status or 0
    is_said = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.FAILED_DEPENDENCY
    # As by a server that falls over a text, or does not get done with it.
    return is_said or isinstance(error, ConnectionLost | TimedOut)


class Recorded:
    """Records the use of an embedder that costs nothing and has no limits."""

    def __init__(self, inner: Embedder, spending: Spending, run_id: str | None) -> None:
        self._inner, self._spending, self._run_id = inner, spending, run_id
        self.provider, self.is_mock = inner.provider, inner.is_mock

    def canonical_model(self, model: str | None) -> str:
        """See `aletheia.analysis.ports.Embedder.canonical_model`."""
        return self._inner.canonical_model(model)

    async def capacity(self, model: str, texts: Sequence[str]) -> int:
        """See `aletheia.analysis.ports.Embedder.capacity`."""
        return await self._inner.capacity(model, texts)

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """See `aletheia.analysis.ports.Embedder.embed`; the call is recorded at its end."""
        tokens, took_s, asked_s = 0, 0.0, SYSTEM_CLOCK.steady_s()
        outcome, about = "failed", describe_work(self._run_id)
        traced = telemetry.ModelCall(self.provider, model, "embedding", about)
        try:
            async with aclosing(self._inner.embed(model, texts)) as answers:
                async for answered in answers:
                    took_s += SYSTEM_CLOCK.steady_s() - asked_s
                    tokens += sum(
                        answer.result.tokens
                        for answer in answered
                        if isinstance(answer.result, Embedding)
                    )
                    yield answered
                    asked_s = SYSTEM_CLOCK.steady_s()
            outcome = "succeeded"
        finally:
            self._spending.note(count_call(self.provider, "embedding", outcome, took_s))
            traced.used(tokens)
            traced.end()
            if tokens:
                call = Call(
                    key=key_of(model, texts),
                    provider=self.provider,
                    model=model,
                    kind="embedding",
                    run_id=self._run_id,
                    is_mock=self.is_mock,
                )
                await self._spending.record(call, Tokens(tokens))


def key_of(model: str, texts: Sequence[str]) -> str:
    """Hash what is asked of a model, so that a call that is repeated can be recognised."""
    digest = hashlib.sha256(model.encode(errors="surrogatepass"))
    for text in texts:
        digest.update(b"\0" + text.encode(errors="surrogatepass"))
    return digest.hexdigest()


async def _written(writing: Awaitable[None]) -> None:
    """Record how a call ended; where that fails its estimate counts."""
    try:
        await writing
    except AletheiaError as error:
        log.warning("what a call used could not be written down: %s", error)

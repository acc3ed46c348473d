"""What `GET /metrics` reads beside counters: a few documents each, however many rows there are."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from aletheia.analysis.model_manager import MODELS
from aletheia.documents import Documents
from aletheia.intake.counting import LANES_WITH_WORKERS
from aletheia.intake.lanes.queue import find_oldest_waiting
from aletheia.intake.rows import ROWS
from aletheia.llm.usage import Spending
from aletheia.metrics import (
    BREAKER_STATE,
    BUDGET_LIMIT,
    BUDGET_SPENT,
    FINDINGS,
    GPU_BUSY,
    GPU_MEMORY,
    GPU_MEMORY_USED,
    HEALTH_SCORE,
    LANE_OLDEST_AGE,
    LANE_WAITING,
    LEDGER_ROWS,
    MODEL_MEMORY,
    RATE_LIMIT,
    RATE_LIMIT_EXCEEDED,
    RATE_LIMIT_USED,
    UNFINISHED_STATES,
)
from aletheia.resilience.breaker import CircuitBreaker, State
from aletheia.resilience.limits import RateLimiter
from aletheia.series import Counters, clean_value
from aletheia.service.metrics import Sample, Source
from aletheia.service.ports import ReadGpus
from aletheia.store.clock import SYSTEM_CLOCK, Clock

LIMITED: Final = ("openai", "ollama")
"""Providers that the limits hold for (SPEC §1)."""

MAX_MODELS: Final = 50
"""Models in memory that are read."""

MAX_AGED_ROWS: Final = 20_000
"""With more unfinished tasks than these the oldest one is not searched for each time."""

SEARCH_EVERY_S: Final = 300.0
"""From one search among more of them to the next, seconds."""

_STATES: Final[Mapping[State, float]] = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


def own_sources(
    documents: Documents, breakers: CircuitBreaker, limiter: RateLimiter, spending: Spending
) -> dict[str, Source]:
    """Build all sources of a store, by their names; `limiter` may be of another store."""
    return {
        "breakers": breaker_source(breakers),
        "limits": limit_source(limiter),
        "budgets": budget_source(spending),
        "models": model_source(documents),
        "ages": age_source(documents),
    }


def breaker_source(breakers: CircuitBreaker) -> Source:
    """Build the source of the states of breakers that ever counted a failure."""

    async def read(_: Counters) -> Iterable[Sample]:
        return [
            Sample(BREAKER_STATE, (clean_value(found.dependency),), _STATES[found.state])
            for found in await breakers.states()
        ]

    return read


def limit_source(limiter: RateLimiter) -> Source:
    """Build the source of rate limits: what is used and allowed, and how often each refused."""

    async def read(_: Counters) -> Iterable[Sample]:
        samples: list[Sample] = []
        for provider in LIMITED:
            for tier, usage in (await limiter.usage(provider)).items():
                values = (provider, str(tier))
                samples.append(Sample(RATE_LIMIT_USED, values, usage.used))
                samples.append(Sample(RATE_LIMIT_EXCEEDED, values, usage.refusals))
                if usage.limit is not None:
                    samples.append(Sample(RATE_LIMIT, values, usage.limit))
        return samples

    return read


def budget_source(spending: Spending) -> Source:
    """Build the source of the budgets of today."""

    async def read(_: Counters) -> Iterable[Sample]:
        samples: list[Sample] = []
        for budget in await spending.budgets():
            samples.append(Sample(BUDGET_SPENT, (budget.name,), float(budget.spent)))
            if budget.limit is not None:
                samples.append(Sample(BUDGET_LIMIT, (budget.name,), float(budget.limit)))
        return samples

    return read


def model_source(documents: Documents) -> Source:
    """Build the source of what models that are held take in memory."""

    async def read(_: Counters) -> Iterable[Sample]:
        rows = await documents.find(MODELS, {"is_held": True}, limit=MAX_MODELS)
        return [
            Sample(MODEL_MEMORY, (clean_value(row["model"]),), float(row["memory_bytes"]))
            for row in rows
            if row.get("memory_bytes") is not None
        ]

    return read


def gpu_source(read_gpus: ReadGpus) -> Source:
    """Build the source of the graphics processors of the service's own machine."""

    async def read(_: Counters) -> Iterable[Sample]:
        samples: list[Sample] = []
        for gpu in await read_gpus():
            values = (clean_value(gpu.name),)
            samples.append(Sample(GPU_MEMORY_USED, values, gpu.used_bytes))
            samples.append(Sample(GPU_MEMORY, values, gpu.total_bytes))
            if gpu.busy_share is not None:
                samples.append(Sample(GPU_BUSY, values, gpu.busy_share))
        return samples

    return read


def age_source(documents: Documents, *, clock: Clock = SYSTEM_CLOCK) -> Source:
    """Build the source of the ages of the oldest tasks: of intake, and of those that wait in lanes.

    An index finds the unfinished rows, however many others there are. Where they are many, the one
    that was the oldest a while ago stands for it: until it is searched for again, it gets older.
    """
    oldest_at: float | None = None  # Unix time, seconds
    searched_at: float | None = None  # steady

    async def read(counters: Counters) -> Iterable[Sample]:
        nonlocal oldest_at, searched_at
        rows, now_s = counters.total(LEDGER_ROWS), clock.steady_s()
        if rows <= 0:
            return []
        in_lanes = await _read_lanes(documents, counters, clock)
        is_old = searched_at is None or now_s - searched_at >= SEARCH_EVERY_S
        if rows <= MAX_AGED_ROWS or is_old:
            oldest_at, searched_at = await _find_oldest(documents, counters), now_s
        oldest_s = 0.0 if oldest_at is None else clock.unix_s() - oldest_at
        return [Sample(LANE_OLDEST_AGE, ("intake",), max(0.0, oldest_s)), *in_lanes]

    return read


async def _read_lanes(documents: Documents, counters: Counters, clock: Clock) -> list[Sample]:
    samples: list[Sample] = []
    for lane in LANES_WITH_WORKERS:
        if counters.value(LANE_WAITING, lane) > 0:
            oldest_at = await find_oldest_waiting(documents, lane)
            age_s = 0.0 if oldest_at is None else clock.unix_s() - oldest_at
            samples.append(Sample(LANE_OLDEST_AGE, (lane,), max(0.0, age_s)))
    return samples


async def _find_oldest(documents: Documents, counters: Counters) -> float | None:
    """Return when the oldest unfinished task was claimed, Unix time, seconds; `None` if none is."""
    claimed: list[float] = []
    for state in UNFINISHED_STATES:
        if counters.value(LEDGER_ROWS, state) > 0:
            where = {"state": state, "lane": None}
            found = await documents.find(ROWS, where, sort="claimed_at", limit=1)
            claimed += [float(row["claimed_at"]) for row in found if row.get("claimed_at")]
    return min(claimed, default=None)


def reasoning_source(
    read_last: Callable[[], Awaitable[tuple[float, Mapping[str, int]] | None]],
) -> Source:
    """Build the source of the last reasoning: `read_last` reads score and findings by severity."""

    async def read(_: Counters) -> Iterable[Sample]:
        last = await read_last()
        if last is None:
            return []
        score, findings = last
        severities = FINDINGS.labels[0].values
        return [
            Sample(HEALTH_SCORE, (), score),
            *(Sample(FINDINGS, (name,), findings.get(name, 0)) for name in severities),
        ]

    return read

"""What the page reads beside counters: breakers, limits, budgets, models, ages, reasoning."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from aletheia import metrics
from aletheia.adapters.gpus import Gpu
from aletheia.analysis.model_manager import ModelEvent, ModelRecords
from aletheia.documents import Documents
from aletheia.errors import RateLimited
from aletheia.intake.rows import ROWS
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import Spending
from aletheia.metrics import LANE_WAITING, LEDGER_ROWS
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter, RateLimits
from aletheia.series import Counters, merged
from aletheia.service.metric_sources import (
    MAX_AGED_ROWS,
    SEARCH_EVERY_S,
    age_source,
    breaker_source,
    budget_source,
    gpu_source,
    limit_source,
    model_source,
    own_sources,
    reasoning_source,
)
from aletheia.service.metrics import MetricsPage, Source
from aletheia.store.clock import Clock
from tests.fakes.clock import MovableClock
from tests.fakes.usage import budget_limits


async def read(source: Source, counters: Counters | None = None) -> dict[tuple[str, ...], float]:
    samples = await source(counters or Counters())
    return {(sample.metric.name, *sample.values): sample.value for sample in samples}


async def test_a_breaker_that_opened_is_shown_and_counted(documents: Documents):
    breakers = CircuitBreaker(documents, threshold=2, cooldown_s=60)
    for _ in range(2):
        await breakers.fail(await breakers.admit("openai"), "down")
    await breakers.fail(await breakers.admit("neo4j"), "down")
    assert await read(breaker_source(breakers)) == {
        ("aletheia_breaker_state", "openai"): 2,
        ("aletheia_breaker_state", "neo4j"): 0,
    }
    counters = Counters(await documents.counters())
    assert counters.by(metrics.BREAKER_OPENINGS, "dependency") == {"openai": 1}


async def test_what_limits_allow_use_and_refuse_is_shown(documents: Documents):
    limiter = RateLimiter(documents, RateLimits(2, 10, 100, 100, 100))
    for _ in range(2):
        await limiter.acquire("openai")
    with pytest.raises(RateLimited):
        await limiter.acquire("openai")
    found = await read(limit_source(limiter))
    assert found["aletheia_rate_limit_used", "openai", "minute"] == 2
    assert found["aletheia_rate_limit", "openai", "minute"] == 2
    assert found["aletheia_rate_limit_exceeded_total", "openai", "minute"] == 1
    assert found["aletheia_rate_limit_used", "ollama", "day"] == 0


async def test_budgets_of_today_are_shown(documents: Documents):
    limits = budget_limits(tokens_per_day=1000)
    spending = Spending(documents, PriceTable.from_settings(limits), limits)
    found = await read(budget_source(spending))
    assert found["aletheia_budget_limit", "BUDGET_TOKENS_PER_DAY"] == 1000
    assert found["aletheia_budget_spent", "BUDGET_USD_PER_DAY"] == 0
    assert ("aletheia_budget_limit", "BUDGET_USD_PER_DAY") not in found


async def test_models_that_are_held_are_shown_and_loads_are_counted(documents: Documents):
    records = ModelRecords(documents)
    await records.note(ModelEvent("local", "a/b", "loaded", load_s=2.5, memory_bytes=1000))
    await records.note(ModelEvent("local", "c", "loaded", load_s=1.0, memory_bytes=10))
    await records.note(ModelEvent("local", "c", "evicted"))
    assert await read(model_source(documents)) == {("aletheia_model_memory_bytes", "a/b"): 1000}
    counters = Counters(await documents.counters())
    assert counters.by(metrics.MODEL_LOADS, "model") == {"a/b": 1, "c": 1}
    assert counters.histogram(metrics.MODEL_LOAD_DURATION).total == 3.5
    assert counters.value(metrics.MODEL_EVICTIONS) == 1


async def test_the_oldest_unfinished_task_is_found(documents: Documents):
    now_s = time.time()
    rows: list[dict[str, Any]] = [
        {"_id": "a", "state": "kept", "claimed_at": now_s - 50},
        {"_id": "b", "state": "waiting", "claimed_at": now_s - 90},
        {"_id": "c", "state": "reported", "claimed_at": now_s - 9_000},
    ]
    await documents.insert(ROWS, rows)
    counters = Counters({**LEDGER_ROWS.add("kept"), **LEDGER_ROWS.add("waiting")})
    source = age_source(documents, clock=Clock(unix_s=lambda: now_s))
    found = await read(source, counters)
    assert found == {("aletheia_lane_oldest_age_seconds", "intake"): pytest.approx(90)}


async def test_the_oldest_task_that_waits_in_a_lane_is_found_and_is_none_of_intake(
    documents: Documents,
):
    now_s = time.time()
    rows: list[dict[str, Any]] = [
        {"_id": "a", "state": "queued", "lane": "media", "claimed_at": now_s - 70},
        {"_id": "b", "state": "waiting", "lane": "media", "claimed_at": now_s - 90},
        {"_id": "c", "state": "processing", "lane": "media", "claimed_at": now_s - 900},
        {"_id": "d", "state": "kept", "claimed_at": now_s - 5},
    ]
    await documents.insert(ROWS, rows)
    states = ("queued", "waiting", "processing", "kept")
    numbers = merged(*map(LEDGER_ROWS.add, states), LANE_WAITING.add("media", by=2))
    found = await read(age_source(documents, clock=Clock(unix_s=lambda: now_s)), Counters(numbers))
    assert found == {
        ("aletheia_lane_oldest_age_seconds", "intake"): pytest.approx(5),
        ("aletheia_lane_oldest_age_seconds", "media"): pytest.approx(90),
    }


async def test_without_unfinished_tasks_there_is_no_age(documents: Documents):
    counters = Counters(LEDGER_ROWS.add("kept", by=0))
    assert await read(age_source(documents), counters) == {}


async def test_of_too_many_the_oldest_is_searched_for_now_and_then(documents: Documents):
    clock = MovableClock()
    await documents.insert(ROWS, [{"_id": "a", "state": "kept", "claimed_at": clock() - 50}])
    counters = Counters(LEDGER_ROWS.add("kept", by=MAX_AGED_ROWS + 1))
    source = age_source(documents, clock=clock.both)
    name = ("aletheia_lane_oldest_age_seconds", "intake")
    assert await read(source, counters) == {name: pytest.approx(50)}
    await documents.insert(ROWS, [{"_id": "b", "state": "kept", "claimed_at": clock() - 90}])
    clock.move(seconds=10)
    assert await read(source, counters) == {name: pytest.approx(60)}
    clock.move(seconds=SEARCH_EVERY_S)
    assert await read(source, counters) == {name: pytest.approx(100 + SEARCH_EVERY_S)}


async def test_graphics_processors_are_shown_where_there_are_some():
    async def read_two() -> list[Gpu]:
        return [Gpu("0", 10, 100, 0.25), Gpu("1", 0, 50, None)]

    async def read_none() -> list[Gpu]:
        return []

    assert await read(gpu_source(read_two)) == {
        ("aletheia_gpu_memory_used_bytes", "0"): 10,
        ("aletheia_gpu_memory_bytes", "0"): 100,
        ("aletheia_gpu_busy_ratio", "0"): 0.25,
        ("aletheia_gpu_memory_used_bytes", "1"): 0,
        ("aletheia_gpu_memory_bytes", "1"): 50,
    }
    assert await read(gpu_source(read_none)) == {}


async def test_all_sources_of_a_new_store_answer(documents: Documents):
    limits = budget_limits()
    sources = own_sources(
        documents,
        CircuitBreaker(documents, threshold=2, cooldown_s=60),
        RateLimiter(documents, None),
        Spending(documents, PriceTable.from_settings(limits), limits),
    )
    page = (await MetricsPage(documents, sources).read()).decode()
    for name in (*sources, "counters"):
        assert f'aletheia_source_up{{source="{name}"}} 1.0' in page


async def test_the_last_reasoning_is_shown_where_there_was_one():
    async def read_last() -> tuple[float, Mapping[str, int]] | None:
        return 81.0, {"critical": 2}

    async def read_none() -> None:
        return None

    found = await read(reasoning_source(read_last))
    assert found["aletheia_health_score",] == 81
    assert found["aletheia_findings", "critical"] == 2
    assert found["aletheia_findings", "low"] == 0
    assert await read(reasoning_source(read_none)) == {}

"""What a remote provider costs beyond its own latency, and how fast the limits are.

    python -m bench.providers [--quick]

1,000 short texts go to a local server that speaks OpenAI's API and answers after 200 ms with
vectors of 384 numbers: through everything that `PROCESSING_MODE=openai` puts around a request
(limits, budget, breaker, cache, on the embedded store), beside OpenAI's own SDK alone, and one text
a request with five in flight, as the seeds do it. Then the same texts again, from the cache; then
others, with vectors of 1,536 numbers. Then 100,000 checks of the limiter by four processes.

The clock runs until the last embedding is there. What is kept for later is written behind it, as
in a shift, where the reports are sent meanwhile: `seconds_until_cached` has that, too.
"""

import argparse
import asyncio
import gc
import math
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from openai import AsyncOpenAI
from rich.table import Table

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.embedding.cache import EmbeddingCache
from aletheia.adapters.embedding.remote import EmbedderPlan
from aletheia.adapters.metering import Meter
from aletheia.adapters.openai.embedder import MAX_INPUTS, OpenAIEmbedder
from aletheia.adapters.openai.wire import Api
from aletheia.analysis.ports import Embedding
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import Spending
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter, RateLimits
from aletheia.settings import BudgetSettings
from bench.corpora import make_texts
from bench.figures import console, describe_machine, print_json
from bench.limiter import measure_limiter
from bench.programs import BenchFailed, Program, default_environment
from bench.provider import DIMENSIONS
from bench.stage import perform, say
from deployments.environment import local_servers

TEXTS: Final = 1000
WORDS: Final = 20
LATENCY_S: Final = 0.2
IN_FLIGHT: Final = 5
ROUNDS: Final = 5
MODEL: Final = "text-embedding-3-small"
KEY: Final = "sk-bench"

MAX_CALLS_PER_1000: Final = 2
MAX_OVER_LATENCY: Final = 1.2

UNLIMITED: Final = RateLimits(minute=10**6, hour=10**6, day=10**6, week=10**6, month=10**6)
"""Limits that are checked and never reached."""


class Pipeline:
    """What `PROCESSING_MODE=openai` embeds with, on stores of its own.

    Args:
        directory: where the stores are.
        url: root of the provider's API.
        dimensions: of the vectors.
    """

    def __init__(self, directory: Path, url: str, dimensions: int) -> None:
        self._store = EmbeddedDocuments(directory / "store")
        self._volatile = EmbeddedDocuments(directory / "passing", is_durable=False)
        budgets = BudgetSettings(budget_usd_per_day=1000)
        limiter = RateLimiter(self._volatile, UNLIMITED)
        meter = Meter(
            limiter,
            CircuitBreaker(self._store, threshold=5, cooldown_s=60),
            Spending(self._store, PriceTable.from_settings(budgets), budgets),
            run_id="bench",
        )
        plan = EmbedderPlan(MODEL, dimensions, guard=meter)
        self._embedder = OpenAIEmbedder(Api("openai", KEY, url), plan)
        self._cache = EmbeddingCache(self._embedder, self._volatile, ttl_s=1800)

    async def open(self) -> None:
        """Open everything."""
        await self._store.open()
        await self._volatile.open()
        await self._embedder.open()
        await self._cache.prepare()
        gc.freeze()  # as a shift does

    async def close(self) -> None:
        """Close everything."""
        await self._embedder.close()
        await self._volatile.close()
        await self._store.close()

    async def embed(self, texts: list[str]) -> float:
        """Embed texts; say how long it took until all were there, seconds."""
        began, took, done = time.perf_counter(), 0.0, 0
        async for answered in self._cache.embed(MODEL, texts):
            done += sum(isinstance(answer.result, Embedding) for answer in answered)
            took = time.perf_counter() - began
        if done != len(texts):
            raise BenchFailed(f"{done} of {len(texts)} texts were embedded")
        return took


async def bench(*, checks: int, rounds: int) -> None:
    """Measure and print the figures."""
    data_dir = local_servers().directory
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data_dir) as name:
        directory = Path(name)
        provider = await Program.start(
            "provider",
            ["bench.provider", str(LATENCY_S)],
            directory=directory,
            environment=default_environment(local_servers().environment()),
        )
        try:
            url = str((await provider.listen(60))["url"])
            figures = await _measure(provider, url, directory, rounds)
        finally:
            await provider.stop()
    say(f"limiter: {checks:,} checks by four processes")
    limiter = await asyncio.to_thread(measure_limiter, checks=checks, processes=4)
    _show(figures, limiter.checks_per_s, limiter.violations)
    missed = [
        key
        for key, is_missed in {
            "calls_per_1000": figures["calls_per_1000"] > MAX_CALLS_PER_1000,
            "vs_latency_bound": figures["vs_latency_bound"] > MAX_OVER_LATENCY,
            "violations": limiter.violations > 0,
        }.items()
        if is_missed
    ]
    print_json(
        {
            **figures,
            "checks": limiter.checks,
            "checks_per_s": limiter.checks_per_s,
            "violations": limiter.violations,
            "missed": missed,
            **describe_machine(),
        }
    )


async def _measure(provider: Program, url: str, directory: Path, rounds: int) -> dict[str, Any]:
    small, large = (
        Pipeline(directory / str(dimensions), url, dimensions) for dimensions in DIMENSIONS
    )
    sdk = AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0)
    texts = make_texts(TEXTS * (rounds + 1), WORDS)
    sets = [texts[i * TEXTS : (i + 1) * TEXTS] for i in range(rounds + 1)]
    times: dict[str, list[float]] = {
        name: [] for name in ("pipeline", "until cached", "cached", "sdk", "large", "one by one")
    }
    calls = 0
    await small.open()
    await large.open()
    try:
        say("warming up")
        for warm in (small, large):
            await warm.embed(sets[0])
        await _ask_sdk(sdk, sets[0])
        for number, one in enumerate(sets[1:], 1):
            before, began = await _count(provider), time.perf_counter()
            times["pipeline"].append(await small.embed(one))
            times["until cached"].append(time.perf_counter() - began)
            calls += await _count(provider) - before
            times["cached"].append(await small.embed(one))
            times["sdk"].append(await _time(partial(_ask_sdk, sdk, one)))
            times["large"].append(await large.embed(one))
            say(f"round {number}: {times['pipeline'][-1]:.3f} s, cached {times['cached'][-1]:.3f}")
        say("one text a request")
        times["one by one"].append(await _time(partial(_ask_one_by_one, sdk, sets[1])))
    finally:
        await sdk.close()
        await large.close()
        await small.close()
    took = {name: median(seconds) for name, seconds in times.items()}
    bound = math.ceil(TEXTS / MAX_INPUTS) * LATENCY_S
    return {
        "calls_per_1000": calls / rounds * 1000 / TEXTS,
        "vs_latency_bound": round(took["pipeline"] / bound, 3),
        "vs_latency_bound_1536": round(took["large"] / bound, 3),
        "vs_sdk": round(took["pipeline"] / took["sdk"], 3),
        "vs_one_by_one": round(took["one by one"] / took["pipeline"], 1),
        "cached_vs_uncached": round(took["cached"] / took["pipeline"], 3),
        "seconds_until_cached": round(took["until cached"], 4),
        "seconds": {name: round(value, 4) for name, value in took.items()},
        "latency_bound_s": bound,
    }


async def _time(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _ask_sdk(sdk: AsyncOpenAI, texts: list[str]) -> None:
    await sdk.embeddings.create(model=MODEL, input=texts)


async def _ask_one_by_one(sdk: AsyncOpenAI, texts: list[str]) -> None:
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def ask(text: str) -> None:
        async with slots:
            await sdk.embeddings.create(model=MODEL, input=text)

    await asyncio.gather(*map(ask, texts))


async def _count(provider: Program) -> int:
    return int((await provider.ask(10, op="count"))["requests"])


def _show(figures: dict[str, Any], checks_per_s: float, violations: int) -> None:
    table = Table(title=f"{TEXTS:,} texts, {LATENCY_S * 1000:.0f} ms latency")
    for heading in ("way", "seconds", "of the latency's"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    names = {
        "pipeline": "limits, budget, breaker, cache, one request",
        "until cached": "the same, until all is kept for later",
        "cached": "the same texts again",
        "large": "others, with vectors of 1,536",
        "sdk": "OpenAI's SDK alone, one request",
        "one by one": f"OpenAI's SDK, one text a request, {IN_FLIGHT} in flight",
    }
    for name, words in names.items():
        seconds = figures["seconds"][name]
        table.add_row(words, f"{seconds:.3f}", f"{seconds / figures['latency_bound_s']:.2f}")
    printer = console()
    printer.print()
    printer.print(table)
    printer.print(f"limiter: {checks_per_s:,.0f} checks a second, {violations} violations")


def main() -> None:
    """Read the command line and run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench.providers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test with a tenth of it")
    options = parser.parse_args()
    checks, rounds = (10_000, 2) if options.quick else (100_000, ROUNDS)
    perform(partial(bench, checks=checks, rounds=rounds))


if __name__ == "__main__":
    main()

"""How fast and how right system reasoning is, and how often it asks a model.

    python -m bench.reasoning [ROWS]

Prints one JSON object on its last line. The figures of the page of metrics and of live connections
are those of `bench.reasoning_metrics` and `bench.reasoning_live`, which run as their own programs.
"""

import asyncio
import contextlib
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from prefect.testing.utilities import prefect_test_harness

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.mock.reasoning import WRITERS
from aletheia.adapters.prefect.reader import PrefectRuns
from aletheia.brain.outbox import Outbox
from aletheia.documents import Document, Documents
from aletheia.gather.run_records import OPEN, RUNS
from aletheia.intake.ledger import Ledger
from aletheia.intake.rows import ROWS
from aletheia.llm.messages import ChatRequest, Completion
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.llm.usage import Spending
from aletheia.metrics import DEAD_LETTERS, LEDGER_ROWS, METRICS
from aletheia.reasoning import sources
from aletheia.reasoning.collecting import Collector, collect_snapshot
from aletheia.reasoning.engine import Reasoner, ReasoningDeps
from aletheia.reasoning.explaining import Explainer
from aletheia.reasoning.findings import RULES
from aletheia.reasoning.settings import ReasoningSettings
from aletheia.reasoning.snapshot import SystemSnapshot
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter, RateLimits
from aletheia.series import NOTHING, Counters, Counts, Metric, merged
from aletheia.settings import BudgetSettings, IntakeSettings
from aletheia.store.clock import Clock
from aletheia.store.counters import read_counters
from bench.reasoning_evaluation import (
    BOUNDS,
    evaluate_claims,
    evaluate_findings,
    explain_wrong,
    read_records,
)
from bench.reasoning_races import run_races
from tasks.clients.reasoning import post_to_prefect

ROWS_LARGE: Final = 1_000_000
ROWS_SMALL: Final = 10_000
ROWS_AT_ONCE: Final = 5_000
IN_HAND: Final = 256
"""Tasks of a batch under way, whatever the ledger has behind it."""

SNAPSHOTS: Final = 30
"""Snapshots that are timed, after a few that are not."""

TICK_S: Final = 30
DAY_S: Final = 86_400

FAILING_EVERY: Final = 9_973
"""One task in so many is a dead letter."""

HALVES: Final = ("bench.reasoning_metrics", "bench.reasoning_live")


async def fill_ledger(documents: Documents, rows: int) -> None:
    """Insert so many rows: a batch in hand, and reported ones, as a poller leaves them."""
    await Ledger(documents, IntakeSettings(), owner="bench").prepare()
    now = time.time()
    for start in range(0, rows, ROWS_AT_ONCE):
        numbers = range(start, min(start + ROWS_AT_ONCE, rows))
        await documents.insert(ROWS, [_make_row(number, now) for number in numbers])
    for metric in METRICS:
        documents.note(_fill_metric(metric))
    documents.note(LEDGER_ROWS.add("claimed", by=IN_HAND))
    documents.note(DEAD_LETTERS.add(by=rows // FAILING_EVERY))


def _fill_metric(metric: Metric) -> Counts:
    """Return counters for as many label values as a metric has at most."""
    if not metric.is_counted or metric.kind == "gauge":
        return NOTHING
    sets = itertools.product(
        *(label.values or [f"{label.name}-{n}" for n in range(20)] for label in metric.labels)
    )
    found = [
        metric.observe(*values, amount=1.0) if metric.kind == "histogram" else metric.add(*values)
        for values in itertools.islice(sets, metric.max_sets)
    ]
    return merged(*found)


def _make_row(number: int, now: float) -> Document:
    is_in_hand = number < IN_HAND
    return {
        "_id": f"task-{number}#0000",
        "task_id": f"task-{number}",
        "state": "claimed" if is_in_hand else "reported",
        "type": "text_embedding",
        "owner": "bench" if is_in_hand else None,
        "lease_until": now + 60 if is_in_hand else 0.0,
        "claimed_at": now - 5,
        "token": 1,
        "dead_code": "model_crashed" if number % FAILING_EVERY == 0 else None,
        **({} if is_in_hand else {"finished_at": now - number % 86_400}),
    }


def make_collectors(documents: Documents) -> list[Collector]:
    """Return every source that needs nothing but the store."""

    async def read() -> Counters:
        return await read_counters(documents)

    ledger = Ledger(documents, IntakeSettings(), owner="bench")
    budgets = BudgetSettings.model_construct()
    spending = Spending(documents, PriceTable.from_settings(budgets), budgets)
    return [
        sources.ledger_source(ledger, read),
        sources.Telemetry(read).source(),
        sources.lanes_source(ledger, read),
        sources.breakers_source(CircuitBreaker(documents, threshold=5, cooldown_s=60)),
        sources.limits_source(
            RateLimiter(documents, RateLimits(20, 100, 500, 2000, 7500), strategy="rolling")
        ),
        sources.budgets_source(spending),
        sources.brain_source(Outbox(documents)),
        sources.models_source(documents, 0),
        sources.gather_source(documents, runs=RUNS, is_open=OPEN, is_done="completed"),
        sources.events_source(documents),
    ]


async def time_snapshots(directory: Path, sizes: Sequence[int]) -> list[float]:
    """Return the median times of a snapshot over ledgers of some sizes, milliseconds.

    They take turns, so that what else the machine does slows all of them alike.
    """
    paths = [directory / str(rows) for rows in sizes]
    for path, rows in zip(paths, sizes, strict=True):
        async with opened(path) as documents:
            await fill_ledger(documents, rows)
            await sources.prepare_sources(documents)
    times: list[list[float]] = [[] for _ in sizes]
    async with contextlib.AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(path)) for path in paths]
        systems = [make_collectors(documents) for documents in stores]
        for _ in range(SNAPSHOTS + 3):
            for collectors, found in zip(systems, times, strict=True):
                found.append(await time_snapshot(collectors))
    return [median(found[3:]) for found in times]


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncGenerator[EmbeddedDocuments]:
    """Open a store for a while."""
    documents = EmbeddedDocuments(directory, is_durable=False)
    await documents.open()
    try:
        yield documents
    finally:
        await documents.close()


async def time_snapshot(collectors: Sequence[Collector]) -> float:
    """Return how long a snapshot takes, milliseconds."""
    began = time.perf_counter()
    snapshot = await collect_snapshot(collectors, timeout_s=10)
    took_ms = (time.perf_counter() - began) * 1000
    if snapshot.failed_sources:
        raise RuntimeError(f"sources failed: {dict(snapshot.failed_sources)}")
    return took_ms


async def time_prefect() -> float:
    """Return the median time of reading runs from a Prefect server of its own, milliseconds."""
    reader, now = PrefectRuns(post_to_prefect), datetime.now(UTC)
    times: list[float] = []
    for _ in range(10):
        began = time.perf_counter()
        await reader.read(now)
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


class CountingChat(MockChat):
    """The mock, with a count of what it was asked."""

    def __init__(self) -> None:
        super().__init__(writers=WRITERS)
        self.calls = 0

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer, and count it."""
        self.calls += 1
        return await super().complete(request)


async def count_calls(directory: Path) -> int:
    """Return how often a model is asked in a quiet day, with a run every 30 s."""
    documents, chat = EmbeddedDocuments(directory, is_durable=False), CountingChat()
    await documents.open()
    now = datetime(2026, 11, 30, tzinfo=UTC)
    base = read_records("snapshots.jsonl")[0]["snapshot"]

    def read_clock() -> float:
        return now.timestamp()

    clock = Clock(read_clock, read_clock)
    settings = ReasoningSettings.model_construct()
    explainer = Explainer(documents, chat, "mock", settings, _cost_nothing, clock)
    reasoner = Reasoner(ReasoningDeps(documents, [], RULES, BOUNDS, settings, explainer, clock))
    try:
        await reasoner.prepare()
        for tick in range(DAY_S // TICK_S):
            # Figures move all day, as they do; what is found stays the same.
            values = {**base, "timestamp": now, "queue_success": base["queue_success"] + tick}
            await reasoner.reason(SystemSnapshot.model_validate(values))
            now += timedelta(seconds=TICK_S)
    finally:
        await documents.close()
    return chat.calls


def _cost_nothing(provider: str, model: str, tokens: Tokens) -> int:
    del provider, model, tokens
    return 0


def run_half(module: str) -> dict[str, Any]:
    """Run a bench of the other half and return its figures; what is missing is said."""
    if importlib.util.find_spec(module) is None:
        print(f"{module} is not there; its figures are left out")
        return {}
    ended = subprocess.run(
        [sys.executable, "-m", module], check=False, capture_output=True, text=True
    )
    if ended.returncode:
        print(f"{module} failed:\n{ended.stderr[-2000:]}")
        return {f"{module.rpartition('.')[2]}_failed": True}
    found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return found


def main(rows: int = ROWS_LARGE) -> None:
    """Measure everything, and print the figures."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-reasoning-") as name:
        directory = Path(name)
        small, large = asyncio.run(time_snapshots(directory / "ledgers", (ROWS_SMALL, rows)))
        print(f"a snapshot over {rows:,} rows: {large:.1f} ms, over {ROWS_SMALL:,}: {small:.1f} ms")
        figures |= {"snapshot_ms": round(large, 2), "snapshot_growth": round(large / small, 2)}
        races = asyncio.run(run_races(directory / "races"))
        figures |= asdict(races)
        figures["llm_calls"] = asyncio.run(count_calls(directory / "day"))
    with prefect_test_harness(server_startup_timeout=60):
        figures["prefect_ms"] = round(asyncio.run(time_prefect()), 2)
    claims, findings = evaluate_claims(), evaluate_findings()
    print(explain_wrong([*claims.wrong, *findings.missed]))
    figures |= {**asdict(claims), **asdict(findings)}
    for half in HALVES:
        figures |= run_half(half)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

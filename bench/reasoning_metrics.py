"""How fast the page of metrics is over a large ledger, and what counting costs a poller.

    python -m bench.reasoning_metrics [ROWS]

Prints one JSON object on its last line. `bench.reasoning` calls `measure_page` and
`measure_slowdown`.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import numpy as np

from aletheia.adapters.documents.counter_table import CounterTable
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.local.source import PACKAGED_MODEL
from aletheia.analysis.processor import Finished, Lane
from aletheia.documents import Document, Documents
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import RowState
from aletheia.intake.pipeline import drain
from aletheia.intake.poller import Poller
from aletheia.intake.rows import ROWS
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import Spending
from aletheia.metrics import METRICS, UPSTREAM_DURATION, UPSTREAM_REQUESTS
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter, RateLimits
from aletheia.series import NOTHING, Counts, Label, Metric, merged
from aletheia.service.metric_sources import own_sources
from aletheia.service.metrics import MetricsPage
from aletheia.settings import BudgetSettings, EmbeddingSettings, IntakeSettings, RateLimitSettings
from bench.corpora import make_texts

MAX_P95_MS: Final = 200.0
MAX_SLOWDOWN: Final = 1.02
"""What was promised (issue 16)."""

PAGES: Final = 60
"""Times the page is read."""

TASKS: Final = 4_000
ROUNDS: Final = 5
"""Of each way of polling, in turn."""

TEXTS: Final = 600
WORDS: Final = 20
DIMENSIONS: Final = 384
ROWS_AT_ONCE: Final = 5_000
EVERY_NTH_UNFINISHED: Final = 2_000

STATES: Final = tuple(RowState)


@dataclass(frozen=True, slots=True)
class PageFigures:
    """What reading the page took.

    Attributes:
        rows: of the ledger.
        metrics_p95_ms: of 100 pages 95 take no longer.
        metrics_median_ms: half of them take no longer.
        metrics_series: lines with a value, all metrics having as many as they may.
    """

    rows: int
    metrics_p95_ms: float
    metrics_median_ms: float
    metrics_series: int


@dataclass(frozen=True, slots=True)
class SlowdownFigures:
    """What counting costs.

    Attributes:
        intake_slowdown: time of a text with counters, over that without, at the model's pace.
        counting_ms: processor time that counting takes a task.
        ledger_ms: processor time of everything but model and HTTP a task, without counters.
        text_ms: time of a text, as the model's processes embed it.
    """

    intake_slowdown: float
    counting_ms: float
    ledger_ms: float
    text_ms: float


async def fill_ledger(documents: Documents, rows: int) -> None:
    """Insert so many rows, nearly all of them reported, as a poller leaves them."""
    now_s = time.time()
    for start in range(0, rows, ROWS_AT_ONCE):
        numbers = range(start, min(start + ROWS_AT_ONCE, rows))
        await documents.insert(ROWS, [make_row(number, now_s) for number in numbers])


def make_row(number: int, now_s: float) -> Document:
    """Return a row of the ledger: one in `EVERY_NTH_UNFINISHED` is claimed and not finished."""
    is_finished = number % EVERY_NTH_UNFINISHED > 0
    at = now_s - 86_400 * (number % 25)
    return {
        "_id": f"task-{number:08}#0123456789abcdef",
        "task_id": f"task-{number:08}",
        "content_hash": f"{number:064x}",
        "generation": 1,
        "type": "text_embedding",
        "created_at": at - 5,
        "group": "sentence-transformers/all-MiniLM-L6-v2",
        "state": RowState.REPORTED if is_finished else RowState.CLAIMED,
        "token": 1,
        "owner": None if is_finished else "host/1/run",
        "lease_until": 0 if is_finished else now_s + 60,
        "leased_at": at,
        "claimed_at": at,
        "attempts": 0,
        "report_tries": 0,
        "listed_state": "PENDING",
        "processing_at": at,
        "kept_at": at,
        "outcome": "succeeded",
        **({"reported_at": at, "finished_at": at} if is_finished else {}),
        "result": {"model": "all-MiniLM-L6-v2", "provider": "local", "dimensions": DIMENSIONS},
        "usage": {"tokens": 24},
    }


def saturate() -> Counts:
    """Return something for every counted metric, under more label values than it may have."""
    counts: list[Counts] = []
    for metric in METRICS:
        if metric.is_counted:
            chosen = itertools.product(*map(_values_of, metric.labels))
            for values in itertools.islice(chosen, 2 * metric.max_sets):
                is_histogram = metric.kind == "histogram"
                one = metric.observe(*values, amount=1) if is_histogram else metric.add(*values)
                counts.append(one)
    return merged(*counts)


def _values_of(label: Label) -> Sequence[str]:
    return label.values or [f"{label.name}-{number}" for number in range(40)]


async def measure_page(directory: Path, rows: int) -> PageFigures:
    """Fill a store, then read its page again and again."""
    documents = EmbeddedDocuments(directory, is_durable=False)
    await documents.open()
    try:
        await fill_ledger(documents, rows)
        ledger = Ledger(documents, IntakeSettings(), owner="bench")
        await ledger.prepare()
        documents.note(saturate())
        page = make_page(documents)
        text = await page.read()
        times_ms: list[float] = []
        for _ in range(PAGES):
            began_s = time.perf_counter()
            await page.read()
            times_ms.append(1000 * (time.perf_counter() - began_s))
    finally:
        await documents.close()
    return PageFigures(
        rows=rows,
        metrics_p95_ms=round(quantiles(times_ms, n=20)[-1], 1),
        metrics_median_ms=round(median(times_ms), 1),
        metrics_series=count_series(text),
    )


def make_page(documents: Documents) -> MetricsPage:
    """Build the page with all sources of the store."""
    budgets = BudgetSettings()
    spending = Spending(documents, PriceTable.from_settings(budgets), budgets)
    limiter = RateLimiter(documents, RateLimits.from_settings(RateLimitSettings()))
    breakers = CircuitBreaker(documents, threshold=5, cooldown_s=60)
    return MetricsPage(documents, own_sources(documents, breakers, limiter, spending))


def count_series(page: bytes) -> int:
    """Count the lines of a page that have a value."""
    return sum(bool(line) and not line.startswith("#") for line in page.decode().splitlines())


class MemoryUpstream:
    """An upstream without a wire: what it costs to count requests is on the poller's account."""

    def __init__(self, texts: Sequence[str], documents: Documents) -> None:
        self._pending: dict[str, object] = {
            f"task-{number}": {
                "_id": f"task-{number}",
                "type": "text_embedding",
                "state": "pending",
                "content": {"text": text},
                "createdAt": "2026-11-30T09:00:00Z",
            }
            for number, text in enumerate(texts)
        }
        self._documents = documents

    async def pending(self, limit: int) -> list[object]:
        """Return the first tasks that are pending."""
        self._count("pending", "GET")
        return list(itertools.islice(self._pending.values(), limit))

    async def report(self, task_id: str, body: bytes) -> None:
        """Take a task off the list."""
        del body
        self._count("task", "PATCH")
        self._pending.pop(task_id, None)

    def _count(self, endpoint: str, method: str) -> None:
        took = UPSTREAM_DURATION.observe(endpoint, amount=0.01)
        self._documents.note(merged(UPSTREAM_REQUESTS.add(endpoint, method, "200"), took))


class InstantProcessors:
    """Computes vectors in no time, in sets as large as those of the local model."""

    def __init__(self) -> None:
        self._vector = np.random.default_rng(0).normal(size=DIMENSIONS).astype(np.float32)

    def admit(self, task_type: str, task_input: Mapping[str, Any]) -> str:
        """Take anything."""
        del task_type, task_input
        return "model"

    @property
    def types(self) -> tuple[str, ...]:
        """The types that are computed."""
        return ("text_embedding",)

    def lane(self, task_type: str) -> Lane:
        """Return the lane of all types."""
        del task_type
        return "intake"

    def inputs_per_call(self, task_type: str) -> int | None:
        """Return that there is no bound."""
        del task_type
        return None

    async def capacity(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> int:
        """Return that all can be computed."""
        del task_type, group
        return len(inputs)

    async def process(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Answer in sets of 16."""
        del task_type
        facts: dict[str, Any] = {"model": group, "provider": "local", "dimensions": DIMENSIONS}
        result = {"embedding": self._vector, **facts}
        for start in range(0, len(inputs), 16):
            indices = range(start, min(start + 16, len(inputs)))
            yield [Finished(index, result, facts, {"tokens": 24}) for index in indices]


async def measure_poller(directory: Path, tasks: int = TASKS) -> float:
    """Work off tasks; return the processor time of each in this process, ms."""
    documents = EmbeddedDocuments(directory)
    await documents.open()
    try:
        ledger = Ledger(documents, IntakeSettings(poll_limit=100), owner="bench")
        await ledger.prepare()
        upstream = MemoryUpstream(make_texts(tasks, WORDS), documents)
        poller = Poller(upstream, ledger, InstantProcessors())
        began_s = time.process_time()
        async with poller.holding():
            await drain(poller.collector.collect, poller.process)
        return 1000 * (time.process_time() - began_s) / tasks
    finally:
        await documents.close()


def stop_counting() -> None:
    """Make this process count nothing, for the comparison."""

    def count_nothing(*_: object, **__: object) -> Counts:
        return NOTHING

    def write_nothing(*_: object) -> None:
        return

    for name in ("add", "observe"):
        setattr(Metric, name, count_nothing)
    for module in list(sys.modules.values()):
        if getattr(module, "merged", None) is merged:
            module.__dict__["merged"] = count_nothing
    for name in ("note", "add", "write"):
        setattr(CounterTable, name, write_nothing)


async def measure_texts() -> float:
    """Embed texts by the local model; return how long one takes, ms."""
    settings = EmbeddingSettings(processing_mode="local", default_embedding_model=PACKAGED_MODEL)
    embedder = LocalEmbedder(settings)
    await embedder.open()
    try:
        model = embedder.canonical_model(None)
        for texts in (make_texts(50, WORDS), make_texts(TEXTS, WORDS, skip=50)):
            began_s = time.perf_counter()
            async for _ in embedder.embed(model, texts):
                pass
            took_s = time.perf_counter() - began_s
        return 1000 * took_s / TEXTS
    finally:
        await embedder.close()


def measure_slowdown(rounds: int = ROUNDS) -> SlowdownFigures:
    """Compare pollers that count and that do not, each round in processes of their own."""
    times: dict[str, list[float]] = {"counting": [], "plain": []}
    for _ in range(rounds):
        for name, found in times.items():
            command = [sys.executable, "-m", "bench.reasoning_metrics", "--poll", name]
            ended = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(float(ended.stdout.splitlines()[-1]))
    # What disturbs a round only ever makes it slower.
    counting_ms, ledger_ms = min(times["counting"]), min(times["plain"])
    text_ms = asyncio.run(measure_texts())
    added_ms = counting_ms - ledger_ms
    return SlowdownFigures(
        intake_slowdown=round(1 + added_ms / (text_ms + ledger_ms), 4),
        counting_ms=round(added_ms, 4),
        ledger_ms=round(ledger_ms, 4),
        text_ms=round(text_ms, 3),
    )


def main(rows: int = 1_000_000) -> None:
    """Measure both, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-metrics-") as directory:
        page = asyncio.run(measure_page(Path(directory), rows))
    print(f"page over {rows:,} rows: p95 {page.metrics_p95_ms} ms, {page.metrics_series} series")
    slowdown = measure_slowdown()
    print(f"intake with counters: x {slowdown.intake_slowdown} ({slowdown.counting_ms} ms a task)")
    print(json.dumps({**asdict(page), **asdict(slowdown)}))


def poll(name: str) -> None:
    """Print the processor time of a task, ms, with counters or `plain`, without."""
    if name == "plain":
        stop_counting()
    with tempfile.TemporaryDirectory(prefix="bench-metrics-") as directory:
        print(asyncio.run(measure_poller(Path(directory))))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--poll"]:
        poll(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:]))

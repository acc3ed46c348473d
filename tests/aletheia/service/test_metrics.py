"""The page of metrics: Prometheus reads it, it never grows, and a source that fails fails alone."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from aletheia import metrics
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Documents
from aletheia.metrics import MAX_SERIES, METRICS, SOURCE_UP, TASK_DURATION, TASKS
from aletheia.series import NOTHING, OTHER, Counters, Counts, Metric, merged
from aletheia.service.guarding import BearerKey, guarded_by
from aletheia.service.metrics import (
    HighWater,
    MetricsPage,
    Sample,
    bound_sets,
    make_metrics_router,
    render_metrics,
)
from aletheia.service.refusals import install_refusals
from tests.fakes.serving import serving

TOKEN = "the-token-of-these-tests-is-long-enough"


def read(page: bytes) -> dict[str, float]:
    """Read a page as Prometheus does: by name, with label values in the order of their names."""
    return {
        "|".join(
            [sample.name, *(value for _, value in sorted(sample.labels.items()))]
        ): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def full(metric: Metric) -> Counts:
    """Fill a metric with more label values than it may have."""
    counts: Counts = NOTHING
    for number in range(2 * metric.max_sets):
        values = [
            label.values[number % len(label.values)] if label.values else f"v{number}"
            for label in metric.labels
        ]
        one = metric.observe(*values, amount=1) if metric.buckets else metric.add(*values)
        counts = merged(counts, one)
    return counts


async def no_samples(_: Counters) -> Iterable[Sample]:
    return []


def test_counters_and_histograms_are_written_as_prometheus_reads_them():
    counts = [TASKS.add("echo", "claimed", by=3), TASK_DURATION.observe("echo", amount=1.5)]
    found = read(render_metrics(Counters(merged(*counts))))
    assert found["aletheia_tasks_total|claimed|echo"] == 3
    assert found["aletheia_task_duration_seconds_bucket|0.5|echo"] == 0
    assert found["aletheia_task_duration_seconds_bucket|2|echo"] == 1
    assert found["aletheia_task_duration_seconds_bucket|+Inf|echo"] == 1
    assert found["aletheia_task_duration_seconds_sum|echo"] == 1.5
    assert found["aletheia_task_duration_seconds_count|echo"] == 1
    assert found["process_cpu_seconds_total"] > 0


def test_a_metric_without_a_value_is_not_on_the_page():
    assert b"aletheia_" not in render_metrics(Counters())


async def test_a_page_with_all_there_can_be_is_within_its_bound(documents: Documents):
    for metric in METRICS:
        if metric.is_counted:
            documents.note(full(metric))

    async def all_samples(_: Counters) -> Iterable[Sample]:
        return [
            Sample(metric, tuple(name.split("|")[1:]), 1)
            for metric in METRICS
            if not metric.is_counted
            for name in full(metric)
        ]

    page = await MetricsPage(documents, {"all": all_samples}).read()
    found = read(page)
    assert len(found) <= MAX_SERIES
    for metric in METRICS:
        assert any(name.startswith(metric.name) for name in found), metric.name


def test_more_sets_than_a_metric_may_have_become_other():
    metric = metrics.BREAKER_STATE
    values = {(f"d{number:02}",): float(number == 30) for number in range(31)}
    bounded = bound_sets(metric, values)
    assert len(bounded) == metric.max_sets
    assert bounded[OTHER,] == 1
    few = {("a",): 0.0}
    assert bound_sets(metric, few) == few


async def test_a_source_that_fails_or_hangs_leaves_out_its_own(documents: Documents):
    async def fail(_: Counters) -> Iterable[Sample]:
        raise KeyError("a secret in a message")

    async def hang(_: Counters) -> Iterable[Sample]:
        await asyncio.Event().wait()
        return []

    async def score(_: Counters) -> Iterable[Sample]:
        return [Sample(metrics.HEALTH_SCORE, (), 77)]

    documents.note(TASKS.add("echo", "claimed"))
    sources = {"failing": fail, "hanging": hang, "good": score}
    found = read(await MetricsPage(documents, sources, timeout_s=0.2).read())
    assert found["aletheia_health_score"] == 77
    assert found["aletheia_tasks_total|claimed|echo"] == 1
    up = {name: found[f"{SOURCE_UP.name}|{name}"] for name in (*sources, "counters")}
    assert up == {"failing": 0, "hanging": 0, "good": 1, "counters": 1}


async def test_a_store_that_is_away_leaves_the_rest(tmp_path: Path):
    closed = EmbeddedDocuments(tmp_path)
    found = read(await MetricsPage(closed, {"nothing": no_samples}).read())
    assert found[f"{SOURCE_UP.name}|counters"] == 0
    assert found[f"{SOURCE_UP.name}|nothing"] == 1


async def test_those_who_ask_at_once_get_one_page(documents: Documents):
    reads = 0

    async def count(_: Counters) -> Iterable[Sample]:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0.05)
        return []

    page = MetricsPage(documents, {"counted": count})
    first, *others = await asyncio.gather(*(page.read() for _ in range(5)))
    assert reads == 1
    assert others == [first] * 4
    await page.read()
    assert reads == 2


def test_counters_never_go_down_after_a_copy_was_restored():
    water = HighWater()
    old, new = TASKS.add("echo", "claimed", by=5), TASKS.add("echo", "claimed", by=9)
    gauge = metrics.LEDGER_ROWS.add("kept", by=4)
    assert water.lift(Counters(merged(new, gauge)))[1] == 0
    restored, lowered = water.lift(Counters(old))
    assert (restored.value(TASKS, "echo", "claimed"), lowered) == (9, 1)
    assert restored.value(metrics.LEDGER_ROWS, "kept") == 0, "a gauge says what is there"
    again, _ = water.lift(Counters(TASKS.add("echo", "claimed", by=6)))
    assert again.value(TASKS, "echo", "claimed") == 10
    gone, lowered = water.lift(Counters())
    assert (gone.value(TASKS, "echo", "claimed"), lowered) == (10, 1)


@pytest.mark.parametrize(
    ("token", "status"),
    [(TOKEN, 200), ("another", 401), (None, 401)],
)
async def test_the_page_may_ask_for_a_token(documents: Documents, token: str | None, status: int):
    page = MetricsPage(documents, {})
    app = FastAPI()
    install_refusals(app)
    guard = guarded_by(BearerKey(TOKEN, "METRICS_TOKEN"))
    app.include_router(make_metrics_router(page.read, guard))
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        serving(app) as url,
        aiohttp.ClientSession(url, headers=headers) as session,
        session.get("/metrics") as response,
    ):
        assert response.status == status


async def test_an_open_page_is_text_of_prometheus(documents: Documents):
    app = FastAPI()
    app.include_router(make_metrics_router(MetricsPage(documents, {}).read))
    async with (
        serving(app) as url,
        aiohttp.ClientSession(url) as session,
        session.get("/metrics") as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        assert read(await response.read())[f"{SOURCE_UP.name}|counters"] == 1

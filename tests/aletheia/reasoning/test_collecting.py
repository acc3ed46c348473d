"""Sources are read at once, and each can fail alone."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from aletheia.errors import Unavailable
from aletheia.reasoning.collecting import Collector, Facts, collect_snapshot
from tests.fakes.clock import MovableClock


def source(name: str, facts: Facts, *, timeout_s: float | None = None) -> Collector:
    async def collect(_: datetime) -> Facts:
        return facts

    return Collector(name, collect, timeout_s)


def failing(name: str, error: Exception) -> Collector:
    async def collect(_: datetime) -> Facts:
        raise error

    return Collector(name, collect)


async def test_what_sources_know_is_laid_side_by_side():
    clock = MovableClock()
    one = source("one", {"queue_pending": 3, "additional_metrics": {"a": {"x": 1}}})
    other = source("other", {"clips_ready": 4, "additional_metrics": {"b": {"y": 2}}})
    snapshot = await collect_snapshot([one, other], timeout_s=1, clock=clock.both)
    assert (snapshot.queue_pending, snapshot.clips_ready) == (3, 4)
    assert snapshot.additional_metrics["a"] == {"x": 1}
    assert snapshot.additional_metrics["sources"] == 2
    assert snapshot.timestamp == clock.now
    assert not snapshot.failed_sources


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unavailable("prefect", "no route"), "unavailable: prefect is unavailable: no route"),
        (RuntimeError("with a key: sk-canary"), "RuntimeError"),
        (KeyError("sk-canary"), "KeyError"),
    ],
)
async def test_a_source_that_fails_leaves_its_error_and_stops_no_other(error: Exception, said: str):
    sources = [failing("bad", error), source("good", {"queue_pending": 3})]
    snapshot = await collect_snapshot(sources, timeout_s=1)
    assert snapshot.failed_sources == {"bad": said}
    assert snapshot.queue_pending == 3
    assert "sk-canary" not in snapshot.model_dump_json()


async def test_a_source_that_hangs_is_left_after_its_own_time():
    async def hang(_: datetime) -> Facts:
        await asyncio.sleep(60)
        return {}

    sources = [Collector("slow", hang, timeout_s=0.05), source("good", {"queue_pending": 3})]
    async with asyncio.timeout(5):
        snapshot = await collect_snapshot(sources, timeout_s=30)
    assert snapshot.failed_sources == {"slow": "no answer within 0.05 s"}
    assert snapshot.queue_pending == 3


async def test_sources_are_read_at_the_same_time():
    meeting = asyncio.Barrier(3)

    async def meet(_: datetime) -> Facts:
        await meeting.wait()
        return {}

    sources = [Collector(name, meet) for name in "abc"]
    assert not (await collect_snapshot(sources, timeout_s=5)).failed_sources


@pytest.mark.parametrize(
    "facts",
    [
        {"queue_pending": -1},
        {"queue_pending": "many"},
        {"publish_success_rate": 94.2},
        {"recent_events": [{"type": "x"}] * 51},
        {"queue_depth": 3},
        {"timestamp": "2026-01-01T00:00:00Z"},
        {"additional_metrics": ["a"]},
        {"additional_metrics": {"errors": {"a": "b"}}},
    ],
)
async def test_a_source_whose_answer_does_not_fit_counts_as_failed(facts: Any):
    sources = [source("odd", facts), source("good", {"clips_ready": 3})]
    snapshot = await collect_snapshot(sources, timeout_s=1)
    assert set(snapshot.failed_sources) == {"odd"}
    assert snapshot.clips_ready == 3


async def test_a_source_takes_the_place_of_an_earlier_one_of_its_name():
    sources = [source("a", {"queue_pending": 1}), source("a", {"queue_pending": 2})]
    assert (await collect_snapshot(sources, timeout_s=1)).queue_pending == 2

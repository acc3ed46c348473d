"""`GET /metrics`: what was counted, and what is there now, for Prometheus (SPEC §6, Metrics).

The page only reads: counters that were written where things happened, and sources that read a few
documents each. No figure is a count over rows.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from typing import Any, Final, TypeAlias, TypeVar

from fastapi import APIRouter, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from aletheia.documents import Documents
from aletheia.metrics import LOWERED, MAX_SERIES, METRICS, SCRAPE_DURATION, SOURCE_UP
from aletheia.series import OTHER, Counters, Histogram, Metric
from aletheia.service.refusals import TOKEN_MEANINGS, describe_refusals
from aletheia.store.clock import SYSTEM_CLOCK, Clock
from aletheia.store.counters import read_counters

Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

SourceT = TypeVar("SourceT")

SCRAPE_TIMEOUT_S: Final = 5.0
"""How long one page may take to read; Prometheus itself waits for 10 s by default."""

PROCESS_SERIES: Final = 6
"""Lines about the service's own process: processor time, memory, open files, start."""

COUNTERS: Final = "counters"
"""Name of the counters among the sources."""

_SCHEME: Final = HTTPBearer(
    auto_error=False, scheme_name="metrics", description="METRICS_TOKEN, where one is set."
)
_PAGE: Final[dict[str, Any]] = {
    "description": "The page, in Prometheus' text format.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
_MEANINGS: Final = {
    HTTPStatus.UNAUTHORIZED: "`missing_key` or `wrong_key`.",
    HTTPStatus.INTERNAL_SERVER_ERROR: TOKEN_MEANINGS[HTTPStatus.INTERNAL_SERVER_ERROR],
    HTTPStatus.BAD_GATEWAY: TOKEN_MEANINGS[HTTPStatus.BAD_GATEWAY],
    HTTPStatus.SERVICE_UNAVAILABLE: "`no_key_configured`: it is not known whether a token is set. "
    "`unavailable`: the store is away. Try again after `Retry-After`.",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric that is read rather than counted, by its label values."""

    metric: Metric
    values: tuple[str, ...]
    value: float


Source: TypeAlias = Callable[[Counters], Awaitable[Iterable[Sample]]]
"""Reads what is there now; it gets the counters as well."""


class HighWater:
    """Keeps counters from going down where the store has less of them than it had before.

    That is so after a copy of it was restored. What is missing is added for as long as this process
    lives; a later one begins with what the store has, which Prometheus takes for a restart.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._missing: dict[str, float] = {}

    def lift(self, counters: Counters) -> tuple[Counters, int]:
        """Return the counters, never below what they were, and how many the store had less of."""
        lowered = 0
        numbers = dict(counters.numbers)
        for name, before in self._seen.items():
            if (now := numbers.get(name, 0)) < before:
                lowered += 1
                self._missing[name] = self._missing.get(name, 0) + before - now
        self._seen = {name: number for name, number in numbers.items() if _is_monotone(name)}
        for name, missing in self._missing.items():
            numbers[name] = numbers.get(name, 0) + missing
        return Counters(numbers), lowered


_GAUGES: Final = frozenset(metric.name for metric in METRICS if metric.kind == "gauge")


def _is_monotone(name: str) -> bool:
    return name.partition("|")[0] not in _GAUGES


class MetricsPage:
    """The page of one store and some sources, each of which may fail alone."""

    def __init__(
        self,
        documents: Documents,
        sources: Mapping[str, Source],
        *,
        timeout_s: float = SCRAPE_TIMEOUT_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._documents, self._sources = documents, sources
        self._timeout_s, self._clock = timeout_s, clock
        self._high_water = HighWater()
        self._reading: asyncio.Task[bytes] | None = None

    async def read(self) -> bytes:
        """Return the page; those who ask at once get the same one."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._end_reading)
        return await asyncio.shield(self._reading)

    def _end_reading(self, reading: asyncio.Task[bytes]) -> None:
        self._reading = None
        if not reading.cancelled():
            reading.exception()  # seen, even if everybody has gone away meanwhile

    async def _read(self) -> bytes:
        began_s = self._clock.steady_s()
        counters = await self._try(COUNTERS, self._read_counters())
        known = counters or Counters()
        names = list(self._sources)
        found = await asyncio.gather(
            *(self._try(name, self._sources[name](known)) for name in names)
        )
        samples = [sample for of_source in found for sample in of_source or ()]
        samples += [
            Sample(SOURCE_UP, (name,), float(answer is not None))
            for name, answer in zip([COUNTERS, *names], [counters, *found], strict=True)
        ]
        took_s = self._clock.steady_s() - began_s
        return render_metrics(known, [*samples, Sample(SCRAPE_DURATION, (), took_s)])

    async def _read_counters(self) -> Counters:
        counters, lowered = self._high_water.lift(await read_counters(self._documents))
        if lowered:
            log.warning("the store has less of %d counters than before", lowered)
            self._documents.note(LOWERED.add(by=lowered))
        return counters

    async def _try(self, name: str, reading: Awaitable[SourceT]) -> SourceT | None:
        """Return what a source reads; `None` where it fails, or takes too long."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await reading
        except TimeoutError:
            log.warning("metrics: %s did not answer within %g s", name, self._timeout_s)
        except Exception:
            log.warning("metrics: %s cannot be read", name, exc_info=True)
        return None


def render_metrics(counters: Counters, samples: Sequence[Sample] = ()) -> bytes:
    """Return the page in Prometheus' text format, of `MAX_SERIES` lines with a value at most."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_TableCollector(counters, samples))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def make_metrics_router(
    read: Callable[[], Awaitable[bytes]], route_class: type[APIRoute] = APIRoute
) -> APIRouter:
    """Build the route of the page; `route_class` guards it where it is not open to everybody."""
    router = APIRouter(tags=["monitoring"], route_class=route_class)

    @router.get(
        "/metrics",
        response_class=Response,
        dependencies=[Security(_SCHEME)],
        openapi_extra={"security": [{}]},  # or none
        responses={200: _PAGE, **describe_refusals(_MEANINGS)},
    )
    async def read_metrics() -> Response:
        """Return all metrics for Prometheus; docs/metrics.md describes them."""
        return Response(await read(), media_type=CONTENT_TYPE_LATEST)

    return router


class _TableCollector(Collector):
    """Yields the metrics of the table that have a value, within the bound on all together."""

    def __init__(self, counters: Counters, samples: Sequence[Sample]) -> None:
        self._counters = counters
        self._read: dict[str, dict[tuple[str, ...], float]] = {}
        for sample in samples:
            self._read.setdefault(sample.metric.name, {})[sample.values] = sample.value

    def collect(self) -> Iterator[Family]:
        left = MAX_SERIES - PROCESS_SERIES
        for metric in METRICS:
            family = self._family_of(metric)
            left -= len(family.samples)
            if left < 0:
                log.error("metrics: %s and what follows would be too many lines", metric.name)
                return
            if family.samples:
                yield family

    def _family_of(self, metric: Metric) -> Family:
        names = [label.name for label in metric.labels]
        if metric.kind == "histogram":
            family = HistogramMetricFamily(metric.name, metric.sentence, labels=names)
            for values, histogram in sorted(self._counters.histograms(metric).items()):
                buckets = _cumulated(metric, histogram)
                family.add_metric(values, buckets, histogram.total)
            return family
        made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = made(metric.name, metric.sentence, labels=names)
        for values, number in sorted(self._values_of(metric).items()):
            family.add_metric(values, number)
        return family

    def _values_of(self, metric: Metric) -> dict[tuple[str, ...], float]:
        if metric.is_counted:
            return dict(self._counters.sets(metric))
        return bound_sets(metric, self._read.get(metric.name, {}))


def bound_sets(
    metric: Metric, values: Mapping[tuple[str, ...], float]
) -> dict[tuple[str, ...], float]:
    """Return the values of a metric that is read, within its bound.

    The last ones, by their labels, become one: `other`, with the largest of their values.
    """
    if len(values) <= metric.max_sets:
        return dict(values)
    ordered = sorted(values)
    named, rest = ordered[: metric.max_named], ordered[metric.max_named :]
    bounded = {key: values[key] for key in named}
    other = tuple(OTHER for _ in metric.labels)
    bounded[other] = max(values[key] for key in rest)
    return bounded


def _cumulated(metric: Metric, histogram: Histogram) -> list[tuple[str, float]]:
    ends = (*metric.buckets, inf)
    names = ("+Inf" if end == inf else f"{end:g}" for end in ends)
    return [(name, histogram.up_to(end)) for name, end in zip(names, ends, strict=True)]

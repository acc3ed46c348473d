"""What a metric is, and the numbers in the store that it consists of (SPEC §6, Metrics).

A *counted* metric is kept as numbers in the store, which are added to in the write that makes them
true (docs/decisions/0018-counters.md). The name of one is that of its metric and the values of its
labels in their order, as `NAME|VALUE|VALUE`; a histogram has one for each bucket, alone, and one
for the sum, as `NAME|VALUE|le=0.5` and `NAME|VALUE|sum`. A metric has at most `max_sets` sets of
label values: a value that would make more of them becomes `other`.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import inf, isfinite, prod
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Unit: TypeAlias = Literal["", "seconds", "bytes", "tokens", "usd", "percent", "items"]
"""Empty for plain counts and states."""

Counts: TypeAlias = Mapping[str, float]
"""What to add to numbers in the store, by their names."""

OTHER: Final = "other"
"""Label value that stands for all beyond a metric's bound."""

NOTHING: Final[Counts] = {}

Note: TypeAlias = Callable[[Counts], None]
"""Adds to counters of the store with its next write, see `aletheia.documents.Documents.note`."""


def forget(_: Counts) -> None:
    """Note nothing, where there is no store."""


MAX_VALUE_CHARS: Final = 80
"""Longest label value; what is longer is cut."""

_LINES_BESIDE_BUCKETS: Final = 3  # `+Inf`, the sum and the count
_SEPARATOR: Final = "|"
_BUCKET: Final = "le="
_SUM: Final = "sum"
_ODD: Final = re.compile(r"[^A-Za-z0-9_./:@+ -]")


@dataclass(frozen=True, slots=True)
class Label:
    """A label; with no `values` it takes any, up to its metric's bound."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Metric:
    """What is measured, in one place; `sentence` is its help text."""

    name: str
    kind: Kind
    unit: Unit
    sentence: str
    labels: tuple[Label, ...] = ()
    max_sets: int = 1  # of label values, those with `other` among them
    buckets: tuple[float, ...] = ()  # upper ends, inclusive, ascending; `+Inf` is implied
    is_counted: bool = True  # in the store; otherwise read when somebody asks

    @property
    def max_series(self) -> int:
        """How many lines of a scrape it takes at most."""
        per_set = len(self.buckets) + _LINES_BESIDE_BUCKETS if self.kind == "histogram" else 1
        return self.max_sets * per_set

    @property
    def max_named(self) -> int:
        """How many sets may have no `other` in them; the rest is for those that have."""
        if all(label.values for label in self.labels):
            return self.max_sets
        return self.max_sets - prod(len(label.values) or 1 for label in self.labels)

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """The ends of the names of its buckets, `+Inf` last."""
        return tuple(f"{_SEPARATOR}{_BUCKET}{end:g}" for end in (*self.buckets, inf))

    def add(self, *values: str, by: float = 1) -> Counts:
        """Return what to add for something that happened `by` times, by its label values."""
        return {_name_of(self, values): by} if isfinite(by) else NOTHING

    def observe(self, *values: str, amount: float) -> Counts:
        """Return what to add for one observation of a histogram, by its label values.

        An amount that is no finite number is not observed; a negative one counts as 0.
        """
        if not isfinite(amount):
            return NOTHING
        name, amount = _name_of(self, values), max(amount, 0.0)
        bucket = self.ends[bisect_left(self.buckets, amount)]
        return {name + bucket: 1, f"{name}{_SEPARATOR}{_SUM}": amount}


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram's observations by the upper ends of its buckets, each alone; and their sum."""

    buckets: Mapping[float, float] = field(default_factory=dict[float, float])
    total: float = 0.0

    @property
    def count(self) -> float:
        """How many observations there are."""
        return sum(self.buckets.values())

    def up_to(self, end: float) -> float:
        """Return how many observations are not above an end."""
        return sum(count for bucket, count in self.buckets.items() if bucket <= end)


class Counters:
    """The numbers of a store, read at one moment."""

    def __init__(self, numbers: Mapping[str, float] = NOTHING) -> None:
        self.numbers = numbers

    def sets(self, metric: Metric) -> Iterator[tuple[tuple[str, ...], float]]:
        """Yield the label values of a counter or gauge, each set with its number."""
        beginning = metric.name + _SEPARATOR
        for name, number in self.numbers.items():
            if name == metric.name or name.startswith(beginning):
                values = tuple(name.split(_SEPARATOR)[1:])
                if len(values) == len(metric.labels):
                    yield values, number

    def value(self, metric: Metric, *values: str) -> float:
        """Return one number of a counter or gauge; 0 where nothing was counted."""
        return self.numbers.get(_name_of(metric, values), 0)

    def total(self, metric: Metric, **wanted: str) -> float:
        """Return the sum over all sets that have these label values."""
        names = [label.name for label in metric.labels]
        return sum(
            number
            for values, number in self.sets(metric)
            if wanted.items() <= dict(zip(names, values, strict=True)).items()
        )

    def by(self, metric: Metric, label: str, **wanted: str) -> dict[str, float]:
        """Return the sums by the values of one label, over the sets that have the others."""
        names = [label.name for label in metric.labels]
        sums: dict[str, float] = {}
        for values, number in self.sets(metric):
            found = dict(zip(names, values, strict=True))
            if wanted.items() <= found.items():
                sums[found[label]] = sums.get(found[label], 0) + number
        return sums

    def histograms(self, metric: Metric) -> dict[tuple[str, ...], Histogram]:
        """Return the histograms of a metric by their label values.

        A bucket that the metric does not have any more counts in the next larger one it has.
        """
        ends = (*metric.buckets, inf)
        counts: dict[tuple[str, ...], dict[float, float]] = {}
        sums: dict[tuple[str, ...], float] = {}
        beginning = metric.name + _SEPARATOR
        for name, number in self.numbers.items():
            if not name.startswith(beginning):
                continue
            *values, last = name.split(_SEPARATOR)[1:]
            key, end = tuple(values), _read_end(last)
            if len(key) != len(metric.labels):
                continue
            if last == _SUM:
                sums[key] = number
            elif end is not None:
                known = ends[bisect_left(ends, end)]
                of_set = counts.setdefault(key, dict.fromkeys(ends, 0.0))
                of_set[known] += number
        return {key: Histogram(counts[key], sums.get(key, 0.0)) for key in counts}

    def histogram(self, metric: Metric, *values: str) -> Histogram:
        """Return one histogram of a metric; an empty one where nothing was observed."""
        return self.histograms(metric).get(tuple(map(clean_value, values)), Histogram())


def merged(*counts: Counts) -> Counts:
    """Return the sum of several counts."""
    filled = [summand for summand in counts if summand]
    if len(filled) <= 1:
        return filled[0] if filled else NOTHING
    sums = dict(filled[0])
    for summand in filled[1:]:
        for name, amount in summand.items():
            sums[name] = sums.get(name, 0) + amount
    return sums


def metric_name_of(name: str) -> str:
    """Return the name of the metric that a number of the store belongs to."""
    return name.partition(_SEPARATOR)[0]


def bound_series(metric: Metric, name: str, known: Collection[str]) -> str:
    """Return the name under which a number is added to, so that its metric stays within bounds.

    It is its own name, or one with `other` in place of the values that labels take freely.

    Args:
        metric: what the number belongs to.
        name: the number's name.
        known: the names of all numbers there are.
    """
    values, rest = _split(metric, name)
    free = [not label.values for label in metric.labels]
    beginning = metric.name + _SEPARATOR
    sets = {_split(metric, other)[0] for other in known if other.startswith(beginning)}
    if values in sets or not any(free):
        return name
    if sum(not _has_other(found, free) for found in sets) < metric.max_named:
        return name
    bounded = [OTHER if is_free else value for value, is_free in zip(values, free, strict=False)]
    return _SEPARATOR.join([metric.name, *bounded, *rest])


def clean_value(value: str) -> str:
    """Return a label value with nothing odd in it, cut to `MAX_VALUE_CHARS`."""
    return _ODD.sub("_", value[:MAX_VALUE_CHARS]) or "none"


def _split(metric: Metric, name: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the label values of a number's name, and the rest of the name."""
    parts = name.split(_SEPARATOR)[1:]
    count = len(metric.labels)
    return tuple(parts[:count]), parts[count:]


def _has_other(values: Sequence[str], free: Sequence[bool]) -> bool:
    return any(is_free and value == OTHER for value, is_free in zip(values, free, strict=False))


def _read_end(text: str) -> float | None:
    if not text.startswith(_BUCKET):
        return None
    try:
        return float(text.removeprefix(_BUCKET))
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _name_of(metric: Metric, values: tuple[str, ...]) -> str:
    """Write a number's name; `ValueError` where the values are not those of the labels."""
    if len(values) != len(metric.labels):
        raise ValueError(f"{metric.name} has {len(metric.labels)} labels, not {len(values)}")
    for label, value in zip(metric.labels, values, strict=True):
        if label.values and value not in label.values:
            raise ValueError(f"{value!r} is no {label.name} of {metric.name}")
    return _SEPARATOR.join([metric.name, *map(clean_value, values)])

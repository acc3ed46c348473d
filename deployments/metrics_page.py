"""The page about every metric, written from the table of them."""

from collections.abc import Iterator
from typing import Final

from aletheia.metrics import MAX_SERIES, METRICS
from aletheia.series import OTHER, Metric
from deployments import ROOT

DOCUMENT: Final = ROOT / "docs" / "metrics.md"

_INTRODUCTION: Final = f"""\
# Metrics

`GET /metrics` of the service shows these, in Prometheus' text format, beside those about its own
process (`process_…`); {MAX_SERIES} lines at most, each bucket of a histogram being one.

*Counted* metrics live in the store and are added to in the write that makes them true, so that they
survive restarts and retention ([decision 18](decisions/0018-counters.md)); the others are read when
the page is asked for. A label without a list takes any value, up to the number of sets that its
metric may have; further ones become `{OTHER}`.

This page is written by `make configuration`.
"""


def write_document() -> str:
    """Write the page."""
    head = (
        "| metric | kind | unit | labels | sets, at most | counted | meaning |\n"
        "|---|---|---|---|---|---|---|"
    )
    rows = "\n".join(_row(metric) for metric in METRICS)
    buckets = "\n".join(_list_buckets())
    return f"{_INTRODUCTION}\n{head}\n{rows}\n\n## Buckets\n\n{buckets}\n"


def _row(metric: Metric) -> str:
    labels = "<br>".join(
        f"`{label.name}`" + (f": {', '.join(label.values)}" if label.values else "")
        for label in metric.labels
    )
    is_counted = "yes" if metric.is_counted else "no"
    cells = (f"`{metric.name}`", metric.kind, metric.unit, labels, str(metric.max_sets), is_counted)
    return f"| {' | '.join(cells)} | {metric.sentence} |"


def _list_buckets() -> Iterator[str]:
    yield "Upper ends, inclusive; `+Inf` follows."
    yield ""
    for metric in METRICS:
        if metric.buckets:
            yield f"- `{metric.name}`: {', '.join(f'{end:g}' for end in metric.buckets)}"

"""The bench of metrics measures what it says, on a small store."""

from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.intake.rows import ROWS
from aletheia.metrics import LEDGER_ROWS, MAX_SERIES, TASKS, UPSTREAM_REQUESTS
from aletheia.store.counters import read_counters
from bench.reasoning_metrics import (
    EVERY_NTH_UNFINISHED,
    count_series,
    fill_ledger,
    measure_page,
    measure_poller,
)


async def test_the_ledger_is_filled_with_rows_that_are_nearly_all_done(tmp_path: Path):
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    rows = EVERY_NTH_UNFINISHED + 10
    await fill_ledger(documents, rows)
    states = await documents.count_by(ROWS, "state", {})
    await documents.close()
    assert states == {"claimed": 2, "reported": rows - 2}


async def test_the_page_is_read_with_every_metric_at_its_bound(tmp_path: Path):
    figures = await measure_page(tmp_path, 50)
    assert figures.rows == 50
    assert 300 < figures.metrics_series <= MAX_SERIES
    assert 0 < figures.metrics_median_ms <= figures.metrics_p95_ms


async def test_a_poller_works_off_all_tasks_and_counts_them(tmp_path: Path):
    assert await measure_poller(tmp_path, tasks=40) > 0
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    counters = await read_counters(documents)
    await documents.close()
    assert counters.by(TASKS, "state") == {"claimed": 40, "succeeded": 40}
    assert counters.total(UPSTREAM_REQUESTS, method="PATCH") == 80
    assert counters.total(LEDGER_ROWS) == 0


@pytest.mark.parametrize(
    ("page", "series"), [(b"", 0), (b'# HELP a\n# TYPE a counter\na 1\na{b="c"} 2\n', 2)]
)
def test_lines_with_a_value_are_counted(page: bytes, series: int):
    assert count_series(page) == series

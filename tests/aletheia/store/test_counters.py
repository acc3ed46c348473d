"""Counters of a store: read, timed, and corrected where they say what is there."""

from collections.abc import Mapping

import pytest

from aletheia.documents import Documents
from aletheia.metrics import LEDGER_ROWS, STEP_DURATION
from aletheia.store.clock import Clock
from aletheia.store.counters import correct_gauge, read_counters, timing


async def count_three() -> Mapping[tuple[str, ...], int]:
    return {("claimed",): 3}


async def test_what_was_noted_is_read(documents: Documents):
    documents.note(LEDGER_ROWS.add("kept", by=2))
    assert (await read_counters(documents)).value(LEDGER_ROWS, "kept") == 2


async def test_a_gauge_that_is_wrong_is_corrected_and_then_right(documents: Documents):
    documents.note(LEDGER_ROWS.add("claimed", by=5))
    documents.note(LEDGER_ROWS.add("kept", by=-1))
    assert await correct_gauge(documents, LEDGER_ROWS, count_three)
    counters = await read_counters(documents)
    assert counters.by(LEDGER_ROWS, "state") == {"claimed": 3, "kept": 0}
    assert not await correct_gauge(documents, LEDGER_ROWS, count_three)


async def test_what_two_countings_do_not_agree_about_is_left_alone(documents: Documents):
    rows = iter([3, 4])

    async def count() -> Mapping[tuple[str, ...], int]:
        return {("claimed",): next(rows)}

    assert not await correct_gauge(documents, LEDGER_ROWS, count)
    assert (await read_counters(documents)).total(LEDGER_ROWS) == 0


async def test_a_block_is_timed_also_where_it_fails(documents: Documents):
    times = iter([10.0, 13.0])
    with (
        pytest.raises(KeyError),
        timing(documents.note, STEP_DURATION, "dedup", clock=Clock(steady_s=lambda: next(times))),
    ):
        raise KeyError
    found = (await read_counters(documents)).histogram(STEP_DURATION, "dedup")
    assert (found.count, found.total) == (1, 3.0)

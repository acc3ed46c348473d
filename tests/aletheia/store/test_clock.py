"""Moments, as the store keeps them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.store.clock import Clock, TimeUnit, microseconds, microseconds_of, moment


def test_the_time_is_whole_microseconds():
    clock = Clock(unix_s=lambda: 1_800_000_000.123_456_7, steady_s=lambda: 5.0)
    assert clock.now() == 1_800_000_000_123_457


@given(st.timedeltas(timedelta(0), timedelta(days=80_000)))
def test_a_moment_is_read_back_as_it_was(since_1970: timedelta):
    at = datetime(1970, 1, 1, tzinfo=UTC) + since_1970
    assert moment(microseconds_of(at)) == at


def test_a_moment_is_written_in_utc():
    at = datetime(2026, 3, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert moment(microseconds_of(at)) == datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("unit", TimeUnit)
@given(at=st.integers(0, 7_258_118_400_000_000))
def test_a_stored_moment_is_read_back_as_it_was(unit: TimeUnit, at: int):
    assert unit.read(unit.write(at)) == at


def test_microseconds_are_stored_as_integers_and_seconds_as_numbers_of_seconds():
    at = microseconds(1_800_000_000.5)
    assert TimeUnit.MICROSECONDS.write(at) == 1_800_000_000_500_000
    assert isinstance(TimeUnit.MICROSECONDS.write(at), int)
    assert TimeUnit.SECONDS.write(at) == 1_800_000_000.5

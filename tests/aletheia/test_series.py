"""Names of the numbers that metrics consist of, their bounds, and what is read back of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.series import (
    MAX_VALUE_CHARS,
    NOTHING,
    OTHER,
    Counters,
    Histogram,
    Label,
    Metric,
    bound_series,
    merged,
    metric_name_of,
)

STATE = Label("state", ("open", "closed"))
MODEL = Label("model")
DOORS = Metric("aletheia_doors_total", "counter", "", "Doors.", (STATE,), 2)
CALLS = Metric("aletheia_calls_total", "counter", "", "Calls.", (MODEL, STATE), 6)
PLAIN = Metric("aletheia_plain_total", "counter", "", "Anything.")
WAIT = Metric("aletheia_wait_seconds", "histogram", "seconds", "Wait.", (MODEL,), 3, (1, 5))


def test_the_name_of_a_number_has_its_label_values_in_order():
    assert CALLS.add("m", "open", by=3) == {"aletheia_calls_total|m|open": 3}
    assert PLAIN.add() == {"aletheia_plain_total": 1}
    assert metric_name_of("aletheia_calls_total|m|open") == CALLS.name


@pytest.mark.parametrize("values", [("m",), ("m", "open", "x"), ("m", "ajar")])
def test_values_that_are_not_those_of_the_labels_are_refused(values: tuple[str, ...]):
    with pytest.raises(ValueError, match="aletheia_calls_total"):
        CALLS.add(*values)


@given(value=st.text())
def test_no_value_of_a_label_breaks_a_name_or_makes_it_long(value: str):
    (name,) = CALLS.add(value, "open")
    assert name.count("|") == 2
    assert name.isascii()
    assert name.isprintable()
    assert len(name) <= len(CALLS.name) + MAX_VALUE_CHARS + 6


@pytest.mark.parametrize(
    ("amount", "end"), [(0.5, "1"), (1, "1"), (1.01, "5"), (5, "5"), (6, "inf"), (-3, "1")]
)
def test_an_observation_falls_into_the_first_bucket_that_holds_it(amount: float, end: str):
    counts = WAIT.observe("m", amount=amount)
    assert counts == {
        f"aletheia_wait_seconds|m|le={end}": 1,
        "aletheia_wait_seconds|m|sum": max(0, amount),
    }


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_not_counted(amount: float):
    assert WAIT.observe("m", amount=amount) == NOTHING
    assert PLAIN.add(by=amount) == NOTHING


def test_a_metric_takes_as_many_lines_as_its_sets_and_buckets():
    assert (CALLS.max_series, WAIT.max_series, PLAIN.max_series) == (6, 15, 1)
    assert (CALLS.max_named, WAIT.max_named, DOORS.max_named) == (4, 2, 2)


def test_a_histogram_is_read_back_with_sum_and_count():
    numbers = merged(*(WAIT.observe("m", amount=amount) for amount in (0.5, 2, 2, 9)))
    found = Counters(numbers).histogram(WAIT, "m")
    assert (found.count, found.total) == (4, 13.5)
    assert [found.up_to(end) for end in (1, 5, math.inf)] == [1, 3, 4]
    assert Counters(numbers).histogram(WAIT, "another") == Histogram()


def test_a_bucket_that_is_gone_counts_in_the_next_larger_one():
    numbers = {"aletheia_wait_seconds|m|le=2": 4, "aletheia_wait_seconds|m|le=77": 1}
    found = Counters(numbers).histogram(WAIT, "m")
    assert [found.up_to(end) for end in (1, 5, math.inf)] == [0, 4, 5]


def test_numbers_are_summed_by_label():
    counts = [CALLS.add("a", "open", by=2), CALLS.add("b", "open"), CALLS.add("b", "closed")]
    counters = Counters(merged(*counts, PLAIN.add(by=7)))
    assert counters.value(CALLS, "a", "open") == 2
    assert counters.total(CALLS) == 4
    assert counters.total(CALLS, state="open") == 3
    assert counters.by(CALLS, "model") == {"a": 2, "b": 2}
    assert counters.by(CALLS, "state", model="b") == {"open": 1, "closed": 1}
    assert counters.value(PLAIN) == 7


@pytest.mark.parametrize(
    "name", ["aletheia_calls_total|m", "aletheia_calls_total", "aletheia_calls_totals|m|open"]
)
def test_numbers_of_another_shape_are_not_read(name: str):
    assert Counters({name: 5}).total(CALLS) == 0


def test_a_value_beyond_the_bound_becomes_other_and_keeps_its_closed_labels():
    known = {name for model in "ab" for state in STATE.values for name in CALLS.add(model, state)}
    assert bound_series(CALLS, "aletheia_calls_total|a|open", known) in known
    bounded = bound_series(CALLS, "aletheia_calls_total|c|open", known)
    assert bounded == f"aletheia_calls_total|{OTHER}|open"


@given(models=st.lists(st.text(max_size=3), max_size=60))
def test_however_many_values_come_a_metric_stays_within_its_bound(models: list[str]):
    known: set[str] = set()
    for model in models:
        for state in STATE.values:
            (name,) = CALLS.add(model, state)
            known.add(bound_series(CALLS, name, known))
    assert len(known) <= CALLS.max_sets


def test_the_buckets_of_a_set_that_is_known_are_not_bounded():
    known = {name for model in "ab" for name in WAIT.observe(model, amount=0)}
    bucket = "aletheia_wait_seconds|a|le=5"
    assert bound_series(WAIT, bucket, known) == bucket
    beyond = bound_series(WAIT, "aletheia_wait_seconds|c|le=5", known)
    assert beyond == f"aletheia_wait_seconds|{OTHER}|le=5"

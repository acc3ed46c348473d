"""Pauses after failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.errors import BadAnswer, QuotaExhausted, Refused, Unavailable
from aletheia.store.backoff import Backoff, CallBackoff


def test_pauses_double_up_to_their_bound():
    backoff = Backoff(1, 600)
    assert [backoff.window_s(n) for n in (1, 2, 3, 10, 11, 1_000_000)] == [1, 2, 4, 512, 600, 600]


@pytest.mark.parametrize(
    ("jitter", "share", "pause_s"),
    [
        pytest.param(0, 0.3, 4, id="nothing is drawn"),
        pytest.param(0.5, 0, 2, id="the least of equal jitter"),
        pytest.param(0.5, 1, 4, id="the most of equal jitter"),
        pytest.param(1, 0, 0, id="the least of full jitter"),
        pytest.param(1, 0.25, 1, id="a quarter of full jitter"),
    ],
)
def test_a_part_of_a_pause_is_drawn(jitter: float, share: float, pause_s: float):
    assert Backoff(1, 600, jitter, lambda: share).pause_s(3) == pause_s


@pytest.mark.parametrize(
    ("asked_s", "pause_s"),
    [(0, 4), (3.9, 4), (4.1, 4.1), (600, 600), (3600, 600)],
)
def test_a_longer_pause_that_was_asked_for_is_kept_up_to_the_bound(asked_s: float, pause_s: float):
    assert Backoff(1, 600, jitter=0).pause_s(3, asked_s=asked_s) == pause_s


@given(
    base_s=st.floats(0, 1000),
    max_s=st.floats(0, 1000),
    jitter=st.floats(0, 1),
    failures=st.integers(-1, 10_000),
)
def test_no_pause_is_longer_than_the_bound_or_less_than_what_is_not_drawn(
    base_s: float, max_s: float, jitter: float, failures: int
):
    backoff = Backoff(base_s, max_s, jitter)
    window_s = backoff.window_s(failures)
    assert 0 <= window_s <= max_s
    assert window_s * (1 - jitter) * 0.999_999 <= backoff.pause_s(failures) <= window_s * 1.000_001


def test_back_off_doubles_up_to_a_minute() -> None:
    delay = CallBackoff(0.5, lambda: 1.0)
    failure = Unavailable("upstream", "down")
    assert [delay(failure) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_back_off_is_a_random_share_of_its_window() -> None:
    shares = iter([0.0, 0.25, 0.5])
    delay = CallBackoff(1, lambda: next(shares))
    failure = Unavailable("upstream", "down")
    assert [delay(failure) for _ in range(3)] == [0, 0.5, 2]


def test_back_off_comes_on_top_of_what_was_asked_for() -> None:
    assert CallBackoff(1, lambda: 0.5)(Unavailable("upstream", "down", 60)) == 60.5


@pytest.mark.parametrize(
    "error",
    [
        BadAnswer("upstream", "html"),
        QuotaExhausted("openai", "unpaid"),
        Refused("upstream", 400),
        Unavailable("upstream", "down", 60.1),
        ValueError(),
    ],
)
def test_no_back_off_where_another_try_is_pointless(error: Exception) -> None:
    assert CallBackoff(1, lambda: 0.5)(error) is False


def test_the_longest_delay_bounds_window_and_what_may_be_asked_for() -> None:
    delay = CallBackoff(4, lambda: 1.0, max_s=5)
    failure = Unavailable("openai", "down")
    assert [delay(failure) for _ in range(3)] == [4, 5, 5]
    assert delay(Unavailable("openai", "busy", 5.1)) is False

"""How long is waited between two tries of one call."""

import pytest

from aletheia.errors import BadAnswer, QuotaExhausted, Refused, Unavailable
from aletheia.resilience.backoff import CallBackoff


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

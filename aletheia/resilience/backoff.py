"""How long to wait between two tries of one call."""

from collections.abc import Callable
from typing import Final

from aletheia.errors import BadAnswer, QuotaExhausted, Unavailable

MAX_WAIT_S: Final = 60.0
"""Longest delay between two tries of one call. Whoever asks for more is left alone."""


class BackOff:
    """Decides after each failure of one call whether to try again, and after how long.

    The delay is exponential with full jitter
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), on top of what
    the other side asked for.

    Args:
        base_s: upper end of the first delay; doubled with each try.
        draw: gives a share of that, in `[0, 1]`.
        max_s: longest delay; a failure that asks for more is not tried again.
    """

    def __init__(
        self, base_s: float, draw: Callable[[], float], *, max_s: float = MAX_WAIT_S
    ) -> None:
        self._max_s = max_s
        self._window_s = min(base_s, max_s)
        self._draw = draw

    def __call__(self, error: Exception) -> bool | float:
        """Give the delay in seconds, or `False` where another try is pointless."""
        if not isinstance(error, Unavailable) or isinstance(error, BadAnswer | QuotaExhausted):
            return False
        asked_s = error.retry_after_s or 0.0
        if asked_s > self._max_s:
            return False
        delay_s = asked_s + self._draw() * self._window_s
        self._window_s = min(2 * self._window_s, self._max_s)
        return delay_s

"""How long to wait after failures in a row."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aletheia.errors import BadAnswer, QuotaExhausted, Unavailable

MAX_DOUBLINGS: Final = 30
"""Beyond these a pause has long reached any bound; a larger power would overflow."""

MAX_WAIT_S: Final = 60.0
"""Longest delay between two tries of one call, seconds; who asks for more is not asked again."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double with each failure in a row, up to a bound.

    Of each pause a part is drawn at random, so that many who failed together do not come back
    together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    base_s: float  # the first pause, seconds, before a part of it is drawn
    max_s: float  # the longest one
    jitter: float = 0.5  # the part that is drawn, 0 to 1: 0 is none, 1 the whole pause
    draw: Callable[[], float] = random.random  # draws a share of that part, in `[0, 1]`

    def window_s(self, failures: int) -> float:
        """Return the upper end of the pause after so many failures in a row, from 1, seconds."""
        return min(self.base_s * 2 ** min(max(failures, 1) - 1, MAX_DOUBLINGS), self.max_s)

    def pause_s(self, failures: int, *, asked_s: float = 0.0) -> float:
        """Return the pause after so many failures in a row, from 1, seconds, `max_s` at most.

        It is at least `asked_s`, for which the other side asked us to stay away.
        """
        drawn_s = self.window_s(failures) * (1 - self.jitter + self.jitter * self.draw())
        return min(max(drawn_s, asked_s), self.max_s)


class CallBackoff:
    """Decides after each failure of one call whether to try again, and after how long.

    The delay is drawn from a window of up to `base_s`, doubled with each try, on top of what the
    other side asked for. Who asks for more than `max_s` is not asked again.
    """

    def __init__(
        self, base_s: float, draw: Callable[[], float], *, max_s: float = MAX_WAIT_S
    ) -> None:
        self._backoff = Backoff(base_s, max_s, jitter=1, draw=draw)
        self._failures = 0

    def __call__(self, error: Exception) -> bool | float:
        """Return the delay in seconds, or `False` where another try is pointless."""
        if not isinstance(error, Unavailable) or isinstance(error, BadAnswer | QuotaExhausted):
            return False
        asked_s = error.retry_after_s or 0.0
        if asked_s > self._backoff.max_s:
            return False
        self._failures += 1
        return asked_s + self._backoff.pause_s(self._failures)

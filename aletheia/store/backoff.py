"""How long to wait after failures in a row."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_DOUBLINGS: Final = 30
"""Beyond these a pause has long reached any bound; a larger power would overflow."""


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

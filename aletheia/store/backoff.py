"""How long to wait after failures in a row, and the moment before which nothing is tried again."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aletheia.documents import Document
from aletheia.store.clock import TimeUnit, microseconds

MAX_DOUBLINGS: Final = 30
"""Beyond these a pause has long reached any bound; a larger power would overflow."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double with each failure in a row, up to a bound.

    Of each pause a part is drawn at random, so that many who failed together do not come back
    together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

    Attributes:
        base_s: the first pause, seconds, before a part of it is drawn.
        max_s: the longest one.
        jitter: the part that is drawn, 0 to 1: 0 is none, 1 the whole pause.
        draw: draws a share of that part, in `[0, 1]`.
    """

    base_s: float
    max_s: float
    jitter: float = 0.5
    draw: Callable[[], float] = random.random

    def window_s(self, failures: int) -> float:
        """Return the upper end of the pause after so many failures in a row, from 1, seconds."""
        return min(self.base_s * 2 ** min(max(failures, 1) - 1, MAX_DOUBLINGS), self.max_s)

    def pause_s(self, failures: int, *, asked_s: float = 0.0) -> float:
        """Return the pause after so many failures in a row, seconds, never longer than `max_s`.

        Args:
            failures: how many, from 1.
            asked_s: how long the other side asked us to stay away; a shorter pause is none.
        """
        drawn_s = self.window_s(failures) * (1 - self.jitter + self.jitter * self.draw())
        return min(max(drawn_s, asked_s), self.max_s)


@dataclass(frozen=True, slots=True)
class RetryWindow:
    """Where a document keeps its failures in a row, and the moment before which it has to wait.

    A moment that lies further ahead than the longest pause is none to wait for: the clock it was
    written by was ahead, or ours has been set back.

    Attributes:
        max_s: the longest pause that is written, seconds.
        not_before: name of the moment.
        failures: name of the number of failures.
        unit: how the moment is written.
    """

    max_s: float
    not_before: str = "due_at"
    failures: str = "failures"
    unit: TimeUnit = TimeUnit.MICROSECONDS

    @property
    def cleared(self) -> dict[str, Any]:
        """What to set in a document that has nothing to wait for."""
        return {self.failures: 0, self.not_before: 0}

    def values(self, failures: int, pause_s: float, now: int) -> dict[str, Any]:
        """Return what to set in a document that has failed so often and waits from now on."""
        until = now + microseconds(min(pause_s, self.max_s))
        return {self.failures: failures, self.not_before: self.unit.write(until)}

    def failures_of(self, document: Document) -> int:
        """Return how often a document has failed in a row."""
        return int(document.get(self.failures) or 0)

    def waits_until(self, document: Document, now: int) -> int | None:
        """Return the moment a document waits for, microseconds; `None` if it does not wait."""
        until = self.unit.read(document.get(self.not_before) or 0)
        return until if 0 < until - now <= microseconds(self.max_s) else None

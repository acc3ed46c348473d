"""How long to wait between two tries of one call."""

from collections.abc import Callable
from typing import Final

from aletheia.errors import BadAnswer, QuotaExhausted, Unavailable
from aletheia.store.backoff import Backoff

MAX_WAIT_S: Final = 60.0
"""Longest delay between two tries of one call, seconds; who asks for more is not asked again."""


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

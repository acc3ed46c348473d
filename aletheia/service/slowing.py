"""Callers who guess keys, answered ever more slowly (SPEC §6)."""

import asyncio
import logging
from collections import OrderedDict
from typing import Final

from aletheia.store.backoff import Backoff
from aletheia.store.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)

FREE_GUESSES: Final = 10
"""Guesses of an address within `FORGOTTEN_AFTER_S` that are answered at once: mistakes."""

FORGOTTEN_AFTER_S: Final = 60.0
"""For so long without a guess an address is remembered, seconds."""

MAX_ADDRESSES: Final = 4096
"""Addresses that are remembered."""

MAX_PAUSED: Final = 256
"""Answers that wait at once: each has a connection, of which there is an end."""

PAUSES: Final = Backoff(base_s=0.1, max_s=2.0)


class Slowdown:
    """Remembers from where guesses come, and how long the answer to the next one takes.

    Whoever has the right key is never slowed, wherever others guess from.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._guesses: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._paused = 0

    async def pause(self, address: str) -> None:
        """Count a guess of an address; return when it may be answered."""
        pause_s = self.count(address)
        if not pause_s or self._paused >= MAX_PAUSED:
            return
        self._paused += 1
        try:
            await asyncio.sleep(pause_s)
        finally:
            self._paused -= 1

    def count(self, address: str) -> float:
        """Count a guess of an address; return for how many seconds it waits for its answer."""
        now = self._clock.steady_s()
        guesses, last = self._guesses.pop(address, (0, now))
        guesses = 1 if now - last > FORGOTTEN_AFTER_S else guesses + 1
        self._guesses[address] = (guesses, now)
        if len(self._guesses) > MAX_ADDRESSES:
            self._guesses.popitem(last=False)
        if guesses == FREE_GUESSES + 1:
            log.warning("%d wrong keys or tokens from %s: it is slowed down", guesses, address)
        return PAUSES.pause_s(guesses - FREE_GUESSES) if guesses > FREE_GUESSES else 0.0

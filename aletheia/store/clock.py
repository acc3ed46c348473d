"""Time as the store keeps it: whole microseconds since 1970, UTC."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final

SECOND: Final = 1_000_000
"""Microseconds."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks of a machine: one that may be set, and one that only goes forward.

    `unix_s` is Unix time; `steady_s` measures how long something has lasted; both in seconds.
    """

    unix_s: Callable[[], float] = time.time
    steady_s: Callable[[], float] = time.monotonic

    def now(self) -> int:
        """Return the time, microseconds."""
        return microseconds(self.unix_s())


SYSTEM_CLOCK: Final = Clock()


class TimeUnit(IntEnum):
    """How a stored moment is written; the value is its length in microseconds.

    Seconds are those of records that began with them.
    """

    MICROSECONDS = 1
    SECONDS = SECOND

    def write(self, at: int) -> float:
        """Return a moment in microseconds as it is stored: an `int`, or a `float` of seconds."""
        return at if self is TimeUnit.MICROSECONDS else at / self

    def read(self, stored: float) -> int:
        """Return a stored moment in microseconds."""
        return round(stored * self)


def microseconds(seconds: float) -> int:
    """Return seconds as the nearest whole number of microseconds."""
    return round(seconds * SECOND)


def moment(at: int) -> datetime:
    """Return a moment in microseconds as a `datetime` in UTC."""
    return _EPOCH + timedelta(microseconds=at)


def microseconds_of(at: datetime) -> int:
    """Return an aware `datetime` in microseconds."""
    return (at - _EPOCH) // timedelta(microseconds=1)

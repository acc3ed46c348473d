"""A clock that tests move."""

from datetime import UTC, datetime, timedelta

from aletheia.store.clock import SECOND, Clock, microseconds_of


class MovableClock:
    """A clock that stands still until it is moved, exact to the microsecond.

    Attributes:
        now: the time; setting it is setting the clock, which its steady part knows nothing of.
    """

    def __init__(self, now: datetime = datetime(2026, 11, 18, 10, 0, 30, 250_001, UTC)) -> None:
        self.now = now
        self._steady_s = 1_000.0

    def __call__(self) -> float:
        return microseconds_of(self.now) / SECOND

    def move(self, **by: float) -> None:
        """Move forward by so much time."""
        self.now += timedelta(**by)
        self._steady_s += timedelta(**by).total_seconds()

    def set(self, **by: float) -> None:
        """Set the clock forward, or back, while no time passes."""
        self.now += timedelta(**by)

    def off_by(self, **by: float) -> Clock:
        """Return the clock of another machine, which differs from this one."""
        return Clock(lambda: self() + timedelta(**by).total_seconds(), lambda: self._steady_s)

    @property
    def both(self) -> Clock:
        """The clock as the store takes it."""
        return self.off_by()

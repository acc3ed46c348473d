"""How the ledger stands, for people to read."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """Reports that the upstream has answered with something that is no acknowledgement."""

    count: int  # how many wait to be sent again
    since: datetime  # when the first of them was answered so
    answer: str  # what it looked like

    def __str__(self) -> str:
        since = f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.count:,} reports are not acknowledged, since {since}: {self.answer}"


@dataclass(frozen=True, slots=True)
class ClockAhead:
    """A clock that was found to be ahead of another one, at a moment by that other one."""

    owner: str  # the poller whose clock it was, as host, process and run; empty if not known
    ahead_s: float
    seen_at: datetime

    def __str__(self) -> str:
        at = f"{self.seen_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"clocks differ: that of {self.owner!r} was {self.ahead_s:.0f} s ahead, at {at}"


@dataclass(frozen=True, slots=True)
class IntakeStatus:
    """How the ledger stands."""

    is_paused: bool
    states: dict[str, int]  # rows by state
    held: int  # rows under a lease that has not run out
    expired: int  # rows whose lease has run out, for the next tick to take over
    waiting: int  # rows deferred after `processing`
    dead: dict[str, int]  # dead letters by code
    blocked_head: int = 0  # pending entries that must wait and hide what comes after them
    unacknowledged: Unacknowledged | None = None
    clock_ahead: ClockAhead | None = None  # what was found during the last day

    def warnings(self) -> list[str]:
        """Return what somebody should see to."""
        head = f"blocked_head: {self.blocked_head:,} pending tasks must wait, and hide the others"
        found = [head if self.blocked_head else None, self.unacknowledged, self.clock_ahead]
        return [str(warning) for warning in found if warning is not None]

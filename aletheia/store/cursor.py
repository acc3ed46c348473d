"""Cursors: how far somebody has been served, by one process at a time, and what could not be.

Whoever takes the lease of a cursor has a turn: serves what comes next, writes after each step how
far that went, and releases it. If it dies, the next one continues from what was written. After a
failure the cursor waits, longer each time; what is never going to be served becomes a dead letter,
which is written before the cursor moves past it.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.store.backoff import Backoff
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds, moment
from aletheia.store.lease import DEFAULT_SKEW_S, Lease, Leases, LeaseTerms

MAX_REASON_CHARS: Final = 300
MAX_PURGED: Final = 10_000
"""Documents that are deleted at once."""

_IDS_AT_ONCE: Final = 500
_HEALTHY: Final[Mapping[str, Any]] = {"failures": 0, "due_at": 0, "failing_since": 0, "reason": ""}


@dataclass(frozen=True, slots=True)
class CursorPace:
    """How patient the users of a collection's cursors are; all in seconds."""

    backoff_s: float = 1.0  # pause after the first failure in a row; doubled up to `max_backoff_s`
    max_backoff_s: float = 600.0  # longest pause, also where the other side asks for more
    timeout_s: float = 15.0  # bound on one step
    lease_s: float = 60.0  # how long a dead process keeps a cursor; longer than one step takes
    skew_s: float = DEFAULT_SKEW_S  # how far the clocks of machines may differ
    interval_s: float = 0.5  # between two polls beside a run
    gather_s: float = 2.0  # between two steps beside a run; what comes meanwhile goes along
    grace_s: float = 3.0  # how long the end of a run waits for its last steps


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a cursor waits for, after so many failures in a row, and what the last one said."""

    failures: int
    next_try_at: datetime | None
    reason: str


class Cursors:
    """The cursors of one collection.

    A cursor has the values `holder`, `lease_until`, `failures`, `failing_since`, `due_at` and
    `reason`, times in microseconds; everything else in it is its user's. `draw` draws a share of
    the second half of each pause, in `[0, 1]`.
    """

    def __init__(
        self,
        documents: Documents,
        collection: str,
        pace: CursorPace,
        *,
        clock: Clock = SYSTEM_CLOCK,
        draw: Callable[[], float] = random.random,
    ) -> None:
        lease = LeaseTerms(pace.lease_s, pace.skew_s)
        self._leases = Leases(documents, collection, lease, clock=clock)
        self._backoff = Backoff(pace.backoff_s, pace.max_backoff_s, draw=draw)
        self._clock = clock
        self.fresh: Mapping[str, Any] = {**lease.released, **_HEALTHY}

    def can_take(self, cursor: Document, *, ignores_pause: bool = False) -> bool:
        """Return whether a cursor, as it was read, can be taken now or before its pause ends."""
        is_waiting = self._waits_until(cursor) is not None
        return (ignores_pause or not is_waiting) and self._leases.is_free(cursor)

    async def take(self, cursor: Document, *, ignores_pause: bool = False) -> "Turn | None":
        """Take a cursor, as it was read; `None` if it cannot be taken, or has changed since."""
        if not self.can_take(cursor, ignores_pause=ignores_pause):
            return None
        where = {"due_at": cursor.get("due_at")}
        lease = await self._leases.take(cursor["_id"], seen=cursor, where=where)
        return None if lease is None else Turn(lease, self._backoff, self._clock)

    def trouble_of(self, cursor: Document) -> Trouble:
        """Return what a cursor waits for."""
        until = self._waits_until(cursor)
        next_try_at = None if until is None else moment(until)
        return Trouble(_failures_of(cursor), next_try_at, cursor.get("reason") or "")

    def _waits_until(self, cursor: Document) -> int | None:
        """Return the moment a cursor waits for, microseconds; `None` if it does not wait.

        What lies further ahead than the longest pause was written by a clock that was ahead.
        """
        until = int(cursor.get("due_at") or 0)
        is_ahead = 0 < until - self._clock.now() <= microseconds(self._backoff.max_s)
        return until if is_ahead else None


class Turn:
    """A cursor, as we know it, that is ours for a while; `Cursors.take` makes it."""

    def __init__(self, lease: Lease, backoff: Backoff, clock: Clock) -> None:
        self._backoff, self._clock, self.lease = backoff, clock, lease
        self.cursor: Document = lease.document

    @property
    def has_failed(self) -> bool:
        """Whether the last step of this turn, or of the ones before, failed."""
        return _failures_of(self.cursor) > 0

    async def advance(self, values: Mapping[str, Any], *, unset: Sequence[str] = ()) -> bool:
        """Note a step that went well, and begin the lease anew; return whether it is still ours."""
        self.cursor = {**self.cursor, **_HEALTHY, **values}
        return await self.lease.write({**_HEALTHY, **values}, unset=unset, renews=True)

    @property
    def failing_since(self) -> int:
        """When the first failure in a row was, microseconds; now, if nothing has failed yet."""
        return int(self.cursor.get("failing_since") or 0) or self._clock.now()

    async def wait(
        self,
        reason: str,
        values: Mapping[str, Any] | None = None,
        *,
        asked_s: float = 0.0,
        unset: Sequence[str] = (),
    ) -> tuple[int, float]:
        """Note a failure; return how many there are in a row by now, and the pause, seconds.

        `values` are set and `unset` removed with it; the other side asked for `asked_s` seconds.
        """
        failures = _failures_of(self.cursor) + 1
        pause_s = self._backoff.pause_s(failures, asked_s=asked_s)
        trouble = {
            "failures": failures,
            "due_at": self._clock.now() + microseconds(pause_s),
            "failing_since": self.failing_since,
            "reason": reason[:MAX_REASON_CHARS],
        }
        self.cursor = {**self.cursor, **trouble}
        await self.lease.write({**(values or {}), **trouble}, unset=unset)
        return failures, pause_s


def _failures_of(cursor: Document) -> int:
    return int(cursor.get("failures") or 0)


class DeadLetters:
    """What was given up, in one collection, until somebody replays or deletes it.

    A dead letter has its project under `project`, and `at`, in microseconds; everything else in it
    is its user's.
    """

    def __init__(
        self, documents: Documents, collection: str, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._documents, self._collection, self._clock = documents, collection, clock

    async def prepare(self) -> None:
        """Make listing and purging fast."""
        await self._documents.ensure_index(self._collection, ["project", "at"])
        await self._documents.ensure_index(self._collection, ["at"])

    async def add(self, project_id: str, dead_letters: Mapping[str, Mapping[str, Any]]) -> None:
        """Write dead letters of a project, by id; one that is there is replaced."""
        common = {"project": project_id, "at": self._clock.now()}
        updates = [
            Update(id_, Change(set={**values, **common})) for id_, values in dead_letters.items()
        ]
        if updates:
            await self._documents.upsert(self._collection, updates)

    async def newest(self, project_id: str | None = None, *, limit: int = 100) -> list[Document]:
        """Return the newest dead letters (of a project), newest first."""
        where = {} if project_id is None else {"project": project_id}
        return await self._documents.find(
            self._collection, where, sort="at", descending=True, limit=limit
        )

    async def count_by_project(self) -> dict[str, int]:
        """Count the dead letters of each project that has some."""
        return await self._documents.count_by(self._collection, "project", {})

    async def forget(self, ids: Sequence[str]) -> int:
        """Delete dead letters by id; return how many there were."""
        deleted = 0
        for start in range(0, len(ids), _IDS_AT_ONCE):
            where = {"_id": {"$in": list(ids[start : start + _IDS_AT_ONCE])}}
            deleted += await self._documents.delete(self._collection, where)
        return deleted

    async def purge(self, older_than_s: float) -> int:
        """Delete dead letters that are older than that; return how many, `MAX_PURGED` at most."""
        old = {"at": {"$lt": self._clock.now() - microseconds(older_than_s)}}
        return await self._documents.delete(self._collection, old, limit=MAX_PURGED)

"""Cursors: how far somebody has been served, by one process at a time, and what could not be.

A cursor is a document. Whoever takes its lease has a turn: serves what comes next, writes after
each step how far that went, and lets go. If it dies, the lease runs out and the next one goes on
from what was written. After a failure the cursor waits, longer each time; what is never going to
be served becomes a dead letter, which is written before the cursor moves past it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update, Where
from aletheia.store.backoff import Backoff, RetryWindow
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds, moment
from aletheia.store.lease import DEFAULT_SKEW_S, Lease, Leases, LeaseTerms

MAX_REASON_CHARS: Final = 300
MAX_PURGED: Final = 10_000
"""Documents that are deleted at once."""

_IDS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class CursorTerms:
    """How patient the users of a collection's cursors are.

    Attributes:
        backoff: pauses after failures in a row.
        lease_s: how long a cursor stays taken by a process that died, seconds; longer than one
            step takes.
        skew_s: how far clocks may differ, seconds.
    """

    backoff: Backoff
    lease_s: float
    skew_s: float = DEFAULT_SKEW_S


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a cursor waits for.

    Attributes:
        failures: in a row; 0 where there is no trouble.
        since: when the first of them was; `None` where that is not known, or nothing failed.
        next_try_at: before which nothing is tried; `None` where nothing is waited for.
        reason: what the last failure said, without secrets.
    """

    failures: int
    since: datetime | None
    next_try_at: datetime | None
    reason: str


class Cursors:
    """The cursors of one collection.

    A cursor has the values `holder`, `lease_until`, `failures`, `failing_since`, `due_at` and
    `reason`, times in microseconds; everything else in it is its user's.

    Args:
        documents: the store, open.
        collection: where the cursors are.
        terms: how patient their users are.
        clock: what leases and pauses go by.
    """

    def __init__(
        self,
        documents: Documents,
        collection: str,
        terms: CursorTerms,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        lease = LeaseTerms(terms.lease_s, terms.skew_s)
        self._leases = Leases(documents, collection, lease, clock=clock)
        self._backoff, self._clock = terms.backoff, clock
        self._window = RetryWindow(terms.backoff.max_s)
        self.healthy: Mapping[str, Any] = {**self._window.cleared, "failing_since": 0, "reason": ""}
        self.fresh: Mapping[str, Any] = {**lease.released, **self.healthy}

    def can_take(self, cursor: Document, *, ignores_pause: bool = False) -> bool:
        """Return whether a cursor, as it was read, can be taken now.

        Args:
            cursor: the cursor.
            ignores_pause: whether it can be taken before its pause is over.
        """
        is_waiting = self._window.waits_until(cursor, self._clock.now()) is not None
        return (ignores_pause or not is_waiting) and self._leases.is_free(cursor)

    async def take(self, cursor: Document, *, ignores_pause: bool = False) -> "Turn | None":
        """Take a cursor, as it was read; `None` if it cannot be taken, or has changed since.

        Raises:
            Unavailable: the store is out of reach.
        """
        if not self.can_take(cursor, ignores_pause=ignores_pause):
            return None
        where = {self._window.not_before: cursor.get(self._window.not_before)}
        lease = await self._leases.take(cursor["_id"], seen=cursor, where=where)
        if lease is None:
            return None
        return Turn(lease, self._window, self._backoff, self._clock, self.healthy)

    def trouble_of(self, cursor: Document) -> Trouble:
        """Return what a cursor waits for."""
        until = self._window.waits_until(cursor, self._clock.now())
        since = int(cursor.get("failing_since") or 0)
        return Trouble(
            self._window.failures_of(cursor),
            moment(since) if since else None,
            None if until is None else moment(until),
            cursor.get("reason") or "",
        )


class Turn:
    """A cursor that is ours for a while; `Cursors.take` makes it.

    Attributes:
        lease: that makes it ours.
        cursor: the document as we know it.
    """

    def __init__(
        self,
        lease: Lease,
        window: RetryWindow,
        backoff: Backoff,
        clock: Clock,
        healthy: Mapping[str, Any],
    ) -> None:
        self._window, self._backoff, self._clock, self._healthy = window, backoff, clock, healthy
        self.lease = lease
        self.cursor: Document = lease.document

    @property
    def has_failed(self) -> bool:
        """Whether the last step of this turn, or of the ones before, failed."""
        return self._window.failures_of(self.cursor) > 0

    async def advance(self, values: Mapping[str, Any], *, unset: Sequence[str] = ()) -> bool:
        """Note a step that went well, and begin the lease anew; return whether it is still ours.

        Args:
            values: what else to set.
            unset: names to remove.

        Raises:
            Unavailable: the store is out of reach.
        """
        self.cursor = {**self.cursor, **self._healthy, **values}
        return await self.lease.write({**self._healthy, **values}, unset=unset, renews=True)

    async def write(
        self, values: Mapping[str, Any], *, unset: Sequence[str] = (), where: Where | None = None
    ) -> bool:
        """Change the cursor as `Lease.write` does."""
        return await self.lease.write(values, unset=unset, where=where)

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
        """Note a failure, and when to try again.

        Args:
            reason: what it said, without secrets.
            values: what else to set.
            asked_s: how long the other side asked us to stay away, seconds.
            unset: names to remove.

        Returns:
            How many failures in a row there are by now, and the pause, seconds.

        Raises:
            Unavailable: the store is out of reach.
        """
        failures = self._window.failures_of(self.cursor) + 1
        pause_s = self._backoff.pause_s(failures, asked_s=asked_s)
        trouble = {
            **self._window.values(failures, pause_s, self._clock.now()),
            "failing_since": self.failing_since,
            "reason": reason[:MAX_REASON_CHARS],
        }
        self.cursor = {**self.cursor, **trouble}
        await self.lease.write({**(values or {}), **trouble}, unset=unset)
        return failures, pause_s


class DeadLetters:
    """What was given up, in one collection, until somebody replays or deletes it.

    A dead letter has its project under `project`, and `at`, in microseconds; everything else in it
    is its user's.

    Args:
        documents: the store, open.
        collection: where dead letters are.
        clock: tells when something was given up.
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
        """Write dead letters of a project, by id; one that is there is replaced.

        Raises:
            Unavailable: the store is out of reach; some may be written.
        """
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
        return sum(
            [
                await self._documents.delete(
                    self._collection, {"_id": {"$in": list(ids[start : start + _IDS_AT_ONCE])}}
                )
                for start in range(0, len(ids), _IDS_AT_ONCE)
            ]
        )

    async def purge(self, older_than_s: float) -> int:
        """Delete dead letters that are older than that; return how many, `MAX_PURGED` at most."""
        old = {"at": {"$lt": self._clock.now() - microseconds(older_than_s)}}
        return await self._documents.delete(self._collection, old, limit=MAX_PURGED)

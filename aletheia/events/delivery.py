"""Feeds what is kept of a gather run's events to whoever asked for it (SPEC §4, Events).

A receiver of a project has one document, its cursor: how far it has been fed, which runs it asked
for, and who feeds it now. Whoever holds the cursor's lease sends the events after `sent` in order,
one by one or, to a sink that takes several, page by page, and moves `sent` after each. If the
holder dies, the lease runs out and the next one begins at `sent`: an event may be sent twice, and
is never left out.

An event that cannot be sent holds up those behind it, with growing pauses, for as long as it may
take the receiver to come back. What has waited for that long becomes a dead letter: of an outage,
each event that is older than `give_up_s` and could not be sent for `give_up_s`. An event that the
receiver refuses becomes one at once.
"""

import asyncio
import hashlib
import itertools
import logging
import random
import re
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, runtime_checkable

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import (
    AletheiaError,
    InvalidTask,
    Refused,
    Unavailable,
    retry_after_s,
)
from aletheia.events.log import EventLog, KeptEvent
from aletheia.store.project_id import check_project_id

log = logging.getLogger(__name__)

CURSORS: Final = "aletheia_gather_cursors"
DEAD_EVENTS: Final = "aletheia_gather_dead_events"

_PAGE: Final = 100
_PURGED_AT_ONCE: Final = 10_000
_AT_ONCE: Final = 16
"""Receivers that one process feeds at the same time."""

_S: Final = 1_000_000
"""Microseconds, as all times in the store are: since 1970 in UTC."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KIND: Final = re.compile(r"[a-z]{1,20}")
_REASON_LENGTH: Final = 300
_FREE: Final[dict[str, Any]] = {"holder": "", "lease_until": 0}
_HEALTHY: Final[dict[str, Any]] = {"failures": 0, "failing_since": 0, "reason": ""}


class EventSink(Protocol):
    """Sends events to receivers of one kind, such as Redis or webhooks."""

    async def send(self, address: str, event: KeptEvent) -> None:
        """Send one event and return when the receiver has it.

        Args:
            address: which receiver; empty where there is only one.
            event: what to send.

        Raises:
            Refused: the receiver will never take this event.
            InvalidTask: likewise.
            AletheiaError: anything else; it may take it later.
        """
        ...


@runtime_checkable
class BatchSink(EventSink, Protocol):
    """Sends several events at once, and lets them gather for a while, since each sending costs."""

    async def send_all(self, address: str, events: Sequence[KeptEvent]) -> None:
        """Send some events, and return when the receiver has all of them; see `send`."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient feeding is; all in seconds.

    Attributes:
        backoff_s: pause after the first failure in a row; doubled up to `max_backoff_s`.
        max_backoff_s: longest pause, also where the receiver asks for more.
        give_up_s: how long an event is tried.
        send_timeout_s: bound on sending one event, whatever the sink does.
        lease_s: how long a cursor stays taken by a process that died; more than one sending and
            what the store takes.
        interval_s: between two looks for new events beside a run.
        gather_s: between two sendings to a `BatchSink` beside a run.
        grace_s: how long the end of a run waits for its last events to be sent.
    """

    backoff_s: float = 1.0
    max_backoff_s: float = 600.0
    give_up_s: float = 86_400.0
    send_timeout_s: float = 15.0
    lease_s: float = 60.0
    interval_s: float = 0.5
    gather_s: float = 2.0
    grace_s: float = 3.0


@dataclass(frozen=True, slots=True)
class CursorState:
    """How far a receiver is.

    Attributes:
        project_id: whose events.
        receiver: its name, without its address.
        sent: number of the last event it has been fed or that was given up.
        failures: tries in a row that failed.
        next_try_at: when it is tried again; `None` where nothing holds it up.
        reason: what the last failure was.
    """

    project_id: str
    receiver: str
    sent: int
    failures: int
    next_try_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that a receiver was not given.

    Attributes:
        project_id: whose event.
        receiver: the receiver's name, without its address.
        seq: the event's number.
        reason: why, without secrets.
        at: when it was given up.
    """

    project_id: str
    receiver: str
    seq: int
    reason: str
    at: datetime


class FanOut:
    """Feeds receivers from the log; any number of processes may do so at once.

    Args:
        documents: the store, open.
        events: the log.
        sinks: by kind, such as `redis` and `webhook`; a cursor of another kind is left to
            processes that have one.
        pace: how patient it is.
        clock: Unix time, seconds.
        draw: a share of the second half of each pause that is waited, in `[0, 1]`.
    """

    def __init__(
        self,
        documents: Documents,
        events: EventLog,
        sinks: Mapping[str, EventSink],
        *,
        pace: Pace = Pace(),
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._documents = documents
        self._events = events
        self._sinks = dict(sinks)
        self._pace = pace
        self._clock = clock
        self._draw = draw
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._running: dict[str, asyncio.Task[int]] = {}
        self._fed_at: dict[str, float] = {}
        self._nudged = asyncio.Event()

    async def prepare(self) -> None:
        """Make looking for receivers, and purging, fast."""
        await self._documents.ensure_index(CURSORS, ["is_open", "project"])
        await self._documents.ensure_index(CURSORS, ["at"])
        await self._documents.ensure_index(DEAD_EVENTS, ["project", "at"])
        await self._documents.ensure_index(DEAD_EVENTS, ["at"])

    async def subscribe(self, project_id: str, run_id: str, kind: str, address: str = "") -> None:
        """Have a receiver fed with the events of a run; to be called before its first. Idempotent.

        Args:
            project_id: the run's project.
            run_id: the run.
            kind: of the sink.
            address: which receiver of that kind; kept in the store as it is.

        Raises:
            InvalidTask: `invalid_project_id`.
        """
        check_project_id(project_id)
        if not _KIND.fullmatch(kind):
            raise ValueError(f"{kind!r} is not a kind of sink: {_KIND.pattern}")
        receiver = name_receiver(kind, address)
        id_ = f"{project_id}:{receiver}"
        change = Change(
            set={"is_open": True, "at": self._now(), f"runs.{_name_run(run_id)}": True},
            increase={"subscriptions": 1},
        )
        is_there = False
        while not is_there:
            # Between these steps an old one may be purged.
            if not await self._documents.get(CURSORS, [id_]):
                document: Document = {
                    "_id": id_,
                    "project": project_id,
                    "receiver": receiver,
                    "kind": kind,
                    "address": address,
                    "runs": {},
                    "subscriptions": 0,
                    "is_open": True,
                    "at": self._now(),
                    "sent": await self._events.end(project_id),
                    "due_at": 0,
                    **_FREE,
                    **_HEALTHY,
                }
                await self._documents.insert(CURSORS, [document])
            (is_there,) = await self._documents.update(CURSORS, [Update(id_, change)])

    async def feed(self, project_id: str | None = None) -> int:
        """Feed all receivers (of a project) that can be fed now; return how many events were sent.

        Receivers that wait for their next try, or that another process feeds, are passed over.

        Raises:
            Unavailable: the store is out of reach.
        """
        started = await self._start(project_id)
        results = await asyncio.gather(*started, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(result for result in results if isinstance(result, int))

    @asynccontextmanager
    async def feeding(self, project_id: str) -> AsyncGenerator[None]:
        """Feed the receivers of a project beside whatever the block does, which it never holds up.

        At the end, what is not sent within `grace_s` stays for `feed` in another process.
        """
        is_over = asyncio.Event()
        looking = asyncio.create_task(self._look(project_id, is_over))
        try:
            yield
        finally:
            # The event as well, since a library on the way may swallow a cancellation.
            is_over.set()
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            try:
                async with asyncio.timeout(self._pace.grace_s):
                    if running := self._running_for(project_id):
                        await asyncio.wait(running)
                    await self.feed(project_id)
            except (TimeoutError, AletheiaError) as error:
                log.warning("not all events of %s are sent yet: %s", project_id, error or "slow")
            finally:
                left = self._running_for(project_id)
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)

    def nudge(self) -> None:
        """Say that there may be new events, so that the next look is now; those gather for some."""
        if not all(isinstance(sink, BatchSink) for sink in self._sinks.values()):
            self._nudged.set()

    async def states(self, project_id: str | None = None) -> list[CursorState]:
        """List the receivers (of a project), by project and name."""
        where = {} if project_id is None else {"project": check_project_id(project_id)}
        now = self._now()
        return [
            CursorState(
                project_id=one["project"],
                receiver=one["receiver"],
                sent=int(one["sent"]),
                failures=int(one["failures"]),
                next_try_at=_moment(one["due_at"]) if one["due_at"] > now else None,
                reason=one["reason"],
            )
            for one in await self._documents.find(CURSORS, where, sort="_id")
        ]

    async def dead_events(
        self, project_id: str | None = None, *, limit: int = 100
    ) -> list[DeadEvent]:
        """List the newest events (of a project) that were given up, newest first."""
        where = {} if project_id is None else {"project": check_project_id(project_id)}
        found = await self._documents.find(
            DEAD_EVENTS, where, sort="at", descending=True, limit=limit
        )
        return [
            DeadEvent(
                one["project"], one["receiver"], int(one["seq"]), one["reason"], _moment(one["at"])
            )
            for one in found
        ]

    async def count_open(self) -> dict[str, int]:
        """Count the receivers that may still have to be fed, by the kind of their sink."""
        return await self._documents.count_by(CURSORS, "kind", {"is_open": True})

    async def purge(self, older_than_s: float) -> tuple[int, int]:
        """Delete dead letters, and receivers that neither asked nor were sent anything for so long.

        Returns:
            How many dead letters and how many receivers there were.
        """
        old = {"at": {"$lt": self._now() - round(older_than_s * _S)}}
        letters = await self._documents.delete(DEAD_EVENTS, old, limit=_PURGED_AT_ONCE)
        return letters, await self._documents.delete(CURSORS, old, limit=_PURGED_AT_ONCE)

    def _running_for(self, project_id: str) -> list[asyncio.Task[int]]:
        return [task for id_, task in self._running.items() if id_.startswith(f"{project_id}:")]

    async def _look(self, project_id: str, is_over: asyncio.Event) -> None:
        """Start feeding whenever there is something to feed, until it is over."""
        while not is_over.is_set():
            self._nudged.clear()
            try:
                await self._start(project_id, gather_s=self._pace.gather_s)
            except Unavailable as error:
                log.warning("no event of %s can be sent for now: %s", project_id, error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.interval_s):
                    await self._nudged.wait()

    async def _start(
        self, project_id: str | None, *, gather_s: float = 0.0
    ) -> list[asyncio.Task[int]]:
        """Start feeding every receiver that can be fed now and is not being fed by us.

        One whose sink takes several events at once is passed over for `gather_s` after a feeding.
        """
        where: dict[str, Any] = {"is_open": True}
        if project_id is not None:
            where["project"] = check_project_id(project_id)
        started: list[asyncio.Task[int]] = []
        ends: dict[str, int] = {}
        for cursor in await self._documents.find(CURSORS, where, sort="_id"):
            id_, project = cursor["_id"], cursor["project"]
            if id_ in self._running or not self._is_free(cursor):
                continue
            if self._is_gathering(cursor, gather_s):
                continue
            if project not in ends:
                ends[project] = await self._events.end(project)
            if ends[project] > cursor["sent"] or not cursor["runs"]:
                self._fed_at[id_] = time.monotonic()
                task = asyncio.create_task(self._feed_one(cursor))
                self._running[id_] = task
                task.add_done_callback(lambda done, id_=id_: self._forget(id_, done))
                started.append(task)
        return started

    def _is_gathering(self, cursor: Document, gather_s: float) -> bool:
        fed_at = self._fed_at.get(cursor["_id"])
        if fed_at is None or not isinstance(self._sinks.get(cursor["kind"]), BatchSink):
            return False
        return time.monotonic() - fed_at < gather_s

    def _forget(self, id_: str, task: asyncio.Task[int]) -> None:
        self._running.pop(id_, None)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, AletheiaError):
            log.warning("feeding %s ended: %s", id_, error)
        elif error is not None:
            log.error("feeding %s ended", id_, exc_info=error)

    async def _feed_one(self, seen: Document) -> int:
        """Feed one receiver, if its cursor can be had, until it has everything or fails."""
        async with self._room:
            token = uuid.uuid4().hex
            cursor = await self._documents.take(
                CURSORS,
                {name: seen[name] for name in ("_id", "holder", "lease_until", "due_at")},
                Change(set={"holder": token, "lease_until": self._lease_end()}),
            )
            if cursor is None:
                return 0
            turn = _Turn(cursor, token)
            try:
                return await self._take_turn(turn)
            finally:
                with suppress(Unavailable):
                    await self._write(turn, {"sent": turn.sent, **_FREE})

    async def _take_turn(self, turn: "_Turn") -> int:
        count = 0
        while events := await self._events.read(turn.project_id, after=turn.sent, limit=_PAGE):
            waiting = [event for event in events if await self._is_wanted(turn, event)]
            if not waiting:
                turn.sent = events[-1].seq
            size = _PAGE if isinstance(self._sinks[turn.cursor["kind"]], BatchSink) else 1
            while waiting:
                some = waiting[:size]
                error = await self._try(turn, some)
                is_refused = isinstance(error, Refused | InvalidTask)
                if is_refused and len(some) > 1:
                    # Which of them is at fault shows when each is sent alone.
                    size = 1
                    continue
                if error is None:
                    count += len(some)
                    await self._forgive(turn, some)
                elif is_refused:
                    await self._give_up(turn, some, str(error))
                else:
                    await self._wait(turn, waiting, error)
                    return count
                change = {"due_at": 0, "lease_until": self._lease_end(), **_HEALTHY}
                if not await self._move(turn, some, change):
                    return count
                turn.cursor |= _HEALTHY
                waiting = waiting[len(some) :]
            turn.sent = events[-1].seq
        await self._close(turn)
        return count

    async def _close(self, turn: "_Turn") -> None:
        """Forget a receiver that has all events of all runs it asked for."""
        found = await self._documents.get(CURSORS, [turn.cursor["_id"]])
        cursor = found.get(turn.cursor["_id"], turn.cursor)
        if not cursor["runs"]:
            # Unless another run has asked since.
            where = {"subscriptions": cursor["subscriptions"]}
            await self._write(turn, {"is_open": False}, where=where)

    async def _is_wanted(self, turn: "_Turn", event: KeptEvent) -> bool:
        """Say whether the receiver asked for an event's run, which it did before that began."""
        run = _name_run(event.run_id)
        if run in turn.cursor["runs"]:
            return True
        if run not in turn.unwanted:
            found = await self._documents.get(CURSORS, [turn.cursor["_id"]])
            turn.cursor = found.get(turn.cursor["_id"], turn.cursor)
            if run in turn.cursor["runs"]:
                return True
            turn.unwanted.add(run)
        return False

    async def _try(self, turn: "_Turn", events: Sequence[KeptEvent]) -> AletheiaError | None:
        """Send an event, or several at once; return what went wrong."""
        limit_s = self._pace.send_timeout_s
        kind, address = turn.cursor["kind"], turn.cursor["address"]
        try:
            async with asyncio.timeout(limit_s):
                sink = self._sinks[kind]
                if len(events) > 1 and isinstance(sink, BatchSink):
                    await sink.send_all(address, events)
                else:
                    (event,) = events
                    await sink.send(address, event)
        except TimeoutError:
            return Unavailable(kind, f"not sent within {limit_s:g} s")
        except AletheiaError as error:
            return error
        except Exception as error:
            # A sink that is wrong is not asked again without a pause, and stops no other one.
            log.exception("sending event %s by %s went wrong", events[0].id, kind)
            return Unavailable(kind, type(error).__name__)
        return None

    async def _forgive(self, turn: "_Turn", events: Sequence[KeptEvent]) -> None:
        """Delete the dead letters of events that were sent after all.

        A holder that died may have written them without moving the cursor.
        """
        if turn.cursor["failing_since"]:
            letters = [_letter_id(turn.cursor, event) for event in events]
            await self._documents.delete(DEAD_EVENTS, {"_id": {"$in": letters}})

    async def _wait(
        self, turn: "_Turn", waiting: Sequence[KeptEvent], error: AletheiaError
    ) -> None:
        """Set when to try again, and give up what has waited for too long.

        Args:
            turn: whose turn.
            waiting: the events that could not be sent, and those the receiver wants behind them.
            error: why.
        """
        now, reason = self._now(), str(error)
        since = turn.cursor["failing_since"] or now
        give_up = round(self._pace.give_up_s * _S)
        old = list(
            itertools.takewhile(
                lambda event: now - max(_microseconds(event.at), since) >= give_up, waiting
            )
        )
        await self._give_up(turn, old, reason)
        failures = int(turn.cursor["failures"]) + 1
        wait_s = max(self._pause_s(failures), retry_after_s(error))
        wait_s = min(wait_s, self._pace.max_backoff_s)
        log.warning(
            "event %s did not reach %s, try %d; again in %.0f s: %s",
            waiting[0].id,
            turn.cursor["receiver"],
            failures,
            wait_s,
            reason,
        )
        change = {
            "failures": failures,
            "failing_since": since,
            "reason": reason[:_REASON_LENGTH],
            "due_at": now + round(wait_s * _S),
        }
        await self._move(turn, old, change)

    async def _give_up(self, turn: "_Turn", events: Sequence[KeptEvent], reason: str) -> None:
        """Write dead letters; the cursor moves only afterwards."""
        at = self._now()
        letters: list[Document] = [
            {
                "_id": _letter_id(turn.cursor, event),
                "project": event.project_id,
                "receiver": turn.cursor["receiver"],
                "kind": turn.cursor["kind"],
                "address": turn.cursor["address"],
                "seq": event.seq,
                "run_id": event.run_id,
                "reason": reason[:_REASON_LENGTH],
                "at": at,
            }
            for event in events
        ]
        if letters:
            await self._documents.insert(DEAD_EVENTS, letters)
            names = ", ".join(event.id for event in events)
            log.error("given up for %s: %s: %s", turn.cursor["receiver"], names, reason)

    async def _move(
        self, turn: "_Turn", passed: Sequence[KeptEvent], change: Mapping[str, Any]
    ) -> bool:
        """Be done with events, and with their runs where they are the last; say as `_write`."""
        if passed:
            turn.sent = passed[-1].seq
        over = [f"runs.{_name_run(event.run_id)}" for event in passed if event.is_last]
        change = {"sent": turn.sent, "at": self._now(), **change}
        return await self._write(turn, change, unset=over)

    async def _write(
        self,
        turn: "_Turn",
        change: Mapping[str, Any],
        *,
        unset: Sequence[str] = (),
        where: Mapping[str, Any] | None = None,
    ) -> bool:
        """Change the cursor if its lease is still ours, and say whether it is."""
        condition = {"holder": turn.token, **(where or {})}
        update = Update(turn.cursor["_id"], Change(set=change, unset=unset), condition)
        (is_ours,) = await self._documents.update(CURSORS, [update])
        return is_ours

    def _is_free(self, cursor: Document) -> bool:
        """Say whether a cursor can be taken now.

        A moment further ahead than any pause is none to wait for: the clock has been moved back.
        """
        now, kind = self._now(), cursor["kind"]
        longest = round(self._pace.max_backoff_s * _S)
        is_leased = cursor["holder"] and 0 < cursor["lease_until"] - now <= self._lease()
        is_waiting = 0 < cursor["due_at"] - now <= longest
        return kind in self._sinks and not is_leased and not is_waiting

    def _pause_s(self, failures: int) -> float:
        window_s = self._pace.backoff_s * 2 ** min(failures - 1, 30)
        return min(window_s, self._pace.max_backoff_s) * (1 + self._draw()) / 2

    def _lease(self) -> int:
        return round(self._pace.lease_s * _S)

    def _lease_end(self) -> int:
        return self._now() + self._lease()

    def _now(self) -> int:
        return round(self._clock() * _S)


class _Turn:
    """What the holder of a cursor knows.

    Attributes:
        cursor: the cursor as it was read last.
        token: what makes the lease ours.
        sent: number of the last event that is done with, perhaps ahead of the store.
        unwanted: runs whose events the receiver did not ask for.
    """

    def __init__(self, cursor: Document, token: str) -> None:
        self.cursor = cursor
        self.token = token
        self.project_id: str = cursor["project"]
        self.sent = int(cursor["sent"])
        self.unwanted: set[str] = set()


def name_receiver(kind: str, address: str) -> str:
    """Name a receiver without saying its address, which may hold a token."""
    return f"{kind}-{hashlib.sha256(address.encode()).hexdigest()[:16]}" if address else kind


def _name_run(run_id: str) -> str:
    """Make a name that a document's values may have."""
    return f"r{hashlib.sha256(run_id.encode()).hexdigest()[:16]}"


def _letter_id(cursor: Document, event: KeptEvent) -> str:
    return f"{cursor['_id']}:{event.seq:016}"


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _moment(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)

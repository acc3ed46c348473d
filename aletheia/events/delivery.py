"""Feeds receivers with the events of the gather runs they asked for (SPEC §4, Events).

Each receiver has a cursor: how far it has been fed, which runs it asked for, and who feeds it now.
Whoever has its lease sends the events after `sent` in order and moves `sent` after each. If that
process dies, the next one begins at `sent`: an event may be sent twice, and is never left out.

An event that cannot be sent holds up those behind it, with growing pauses. One that is older than
`give_up_s` and could not be sent for that long becomes a dead letter; one that the receiver refuses
becomes one at once.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import AletheiaError, Unavailable
from aletheia.events.dead_events import DEAD_EVENTS
from aletheia.events.log import EventLog
from aletheia.events.ports import BatchSink, EventSink
from aletheia.events.turn import CURSORS, Feeding, ReceiverTurn, name_run
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds
from aletheia.store.cursor import MAX_PURGED, CursorPace, Cursors, DeadLetters
from aletheia.store.project_id import check_project_id

log = logging.getLogger(__name__)

MAX_AT_ONCE: Final = 16
"""Receivers that one process feeds at the same time."""


@dataclass(frozen=True, slots=True)
class Pace(CursorPace):
    """How patient feeding is; all in seconds."""

    give_up_s: float = 86_400.0  # how long an event is tried


class FanOut:
    """Feeds receivers from the log; any number of processes may do so at once.

    A cursor of a kind for which there is no sink is left to processes that have one.
    """

    def __init__(
        self,
        documents: Documents,
        sinks: Mapping[str, EventSink],
        *,
        pace: Pace = Pace(),
        clock: Clock = SYSTEM_CLOCK,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._documents, self._sinks = documents, dict(sinks)
        self._pace, self._clock = pace, clock
        self._events = EventLog(documents, clock=clock)
        self._cursors = Cursors(documents, CURSORS, pace, clock=clock, draw=draw)
        self._dead_letters = DeadLetters(documents, DEAD_EVENTS, clock=clock)
        self._feeding = Feeding(
            documents, self._events, self._dead_letters, clock, pace.timeout_s, pace.give_up_s
        )
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._running: dict[str, asyncio.Task[int]] = {}
        self._fed_at: dict[str, float] = {}
        self._nudged = asyncio.Event()

    async def prepare(self) -> None:
        """Make appending events, finding receivers, and purging fast."""
        await self._events.prepare()
        await self._documents.ensure_index(CURSORS, ["is_open", "project"])
        await self._documents.ensure_index(CURSORS, ["at"])
        await self._dead_letters.prepare()

    async def subscribe(self, project_id: str, run_id: str, kind: str, address: str = "") -> None:
        """Note that a receiver is to be fed with the events of a run, before its first. Idempotent.

        `kind`: of its sink, in lower case. `address`: names it there, and is stored as it is.
        """
        check_project_id(project_id)
        receiver = kind
        if address:
            # The name does not show the address: that may hold a token.
            receiver += f"-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
        id_ = f"{project_id}:{receiver}"
        change = Change(
            set={"is_open": True, "at": self._clock.now(), f"runs.{name_run(run_id)}": True},
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
                    "at": self._clock.now(),
                    "sent": await self._events.end(project_id),
                    **self._cursors.fresh,
                }
                await self._documents.insert(CURSORS, [document])
            (is_there,) = await self._documents.update(CURSORS, [Update(id_, change)])

    async def feed(self, project_id: str | None = None) -> int:
        """Feed all receivers (of a project) that can be fed now; return how many events were sent.

        Receivers that wait for their next try, or that another process feeds, are passed over.
        """
        started = await self._start(project_id)
        await asyncio.gather(*started, return_exceptions=True)
        return sum(task.result() for task in started)

    @asynccontextmanager
    async def feeding(self, project_id: str) -> AsyncGenerator[None]:
        """Feed the receivers of a project beside whatever the block does, which it never holds up.

        At the end, what is not sent within `grace_s` stays for `feed` in another process.
        """
        is_over = asyncio.Event()
        polling = asyncio.create_task(self._poll(project_id, is_over))
        try:
            yield
        finally:
            # The event as well, since a library on the way may swallow a cancellation.
            is_over.set()
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
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
        """Poll at once, as there may be new events; those of a `BatchSink` gather for a while."""
        if not all(isinstance(sink, BatchSink) for sink in self._sinks.values()):
            self._nudged.set()

    async def count_open(self) -> dict[str, int]:
        """Count the receivers that may still have to be fed, by the kind of their sink."""
        return await self._documents.count_by(CURSORS, "kind", {"is_open": True})

    async def purge(self, older_than_s: float) -> tuple[int, int, int]:
        """Delete old events, dead letters, and receivers out of use; return how many of each."""
        old = {"at": {"$lt": self._clock.now() - microseconds(older_than_s)}}
        return (
            await self._events.purge(older_than_s),
            await self._dead_letters.purge(older_than_s),
            await self._documents.delete(CURSORS, old, limit=MAX_PURGED),
        )

    def _running_for(self, project_id: str) -> list[asyncio.Task[int]]:
        return [task for id_, task in self._running.items() if id_.startswith(f"{project_id}:")]

    async def _poll(self, project_id: str, is_over: asyncio.Event) -> None:
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
            if id_ in self._running or not self._can_feed(cursor, gather_s):
                continue
            if project not in ends:
                ends[project] = await self._events.end(project)
            if ends[project] > cursor["sent"] or not cursor["runs"]:
                self._fed_at[id_] = self._clock.steady_s()
                task = asyncio.create_task(self._feed_one(cursor))
                self._running[id_] = task
                task.add_done_callback(lambda done, id_=id_: self._forget(id_, done))
                started.append(task)
        return started

    def _can_feed(self, cursor: Document, gather_s: float) -> bool:
        sink = self._sinks.get(cursor["kind"])
        if sink is None or not self._cursors.can_take(cursor):
            return False
        fed_at = self._fed_at.get(cursor["_id"])
        is_gathering = fed_at is not None and self._clock.steady_s() - fed_at < gather_s
        return not (is_gathering and isinstance(sink, BatchSink))

    def _forget(self, id_: str, task: asyncio.Task[int]) -> None:
        self._running.pop(id_, None)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, AletheiaError):
            log.warning("feeding %s ended: %s", id_, error)
        elif error is not None:
            log.error("feeding %s ended", id_, exc_info=error)

    async def _feed_one(self, cursor: Document) -> int:
        """Feed one receiver, if its cursor can be had, until it has everything or fails."""
        async with self._slots:
            turn = await self._cursors.take(cursor)
            if turn is None:
                return 0
            receiver = ReceiverTurn(self._feeding, turn, self._sinks[cursor["kind"]])
            try:
                return await receiver.feed()
            finally:
                with suppress(Unavailable):
                    await receiver.release()

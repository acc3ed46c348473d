"""Events of projects for any number of clients, all from the one kept log (SPEC §6, Live).

Each client reads on from its own number and has no queue: what it has not been sent is in the log.
So a client that does not read costs nothing and slows nobody. One poll for each project that
somebody follows tells its clients that there is more, and has the newest events at hand for them.
It polls less often while nothing happens.
"""

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final, Literal, TypeAlias, TypeVar

import orjson

from aletheia.documents import Documents
from aletheia.errors import AletheiaError
from aletheia.events.log import EventLog, SavedEvent
from aletheia.service.project_state import read_state
from aletheia.service.refusals import ServiceError
from aletheia.store.backoff import Backoff
from aletheia.store.clock import SYSTEM_CLOCK, moment

log = logging.getLogger(__name__)

MAX_PROJECTS: Final = 256
"""Projects that are followed at once: each is a poll of the store some times a second."""

MAX_PROJECTS_OF_ONE: Final = 32
"""Projects that one caller follows at once."""

RECENT: Final = 500
"""The newest events of a project that are at hand."""

POLL_EVERY_S: Final = 0.1
"""From one poll of a project to the next, seconds."""

MAX_POLL_S: Final = 1.0
"""The same of a project that has been without news for a while."""

POLLS_PER_STEP: Final = 10
"""Polls without news until the time between them doubles."""

CHECK_END_EVERY_S: Final = 1.0
"""From one check whether a store was restored to what it had before to the next, seconds."""

RETRY_EVERY_S: Final = 1.0
"""From one attempt at a store that is away to the next, seconds."""

_IDLING: Final = Backoff(POLL_EVERY_S, MAX_POLL_S, jitter=0)

ReadT = TypeVar("ReadT")

GapReason: TypeAlias = Literal["purged", "ahead"]


@dataclass(frozen=True, slots=True)
class Frame:
    """What a client is sent: an event as it stands in the log, or that some are gone."""

    seq: int  # after which the client reads on
    body: bytes  # JSON


class Feeds:
    """The feeds of all projects that somebody follows."""

    def __init__(self, documents: Documents) -> None:
        self._documents, self._events = documents, EventLog(documents)
        self._feeds: dict[str, _Feed] = {}

    @contextlib.asynccontextmanager
    async def following(
        self, project_id: str, *, after: int, subject: str | None = None
    ) -> AsyncGenerator[AsyncGenerator[Frame]]:
        """Follow a project's events after a number, then each that is added, without an end.

        Raises as `check_capacity`; `subject` is who follows, `None` somebody who is bounded
        elsewhere.
        """
        feed = self._join(project_id, subject)
        frames = self._read(feed, project_id, after)
        try:
            yield frames
        finally:
            await frames.aclose()
            self._leave(project_id, feed, subject)

    async def _read(self, feed: "_Feed", project_id: str, after: int) -> AsyncGenerator[Frame]:
        while True:
            restores = feed.restores
            if after > (end := await self._retrying_end(project_id)):
                # Numbers of another store, or of one that was restored to what it had before.
                yield await self._make_gap(project_id, end + 1, after, "ahead", end)
                after = end
            while found := await self._next(feed, restores, project_id, after):
                for event in found:
                    if event.seq > after + 1:
                        last = event.seq - 1
                        yield await self._make_gap(project_id, after + 1, last, "purged", last)
                    yield Frame(event.seq, event.body)
                    after = event.seq

    async def _next(
        self, feed: "_Feed", restores: int, project_id: str, after: int
    ) -> Sequence[SavedEvent]:
        """Return the events that follow a number, as soon as there are some.

        There are none once the store was restored more often than `restores`.
        """
        while feed.restores == restores:
            # Taken before the log is read, so that what comes in between is not slept through.
            arrival = feed.arrival
            if (found := feed.since(after)) is None:
                found = await self._retrying_read(project_id, after)
            if found:
                return found
            await arrival.wait()
        return ()

    async def _retrying_read(self, project_id: str, after: int) -> Sequence[SavedEvent]:
        return await _retrying(lambda: self._events.read(project_id, after=after), project_id)

    async def _retrying_end(self, project_id: str) -> int:
        return await _retrying(lambda: self._events.end(project_id), project_id)

    async def _make_gap(
        self, project_id: str, first: int, last: int, reason: GapReason, seq: int
    ) -> Frame:
        """Return the frame about events that are gone, with the state as it is."""
        try:
            state = (await read_state(self._documents, project_id)).model_dump(mode="json")
        except AletheiaError as outage:
            log.warning("the state of %s cannot be read for now: %s", project_id, outage)
            state = None
        said = {
            "type": "gap",
            "project_id": project_id,
            "from_seq": first,
            "to_seq": last,
            "reason": reason,
            "state": state,
            "seq": seq,
            "timestamp": moment(SYSTEM_CLOCK.now()).isoformat().replace("+00:00", "Z"),
        }
        return Frame(seq, orjson.dumps(said))

    def check_capacity(self, project_id: str, subject: str | None = None) -> None:
        """Raise 503 `too_busy` where too many other projects are followed, in all or by one."""
        if project_id not in self._feeds and len(self._feeds) >= MAX_PROJECTS:
            raise _too_busy(f"{MAX_PROJECTS} projects are followed already; try again")
        own = {name for name, feed in self._feeds.items() if feed.followers[subject]}
        if subject is not None and project_id not in own and len(own) >= MAX_PROJECTS_OF_ONE:
            raise _too_busy(f"you follow {MAX_PROJECTS_OF_ONE} projects already")

    def _join(self, project_id: str, subject: str | None) -> "_Feed":
        self.check_capacity(project_id, subject)
        feed = self._feeds.get(project_id)
        if feed is None:
            feed = self._feeds[project_id] = _Feed(self._events, project_id)
        feed.followers[subject] += 1
        return feed

    def _leave(self, project_id: str, feed: "_Feed", subject: str | None) -> None:
        feed.followers[subject] -= 1
        if not feed.followers[subject]:
            del feed.followers[subject]
        if not feed.followers:
            feed.stop()
            del self._feeds[project_id]


class _Feed:
    """The newest events of one project, polled while somebody follows it."""

    def __init__(self, events: EventLog, project_id: str) -> None:
        self._events, self._project_id = events, project_id
        self._recent = deque[SavedEvent](maxlen=RECENT)
        self.followers = Counter[str | None]()  # by their subjects
        self.arrival = asyncio.Event()
        self.restores = 0  # how often the log was seen to end before what was read of it
        self._end_checked_at = 0.0  # time of the loop
        self._polling = asyncio.create_task(self._poll())

    def since(self, after: int) -> list[SavedEvent] | None:
        """Return the events after a number that are at hand; `None` where the log has to be read.

        That is so unless the first of them is at hand, or nothing has come after the last one.
        """
        if not self._recent or after < self._recent[0].seq - 1:
            return None
        skipped = after - self._recent[0].seq + 1
        return [self._recent[place] for place in range(skipped, len(self._recent))]

    def stop(self) -> None:
        """Poll no more."""
        self._polling.cancel()

    async def _poll(self) -> None:
        # From before the end, so that one who joins finds its newest event at hand.
        after = max(0, await self._end() - 1)
        idle = 0  # polls without news, in a row
        while True:
            found = await _retrying(partial(self._read, after), self._project_id)
            if found:
                after, idle = self._note(found), 0
            else:
                idle += 1
                after = await self._check_end(after)
                await asyncio.sleep(_IDLING.pause_s(1 + idle // POLLS_PER_STEP))

    async def _check_end(self, after: int) -> int:
        """Return after which number to read on: the last one's, where that is lower."""
        now = asyncio.get_running_loop().time()
        if now - self._end_checked_at < CHECK_END_EVERY_S:
            return after
        self._end_checked_at = now
        end = await self._end()
        if end >= after:
            return after
        log.warning("the log of %s ends at %d, before %d", self._project_id, end, after)
        self._recent.clear()
        self.restores += 1
        self._wake()
        return end

    async def _end(self) -> int:
        return await _retrying(partial(self._events.end, self._project_id), self._project_id)

    async def _read(self, after: int) -> Sequence[SavedEvent]:
        return await self._events.read(self._project_id, after=after)

    def _note(self, found: Sequence[SavedEvent]) -> int:
        """Keep events at hand, and wake who waits; return the number of the last."""
        if self._recent and found[0].seq != self._recent[-1].seq + 1:
            self._recent.clear()  # a purge has overtaken us
        self._recent.extend(found)
        self._wake()
        return found[-1].seq

    def _wake(self) -> None:
        arrival, self.arrival = self.arrival, asyncio.Event()
        arrival.set()


def _too_busy(message: str) -> ServiceError:
    headers = {"Retry-After": "5"}
    return ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "too_busy", message, headers)


async def _retrying(read: Callable[[], Awaitable[ReadT]], project_id: str) -> ReadT:
    """Return what is read, as soon as the store is there."""
    while True:
        try:
            return await read()
        except AletheiaError as outage:
            log.warning("events of %s cannot be read for now: %s", project_id, outage)
            await asyncio.sleep(RETRY_EVERY_S)

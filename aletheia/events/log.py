"""What a gather run tells the outside, as an ordered log that is kept (SPEC §4, Events).

A project's events are numbered from 1. An event's document has its number in its id, so to add the
next event is to insert the next id, which of any number of writers only one can do; whoever loses
reads where the log ends now and tries again. A number is tried only by a writer that has seen the
one before it, so there are no gaps. It looks for its event's key after it has seen where the log
ends and before it inserts, so the key is in none of the numbers up to there; if somebody adds it
meanwhile, the number is taken. So no key is there twice, and no step leaves anything to mend.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import Unavailable
from aletheia.events.models import (
    EVENT,
    AutomationCancelled,
    AutomationComplete,
    Deduplicating,
    Event,
    IterationComplete,
)
from aletheia.store.project_id import check_project_id

log = logging.getLogger(__name__)

EVENTS: Final = "aletheia_gather_events"
PURGED: Final = "aletheia_gather_purged"

PAGE: Final = 500
"""Events read at once, unless a caller asks for fewer."""

_DIGITS: Final = 16
_S: Final = 1_000_000
"""Microseconds, as all times in the store are: since 1970 in UTC."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PURGED_AT_ONCE: Final = 10_000
_PAUSE_S: Final = 0.001
_MAX_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event as it stands in the log.

    Attributes:
        project_id: whose log.
        seq: its number there, from 1 and without gaps.
        at: when it was added.
        run_id: the run that added it.
        body: the JSON that everybody gets: the event's fields, `seq` and `timestamp` (UTC).
        is_last: no further event of its run follows.
    """

    project_id: str
    seq: int
    at: datetime
    run_id: str
    body: bytes
    is_last: bool

    @property
    def id(self) -> str:
        """Its name among the events of all projects."""
        return f"{self.project_id}:{self.seq}"

    def read(self) -> Event:
        """Read what it says."""
        return EVENT.validate_json(self.body)


class EventLog:
    """The kept events of all projects, shared by all processes.

    Args:
        documents: the store, open.
        clock: Unix time, seconds.
    """

    def __init__(self, documents: Documents, *, clock: Callable[[], float] = time.time) -> None:
        self._documents = documents
        self._clock = clock
        self._ends: dict[str, int] = {}

    async def prepare(self) -> None:
        """Make appending and purging fast."""
        await self._documents.ensure_index(EVENTS, ["project", "key"])
        await self._documents.ensure_index(EVENTS, ["at"])

    async def append(
        self, event: Event, *, run_id: str, department_id: str = "", iteration: int = 0
    ) -> KeptEvent:
        """Add an event, unless one with its key is there; give it as it is kept.

        May be repeated after any error, and after a crash, with the same outcome as once.

        Args:
            event: what to say.
            run_id: the run that says it; with the event's type, its department and its iteration
                it makes the key.
            department_id: the department in the key, since slugs need not differ; the event's own
                slug if empty.
            iteration: in this department, from 1; of a `deduplicating`, which does not say.

        Raises:
            Unavailable: the store is out of reach; the event may be there or not.
            InvalidTask: `invalid_project_id`.
        """
        project_id = check_project_id(event.project_id)
        if isinstance(event, IterationComplete):
            iteration = event.iteration
        elif isinstance(event, Deduplicating) != (iteration > 0):
            raise ValueError(f"iteration {iteration} does not go with {event.type!r}")
        department = department_id or getattr(event, "department", "")
        key = orjson.dumps([run_id, event.type, department, iteration]).decode()
        end = self._ends.get(project_id)
        for tries in itertools.count():
            if end is None:
                end = await self.end(project_id)
            # An end that is out of date does no harm: the number after it is taken.
            if (kept := await self._find(project_id, key)) is not None:
                return kept
            document = self._write(event, run_id, key, end + 1)
            if await self._documents.insert(EVENTS, [document]):
                self._ends[project_id] = end + 1
                return _read(document)
            # Another writer has this number. Those who lose often step back a little, so that
            # many of them do not spend their time on losing.
            longest = min(_PAUSE_S * 2 ** min(tries, 16), _MAX_PAUSE_S)
            await asyncio.sleep(longest * random.random() if tries else 0)  # noqa: S311
            end = None
        raise AssertionError

    async def end(self, project_id: str) -> int:
        """Give the number of the last event; 0 before the first."""
        newest = await self._documents.find(
            EVENTS, _after(project_id, 0), sort="_id", descending=True, limit=1
        )
        return int(newest[0]["seq"]) if newest else 0

    async def read(self, project_id: str, *, after: int = 0, limit: int = PAGE) -> list[KeptEvent]:
        """Read the events that follow a number, in order and without a gap.

        What was purged is passed over.

        Args:
            project_id: whose.
            after: the last number that is known; 0 for none.
            limit: most events that are read.

        Raises:
            Unavailable: the store is out of reach.
            InvalidTask: `invalid_project_id`.
        """
        found = await self._documents.find(
            EVENTS, _after(project_id, after), sort="_id", limit=limit
        )
        if found and found[0]["seq"] > after + 1:
            purged = await self._purged(project_id)
            if purged > after:
                return await self.read(project_id, after=purged, limit=limit)
        # A store that scans while others insert may show an event and not the one before it.
        return [
            _read(document)
            for seq, document in enumerate(found, start=after + 1)
            if document["seq"] == seq
        ]

    async def follow(
        self, project_id: str, *, after: int = 0, interval_s: float = 0.5
    ) -> AsyncGenerator[KeptEvent]:
        """Give the events that follow a number, and then each one that is added, without an end.

        While the store is out of reach it waits.

        Args:
            project_id: whose.
            after: the last number that is known; 0 for none.
            interval_s: pause after everything has been read, seconds.

        Raises:
            InvalidTask: `invalid_project_id`.
        """
        while True:
            try:
                events = await self.read(project_id, after=after)
            except Unavailable as error:
                log.warning("the events of %s cannot be followed for now: %s", project_id, error)
                events = []
            for event in events:
                yield event
                after = event.seq
            if len(events) < PAGE:
                await asyncio.sleep(interval_s)

    async def purge(self, older_than_s: float) -> int:
        """Delete events that are older than that, from the first of each project on; say how many.

        Of each project the last event stays, since the next number follows from it.

        Raises:
            Unavailable: the store is out of reach; what is deleted by then is gone.
        """
        before = round((self._clock() - older_than_s) * _S)
        old = await self._documents.count_by(EVENTS, "project", {"at": {"$lt": before}})
        # One that is alone may be the last of its project, which is left for ever.
        projects = [project_id for project_id, count in old.items() if count > 1]
        return sum([await self._purge_project(one, before) for one in projects])

    async def _purge_project(self, project_id: str, before: int) -> int:
        everything = _after(project_id, 0)
        (first, *_), end = (
            await self._documents.find(EVENTS, everything, sort="_id", limit=1),
            await self.end(project_id),
        )
        young = await self._documents.find(
            EVENTS, {**everything, "at": {"$gte": before}}, sort="_id", limit=1
        )
        last = min(
            young[0]["seq"] - 1 if young else end - 1, int(first["seq"]) - 1 + _PURGED_AT_ONCE
        )
        if last < first["seq"]:
            return 0
        # Said first: a reader that meets the gap finds out that it is one.
        await self._documents.insert(PURGED, [{"_id": project_id, "seq": last}])
        further = Update(project_id, Change(set={"seq": last}), {"seq": {"$lt": last}})
        await self._documents.update(PURGED, [further])
        gone = {"$gt": _id(project_id, 0), "$lte": _id(project_id, last)}
        return await self._documents.delete(EVENTS, {"_id": gone})

    async def _purged(self, project_id: str) -> int:
        """Give the number up to which events may have been deleted; 0 if none was."""
        found = await self._documents.get(PURGED, [project_id])
        return int(found[project_id]["seq"]) if project_id in found else 0

    async def _find(self, project_id: str, key: str) -> KeptEvent | None:
        where = {"project": project_id, "key": key}
        found = await self._documents.find(EVENTS, where, limit=1)
        return _read(found[0]) if found else None

    def _write(self, event: Event, run_id: str, key: str, seq: int) -> Document:
        at = round(self._clock() * _S)
        timestamp = _moment(at).isoformat(timespec="microseconds").replace("+00:00", "Z")
        body = {
            "type": event.type,
            **event.model_dump(mode="json"),
            "seq": seq,
            "timestamp": timestamp,
        }
        return {
            "_id": _id(event.project_id, seq),
            "project": event.project_id,
            "seq": seq,
            "at": at,
            "run_id": run_id,
            "key": key,
            "body": orjson.dumps(body).decode(),
            "is_last": isinstance(event, AutomationComplete | AutomationCancelled),
        }


def _read(document: Document) -> KeptEvent:
    return KeptEvent(
        project_id=document["project"],
        seq=int(document["seq"]),
        at=_moment(document["at"]),
        run_id=document["run_id"],
        body=document["body"].encode(),
        is_last=document["is_last"],
    )


def _after(project_id: str, seq: int) -> dict[str, dict[str, str]]:
    check_project_id(project_id)
    return {"_id": {"$gt": _id(project_id, seq), "$lte": f"{project_id}:{'9' * _DIGITS}"}}


def _id(project_id: str, seq: int) -> str:
    return f"{project_id}:{seq:0{_DIGITS}}"


def _moment(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)

"""The numbered log of what gather runs report, one for each project (SPEC §4, Events)."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from aletheia.documents import Document, Documents
from aletheia.events.models import (
    EVENT,
    AutomationCancelled,
    AutomationComplete,
    Deduplicating,
    Event,
    IterationComplete,
)
from aletheia.metrics import EVENTS_ADDED
from aletheia.store.clock import SYSTEM_CLOCK, Clock, moment
from aletheia.store.numbered_log import PAGE, NumberedLog
from aletheia.store.project_id import check_project_id

EVENTS: Final = "aletheia_gather_events"
PURGED: Final = "aletheia_gather_purged"


@dataclass(frozen=True, slots=True)
class SavedEvent:
    """An event as it stands in the log of its project."""

    project_id: str
    seq: int  # its number there, from 1 and without gaps
    at: datetime  # when it was added
    run_id: str  # the run that added it
    body: bytes  # the JSON that everybody gets: the event's fields, `seq` and `timestamp` (UTC)
    is_last: bool  # no further event of its run follows

    @property
    def id(self) -> str:
        """Its name among the events of all projects."""
        return f"{self.project_id}:{self.seq}"

    def read(self) -> Event:
        """Return the event that was added."""
        return EVENT.validate_json(self.body)


class EventLog:
    """The saved events of all projects, shared by all processes."""

    def __init__(self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._log = NumberedLog(documents, EVENTS, purged=PURGED, clock=clock)

    async def prepare(self) -> None:
        """Make appending and purging fast."""
        await self._log.prepare()

    async def append(
        self, event: Event, *, run_id: str, department_id: str = "", iteration: int = 0
    ) -> SavedEvent:
        """Add an event, unless one with its key is there; return it as it is saved.

        May be repeated after any error, and after a crash, with the same outcome as once. The key
        is made of run, type, department (by its id, since slugs need not differ) and iteration,
        which is to be given for a `deduplicating` alone; of an `automation_cancelled` it is how
        many attempts the run had before.
        """
        project_id = check_project_id(event.project_id)
        if isinstance(event, IterationComplete):
            iteration = event.iteration
        elif not isinstance(event, AutomationCancelled) and (
            isinstance(event, Deduplicating) != (iteration > 0)
        ):
            raise ValueError(f"iteration {iteration} does not go with {event.type!r}")
        department = department_id or getattr(event, "department", "")
        key = orjson.dumps([run_id, event.type, department, iteration]).decode()
        is_last = isinstance(event, AutomationComplete | AutomationCancelled)
        said = {"type": event.type, **event.model_dump(mode="json")}

        def build(seq: int, at: int) -> dict[str, Any]:
            timestamp = moment(at).isoformat(timespec="microseconds").replace("+00:00", "Z")
            body = orjson.dumps({**said, "seq": seq, "timestamp": timestamp}).decode()
            return {"run_id": run_id, "body": body, "is_last": is_last}

        counts = EVENTS_ADDED.add(event.type)
        return _read(await self._log.append(project_id, key, build, counts=counts))

    async def end(self, project_id: str) -> int:
        """Return the number of the last event; 0 before the first."""
        return await self._log.end(check_project_id(project_id))

    async def purged_through(self, project_id: str) -> int:
        """Return the number up to which events were purged; 0 if none were."""
        return await self._log.purged_through(check_project_id(project_id))

    async def read(self, project_id: str, *, after: int = 0, limit: int = PAGE) -> list[SavedEvent]:
        """Read the events that follow a number, in order; what was purged is passed over."""
        found = await self._log.read(check_project_id(project_id), after=after, limit=limit)
        return [_read(document) for document in found]

    async def follow(
        self, project_id: str, *, after: int = 0, interval_s: float = 0.5
    ) -> AsyncGenerator[SavedEvent]:
        """Yield the events that follow a number, and then each one that is added, without an end.

        While the store is out of reach it waits; there are `interval_s` seconds between its polls.
        """
        stream = check_project_id(project_id)
        async for document in self._log.follow(stream, after=after, interval_s=interval_s):
            yield _read(document)

    async def purge(self, older_than_s: float) -> int:
        """Delete events that are older than that; return how many.

        Of each project the last event stays, since the next number follows from it.
        """
        return await self._log.purge(older_than_s)


def _read(document: Document) -> SavedEvent:
    return SavedEvent(
        project_id=document["project"],
        seq=int(document["seq"]),
        at=moment(document["at"]),
        run_id=document["run_id"],
        body=document["body"].encode(),
        is_last=document["is_last"],
    )

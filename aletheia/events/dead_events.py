"""Events that receivers did not get: listed, and sent once more (SPEC §4, Webhook)."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

from aletheia.documents import Document, Documents
from aletheia.errors import AletheiaError, NotFound, Unavailable
from aletheia.events.log import EventLog, SavedEvent
from aletheia.events.ports import EventSink
from aletheia.store.clock import SYSTEM_CLOCK, Clock, moment
from aletheia.store.cursor import MAX_REASON_CHARS, DeadLetters
from aletheia.store.project_id import check_project_id

DEAD_EVENTS: Final = "aletheia_gather_dead_events"

MAX_REPLAYED: Final = 1000
"""Events that are sent again at once, the oldest last."""

SEND_WITHIN_S: Final = 15.0

GONE: Final = "the log"


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that a receiver did not get."""

    project_id: str
    receiver: str  # its name, without its address
    kind: str
    address: str
    seq: int
    type: str  # of the event; empty where the log does not have it any more
    code: str  # of the error; empty in what an earlier version gave up
    reason: str  # without secrets
    at: datetime

    @property
    def id(self) -> str:
        """The id of the event, which its receiver sees, too."""
        return f"{self.project_id}:{self.seq}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """The outcome of sending dead events once more: how many were sent, and why others were not."""

    sent: int
    failures: tuple[str, ...]


class DeadEvents:
    """The events of one store that were given up."""

    def __init__(self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._events = EventLog(documents, clock=clock)
        self._dead_letters = DeadLetters(documents, DEAD_EVENTS, clock=clock)

    async def newest(self, project_id: str | None = None, *, limit: int = 100) -> list[DeadEvent]:
        """Return the newest events (of a project) that were given up, newest first."""
        if project_id is not None:
            check_project_id(project_id)
        found = await self._dead_letters.newest(project_id, limit=limit)
        return [_read(document, await self._find(document)) for document in found]

    async def replay(
        self, ids: Collection[str] | None, sink_of: Callable[[str], Awaitable[EventSink]]
    ) -> Replayed:
        """Send dead events, or all, once more, in the order of their numbers, to their receivers.

        One that is sent is no dead event any more; any other one stays, with the new reason.
        `sink_of` returns what sends to receivers of a kind.
        """
        found = await self._dead_letters.newest(limit=MAX_REPLAYED)
        chosen = [dead_letter for dead_letter in found if ids is None or _id_of(dead_letter) in ids]
        unknown = set(ids or ()).difference(map(_id_of, chosen))
        failures = [f"{event_id}: no such dead event" for event_id in sorted(unknown)]
        sent = 0
        for dead_letter in sorted(chosen, key=lambda dead: (dead["project"], int(dead["seq"]))):
            try:
                await self._send(dead_letter, await sink_of(dead_letter["kind"]))
            except AletheiaError as error:
                failures.append(f"{_id_of(dead_letter)}: {error.code}: {error}")
                saved = {name: value for name, value in dead_letter.items() if name != "_id"}
                saved |= describe_failure(error)
                await self._dead_letters.add(dead_letter["project"], {dead_letter["_id"]: saved})
            else:
                await self._dead_letters.forget([dead_letter["_id"]])
                sent += 1
        return Replayed(sent, tuple(failures))

    async def _send(self, dead_letter: Document, sink: EventSink) -> None:
        event = await self._find(dead_letter)
        if event is None:
            raise NotFound(GONE, HTTPStatus.NOT_FOUND, "it is older than what is saved")
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await sink.send(dead_letter["address"], event)
        except TimeoutError:
            raise Unavailable(dead_letter["kind"], f"not sent within {SEND_WITHIN_S:g} s") from None

    async def _find(self, dead_letter: Document) -> SavedEvent | None:
        seq = int(dead_letter["seq"])
        found = await self._events.read(dead_letter["project"], after=seq - 1, limit=1)
        return found[0] if found and found[0].seq == seq else None


def _id_of(dead_letter: Document) -> str:
    return f"{dead_letter['project']}:{dead_letter['seq']}"


def describe_failure(error: AletheiaError) -> dict[str, str]:
    """Return what a dead letter says of an error."""
    return {"code": error.code, "reason": str(error)[:MAX_REASON_CHARS]}


def _read(dead_letter: Document, event: SavedEvent | None) -> DeadEvent:
    return DeadEvent(
        project_id=dead_letter["project"],
        receiver=dead_letter["receiver"],
        kind=dead_letter["kind"],
        address=dead_letter["address"],
        seq=int(dead_letter["seq"]),
        type="" if event is None else event.read().type,
        code=dead_letter.get("code", ""),
        reason=dead_letter["reason"],
        at=moment(dead_letter["at"]),
    )

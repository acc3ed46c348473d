"""A turn at feeding one receiver: what is sent, what is tried again, what is given up."""

import asyncio
import hashlib
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aletheia.documents import Document, Documents
from aletheia.errors import AletheiaError, InvalidTask, Refused, Unavailable
from aletheia.events.dead_events import describe_failure
from aletheia.events.log import EventLog, SavedEvent
from aletheia.events.ports import BatchSink, EventSink
from aletheia.store.clock import Clock, microseconds, microseconds_of
from aletheia.store.cursor import DeadLetters, Turn
from aletheia.store.numbered_log import number_id

log = logging.getLogger(__name__)

CURSORS: Final = "aletheia_gather_cursors"

PAGE: Final = 100
"""Events that are read, and sent to a `BatchSink`, at once."""


@dataclass(frozen=True, slots=True)
class Feeding:
    """What every turn needs; a sending of an event, or of a page, has `send_timeout_s` seconds."""

    documents: Documents
    events: EventLog
    dead_letters: DeadLetters
    clock: Clock
    send_timeout_s: float
    give_up_s: float


class ReceiverTurn:
    """A turn at feeding one receiver, whose cursor we have taken."""

    def __init__(self, feeding: Feeding, turn: Turn, sink: EventSink) -> None:
        self._feeding, self._turn, self._sink = feeding, turn, sink
        cursor = turn.cursor
        self._project_id: str = cursor["project"]
        self._receiver: str = cursor["receiver"]
        self._kind: str = cursor["kind"]
        self._address: str = cursor["address"]
        self._unwanted: set[str] = set()
        # Of the last event that is done with, perhaps ahead of the store.
        self._sent = int(cursor["sent"])

    async def feed(self) -> int:
        """Send what the receiver waits for, as far as that goes; return how many events."""
        count = 0
        while events := await self._feeding.events.read(
            self._project_id, after=self._sent, limit=PAGE
        ):
            wanted = [event for event in events if await self._is_wanted(event)]
            sent, is_done = await self._send_page(wanted)
            count += sent
            if not is_done:
                return count
            self._sent = events[-1].seq
        await self._close()
        return count

    async def release(self) -> None:
        """Release the cursor for others to take, from the last event that is done with."""
        await self._turn.lease.release({"sent": self._sent})

    async def _send_page(self, waiting: list[SavedEvent]) -> tuple[int, bool]:
        """Send events in order; return how many, and whether the turn goes on."""
        count = 0
        size = PAGE if isinstance(self._sink, BatchSink) else 1
        while waiting:
            batch = waiting[:size]
            error = await self._try(batch)
            is_refused = isinstance(error, Refused | InvalidTask)
            if is_refused and len(batch) > 1:
                # Which of them is at fault shows when each is sent alone.
                size = 1
                continue
            if error is None:
                count += len(batch)
                if self._turn.has_failed:
                    # A process may have written dead letters, and died before it moved the cursor.
                    ids = [self._dead_letter_id(event) for event in batch]
                    await self._feeding.dead_letters.forget(ids)
            elif is_refused:
                await self._give_up(batch, error)
            else:
                await self._wait(waiting, error)
                return count, False
            values, over = self._pass(batch)
            if not await self._turn.advance(values, unset=over):
                return count, False
            waiting = waiting[len(batch) :]
        return count, True

    async def _is_wanted(self, event: SavedEvent) -> bool:
        """Return whether the receiver asked for an event's run, as it does before that begins."""
        run = name_run(event.run_id)
        if run in self._turn.cursor["runs"]:
            return True
        if run not in self._unwanted:
            self._turn.cursor = await self._read_cursor()
            if run in self._turn.cursor["runs"]:
                return True
            self._unwanted.add(run)
        return False

    async def _try(self, events: Sequence[SavedEvent]) -> AletheiaError | None:
        """Send an event, or several at once; return what went wrong."""
        limit_s = self._feeding.send_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                if len(events) > 1 and isinstance(self._sink, BatchSink):
                    await self._sink.send_all(self._address, events)
                else:
                    (event,) = events
                    await self._sink.send(self._address, event)
        except TimeoutError:
            return Unavailable(self._kind, f"not sent within {limit_s:g} s")
        except AletheiaError as error:
            return error
        except Exception as error:
            # A sink with a fault is not asked again without a pause, and stops no other one.
            log.exception("sending event %s by %s went wrong", events[0].id, self._kind)
            return Unavailable(self._kind, type(error).__name__)
        return None

    async def _wait(self, waiting: Sequence[SavedEvent], error: AletheiaError) -> None:
        """Set when to try again, and give up what has waited for too long, oldest first."""
        since = self._turn.failing_since
        given_up_at = self._feeding.clock.now() - microseconds(self._feeding.give_up_s)
        old = list(
            itertools.takewhile(
                lambda event: max(microseconds_of(event.at), since) <= given_up_at, waiting
            )
        )
        await self._give_up(old, error)
        values, over = self._pass(old)
        asked_s = error.retry_after_s or 0
        failures, pause_s = await self._turn.wait(str(error), values, asked_s=asked_s, unset=over)
        log.warning(
            "event %s did not reach %s, try %d; again in %.0f s: %s",
            waiting[0].id,
            self._receiver,
            failures,
            pause_s,
            error,
        )

    async def _give_up(self, events: Sequence[SavedEvent], error: AletheiaError) -> None:
        """Write dead letters; the cursor moves only afterwards."""
        if not events:
            return
        common = {
            "receiver": self._receiver,
            "kind": self._kind,
            "address": self._address,
            **describe_failure(error),
        }
        dead_letters = {
            self._dead_letter_id(event): {**common, "seq": event.seq, "run_id": event.run_id}
            for event in events
        }
        await self._feeding.dead_letters.add(self._project_id, dead_letters)
        names = ", ".join(event.id for event in events)
        log.error("given up for %s: %s: %s", self._receiver, names, error)

    def _pass(self, events: Sequence[SavedEvent]) -> tuple[Mapping[str, Any], list[str]]:
        """Pass events; return what to set in the cursor, and which runs to remove from it."""
        if events:
            self._sent = events[-1].seq
        over = [f"runs.{name_run(event.run_id)}" for event in events if event.is_last]
        return {"sent": self._sent, "at": self._feeding.clock.now()}, over

    async def _close(self) -> None:
        """Close the cursor of a receiver that has all events of all runs it asked for."""
        cursor = await self._read_cursor()
        if not cursor["runs"]:
            # Unless another run has asked since.
            where = {"subscriptions": cursor["subscriptions"]}
            await self._turn.lease.write({"is_open": False}, where=where)

    async def _read_cursor(self) -> Document:
        id_ = self._turn.lease.id
        return (await self._feeding.documents.get(CURSORS, [id_])).get(id_, self._turn.cursor)

    def _dead_letter_id(self, event: SavedEvent) -> str:
        return number_id(self._turn.lease.id, event.seq)


def name_run(run_id: str) -> str:
    """Return a run's name among the values of a cursor, where a name has no other characters."""
    return f"r{hashlib.sha256(run_id.encode()).hexdigest()[:16]}"

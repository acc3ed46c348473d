"""Delivers to the Brain what it still lacks (SPEC §4, Brain).

A project's intents are delivered by one process at a time, which has the lease of its cursor, in
their order. An intent stays until the Brain has taken what it names.

    announced → saved → upserted and linked, or stored → the intent is deleted

A kill in between has the same delivered again, which changes nothing. Items that the Brain refuses
for what they are become dead letters; such an evaluation is left to reconciling.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aletheia.brain.access import BRAIN, BrainAccess
from aletheia.brain.dead_items import DeadItems
from aletheia.brain.delivery import Delivery, DeliveryPace
from aletheia.brain.intents import Intents
from aletheia.brain.items import BrainItems
from aletheia.documents import Document, Documents
from aletheia.errors import AletheiaError, Deferred, Unavailable, retry_after_s
from aletheia.store.clock import SECOND, SYSTEM_CLOCK, Clock, microseconds_of
from aletheia.store.cursor import Cursors, Turn

log = logging.getLogger(__name__)

CURSORS: Final = "aletheia_brain_cursors"

_STORE: Final = "store"


@dataclass(frozen=True, slots=True)
class OutboxState:
    """What a project lacks in the Brain."""

    project_id: str
    waiting: int  # batches of items, and evaluations, that are not delivered yet
    dead: int  # items that were refused
    failures: int  # tries in a row that failed
    next_try_at: datetime | None  # when the next one may be; `None` where nothing is waited for
    reason: str  # what the last failure was


class Outbox:
    """Delivers the intents of all projects of one store, which is open and durable.

    Args:
        documents: the store.
        pace: how patient it is.
        clock: what leases, pauses and the order of intents go by.
        draw: draws a share of the second half of each pause, in `[0, 1]`.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        pace: DeliveryPace = DeliveryPace(),  # noqa: B008 - it is frozen
        clock: Clock = SYSTEM_CLOCK,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._documents, self._pace, self._clock = documents, pace, clock
        self.intents = Intents(documents, clock=clock)
        self.dead_items = DeadItems(documents, clock=clock)
        self._cursors = Cursors(documents, CURSORS, pace, clock=clock, draw=draw)
        self._nudged = asyncio.Event()

    async def prepare(self) -> None:
        """Make reading intents and dead items fast."""
        await self.intents.prepare()
        await self.dead_items.prepare()

    def nudge(self) -> None:
        """Poll at once, as there is something to deliver."""
        self._nudged.set()

    async def deliver(
        self, project_id: str, access: BrainAccess, items: BrainItems, *, is_back: bool = False
    ) -> int:
        """Deliver what waits in a project; return how many items and evaluations the Brain took.

        Nothing is done while another process is at it, or, unless the Brain has just answered
        (`is_back`), a pause is not over. A delivery that is cancelled counts as a try that failed.
        """
        if not await self.intents.read_batch(project_id):
            return 0
        turn = await self._cursors.take(await self._cursor(project_id), ignores_pause=is_back)
        if turn is None:
            return 0
        delivery = Delivery(
            self._documents,
            self.intents,
            self.dead_items,
            project_id,
            access,
            items,
            self._clock,
            self._pace,
        )
        try:
            return await self._take_turn(turn, delivery)
        finally:
            with suppress(Unavailable):
                await turn.lease.release()

    @asynccontextmanager
    async def feeding(
        self, project_id: str, access: BrainAccess, items: BrainItems
    ) -> AsyncGenerator[None]:
        """Deliver beside whatever the block does, which it never holds up.

        At the end, what is not delivered within `grace_s` stays for another process.
        """
        is_over = asyncio.Event()
        polling = asyncio.create_task(self._poll(project_id, access, items, is_over))
        try:
            yield
        finally:
            is_over.set()
            self._nudged.set()
            # Cancelled only if it has to be: whoever is in mid-take would leave its lease behind.
            _, slow = await asyncio.wait({polling}, timeout=self._pace.grace_s)
            if slow:
                log.warning("the Brain is slow; what %s lacks there is indexed later", project_id)
                polling.cancel()
                await asyncio.gather(polling, return_exceptions=True)

    async def states(self) -> list[OutboxState]:
        """Return the projects that lack something in the Brain, sorted by id."""
        waiting = await self.intents.count_by_project()
        dead = await self.dead_items.count_by_project()
        projects = sorted({*waiting, *dead})
        cursors = await self._documents.get(CURSORS, projects)
        states: list[OutboxState] = []
        for project_id in projects:
            trouble = self._cursors.trouble_of(cursors.get(project_id, {}))
            states.append(
                OutboxState(
                    project_id,
                    waiting.get(project_id, 0),
                    dead.get(project_id, 0),
                    trouble.failures,
                    trouble.next_try_at,
                    trouble.reason,
                )
            )
        return states

    async def _poll(
        self, project_id: str, access: BrainAccess, items: BrainItems, is_over: asyncio.Event
    ) -> None:
        """Deliver whenever there is something, and once more when it is over."""
        is_last = False
        while not is_last:
            is_last = is_over.is_set()
            self._nudged.clear()
            try:
                await self.deliver(project_id, access, items)
            except AletheiaError as error:
                log.warning("nothing of %s can be delivered to the Brain: %s", project_id, error)
            except Exception:
                # Whatever it is, the run goes on; reconciling finds what is missing.
                log.exception("delivering items of %s to the Brain went wrong", project_id)
            for change, seconds in (
                (is_over, self._pace.gather_s),
                (self._nudged, self._pace.interval_s),
            ):
                with suppress(TimeoutError):
                    async with asyncio.timeout(0 if is_over.is_set() else seconds):
                        await change.wait()

    async def _cursor(self, project_id: str) -> Document:
        """Read a project's cursor, made if it is missing."""
        found = await self._documents.get(CURSORS, [project_id])
        if project_id not in found:
            fresh: Document = {"_id": project_id, **self._cursors.fresh}
            await self._documents.insert(CURSORS, [fresh])
            return fresh
        return found[project_id]

    async def _take_turn(self, turn: Turn, delivery: Delivery) -> int:
        project_id, delivered = delivery.project_id, 0
        try:
            while intents := await self.intents.read_batch(project_id):
                taken = await delivery.send(intents)
                if taken is None:
                    break
                delivered += taken
                was_away = turn.has_failed
                if not await turn.advance({}):
                    break
                if was_away:
                    log.info("the Brain is back; what was saved in %s is delivered", project_id)
        except AletheiaError as error:
            if isinstance(error, Unavailable) and error.dependency == _STORE:
                raise
            await self._wait(turn, error)
        except asyncio.CancelledError:
            late = Unavailable(BRAIN, "no answer within the time there was for it")
            with suppress(Unavailable):
                await self._wait(turn, late)
            raise
        return delivered

    async def _wait(self, turn: Turn, error: AletheiaError) -> None:
        """Write that the Brain is away, and when to try again."""
        asked_s = retry_after_s(error)
        if isinstance(error, Deferred) and error.until is not None:
            left_s = (microseconds_of(error.until) - self._clock.now()) / SECOND
            asked_s = max(asked_s, left_s)
        # Once for an outage: the next ones say nothing new.
        level = logging.DEBUG if turn.has_failed else logging.WARNING
        message = "the Brain is away (%s); what was saved in %s is indexed later"
        log.log(level, message, error, turn.lease.id)
        await turn.wait(str(error), asked_s=asked_s)

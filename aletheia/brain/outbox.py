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
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import takewhile
from typing import Final, NamedTuple

from aletheia.brain.access import BRAIN, BrainAccess
from aletheia.brain.index import IndexedBrain
from aletheia.brain.intents import DeadItems, Intent, Intents
from aletheia.brain.items import BrainItems
from aletheia.brain.ports import FailedItem
from aletheia.documents import Document, Documents
from aletheia.errors import AletheiaError, Deferred, InvalidTask, Refused, Unavailable
from aletheia.metrics import BRAIN_ITEMS, STEP_DURATION
from aletheia.quality.evaluation import evaluation_id
from aletheia.quality.evaluation_store import EVALUATIONS, choose_plain
from aletheia.series import merged
from aletheia.store.clock import SECOND, SYSTEM_CLOCK, Clock, microseconds, microseconds_of
from aletheia.store.counters import timing
from aletheia.store.cursor import CursorPace, Cursors, Turn
from aletheia.store.patience import STORE

log = logging.getLogger(__name__)

CURSORS: Final = "aletheia_brain_cursors"


@dataclass(frozen=True, slots=True)
class DeliveryPace(CursorPace):
    """How patient delivering is; all in seconds."""

    timeout_s: float = 60.0
    lease_s: float = 180.0
    interval_s: float = 5.0
    gather_s: float = 1.0
    grace_s: float = 5.0
    settle_s: float = 120.0  # how long an intent waits for what it names to be saved


@dataclass(frozen=True, slots=True)
class BrainStatus:
    """What a project lacks in the Brain."""

    project_id: str
    waiting: int  # batches of items, and evaluations, that are not delivered yet
    dead: int  # items that were refused
    failures: int  # tries in a row that failed
    next_try_at: datetime | None  # when the next one may be; `None` where nothing is waited for
    reason: str  # what the last failure was


class _Way(NamedTuple):
    """The way of one project's intents into the Brain."""

    project_id: str
    access: BrainAccess
    items: BrainItems


class Outbox:
    """Delivers the intents of all projects of one store, which is open and durable.

    `draw` draws a share of the second half of each pause, in `[0, 1]`.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        pace: DeliveryPace = DeliveryPace(),
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
        try:
            return await self._take_turn(turn, _Way(project_id, access, items))
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

    async def states(self) -> list[BrainStatus]:
        """Return the projects that lack something in the Brain, sorted by id."""
        waiting = await self.intents.count_by_project()
        dead = await self.dead_items.count_by_project()
        projects = sorted({*waiting, *dead})
        cursors = await self._documents.get(CURSORS, projects)
        return [
            BrainStatus(
                project_id=project_id,
                waiting=waiting.get(project_id, 0),
                dead=dead.get(project_id, 0),
                **asdict(self._cursors.trouble_of(cursors.get(project_id, {}))),
            )
            for project_id in projects
        ]

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

    async def _take_turn(self, turn: Turn, way: _Way) -> int:
        project_id, delivered = way.project_id, 0
        try:
            while intents := await self.intents.read_batch(project_id):
                taken = await self._send(way, intents)
                if taken is None:
                    break
                delivered += taken
                was_away = turn.has_failed
                if not await turn.advance({}):
                    break
                if was_away:
                    log.info("the Brain is back; what was saved in %s is delivered", project_id)
        except AletheiaError as error:
            if isinstance(error, Unavailable) and error.dependency == STORE:
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
        asked_s = error.retry_after_s or 0
        if isinstance(error, Deferred) and error.until is not None:
            left_s = (microseconds_of(error.until) - self._clock.now()) / SECOND
            asked_s = max(asked_s, left_s)
        # Once for an outage: the next ones say nothing new.
        level = logging.DEBUG if turn.has_failed else logging.WARNING
        message = "the Brain is away (%s); what was saved in %s is indexed later"
        log.log(level, message, error, turn.lease.id)
        await turn.wait(str(error), asked_s=asked_s)

    async def _send(self, way: _Way, intents: list[Intent]) -> int | None:
        """Deliver intents that go together; return how many items and evaluations the Brain took.

        It is `None` if what the first of them names is not saved yet.
        """
        if intents[0].version is not None:
            return await self._send_evaluation(way, intents[0])
        ids = list(dict.fromkeys(item_id for intent in intents for item_id in intent.item_ids))
        department = intents[0].department
        own, unsaved = await way.items.read(ids, department.slug)
        missing = set(unsaved)
        ready = list(
            takewhile(
                lambda intent: missing.isdisjoint(intent.item_ids) or not self._is_young(intent),
                intents,
            )
        )
        if not ready:
            return None
        if len(ready) < len(intents):
            return await self._send(way, ready)
        failed: Sequence[FailedItem] = ()
        try:
            if own:
                prepared = await way.items.prepare(own)
                with timing(self._documents.note, STEP_DURATION, "brain", clock=self._clock):
                    async with way.access.using(timeout_s=self._pace.timeout_s) as brain:
                        failed = (await brain.upsert(way.project_id, department, prepared)).failed
        except (Refused, InvalidTask) as error:
            if isinstance(error, Refused) and not error.is_about_content:
                raise
            if len(intents) > 1:
                # Which of them is at fault shows when each is sent alone.
                return await self._send(way, intents[:1])
            failed = [FailedItem(item.id, error.code) for item in own]
        await self.dead_items.add_items(way.project_id, department.slug, failed)
        taken, refused = len(own) - len(failed), len(failed)
        self._documents.note(
            merged(BRAIN_ITEMS.add("indexed", by=taken), BRAIN_ITEMS.add("refused", by=refused))
        )
        await self.intents.forget(intents)
        return taken

    async def _send_evaluation(self, way: _Way, intent: Intent) -> int | None:
        """Deliver an evaluation as it is by now; see `_send`."""
        slug, version = intent.department.slug, intent.version or ""
        name = evaluation_id(way.project_id, slug, version)
        stored = (await self._documents.get(EVALUATIONS, [name])).get(name)
        is_saved = stored is not None and int(stored["attempt"]) >= intent.attempt
        if not is_saved and self._is_young(intent):
            return None
        taken = 0
        if stored is not None and is_saved:
            plain = choose_plain(stored)
            try:
                async with way.access.using(timeout_s=self._pace.timeout_s) as brain:
                    if isinstance(brain, IndexedBrain):
                        await brain.save_evaluation(way.project_id, slug, version, plain)
                        taken = 1
            except (Refused, InvalidTask) as error:
                if isinstance(error, Refused) and not error.is_about_content:
                    raise
                log.warning(
                    "the Brain keeps no evaluation of %s in %s: %s", slug, way.project_id, error
                )
        await self.intents.forget([intent])
        return taken

    def _is_young(self, intent: Intent) -> bool:
        """Return whether what an intent names may be just about to be saved."""
        # Clocks of two machines may differ: what is still to come is young, too.
        return abs(self._clock.now() - intent.seq) < microseconds(self._pace.settle_s)

"""What the Brain has still to be told, in the order in which it came about (SPEC §4, Brain).

An iteration writes down which items it is about to save, an evaluation which result, reconciling
which items it is about to index. What is written is an intent: it names the items, or the
evaluation, and whoever delivers it reads them from the store, so that nothing is kept twice and
what was never saved is never delivered. An intent stays until the Brain has taken what it names. A
project's intents are delivered by one process at a time, which holds a lease, in their order.

    announced → saved → upserted and linked, or kept → the intent is deleted

A kill in between has the same delivered again, which changes nothing. While the Brain is away,
pauses grow. Items that it refuses for what they are become dead letters with their code; such an
evaluation is left to reconciling, and a service of others that keeps none is not asked again.
"""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aletheia.brain.access import BRAIN, BrainAccess
from aletheia.brain.items import BrainItems
from aletheia.brain.ports import BrainDepartment, FailedItem
from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import (
    AletheiaError,
    Deferred,
    InvalidTask,
    NotFound,
    Refused,
    Unavailable,
    retry_after_s,
)
from aletheia.quality.evaluation import evaluation_id
from aletheia.quality.evaluation_store import EVALUATIONS, EvaluationRequest, choose_plain
from aletheia.store.project_id import check_project_id

log = logging.getLogger(__name__)

OUTBOX: Final = "aletheia_brain_outbox"
CURSORS: Final = "aletheia_brain_cursors"
DEAD_ITEMS: Final = "aletheia_brain_dead_items"

MAX_ITEMS: Final = 500
"""Items that are delivered at once."""

_STORE: Final = "store"
_PAGE: Final = 50
_PURGED_AT_ONCE: Final = 10_000
_REASON_LENGTH: Final = 300
_S: Final = 1_000_000
"""Microseconds, as all times in the store are: since 1970 in UTC."""

_OUR_FAULT: Final = frozenset({400, 413, 422})
"""What a service answers to items it will never take; anything else may pass."""

_FREE: Final[dict[str, Any]] = {"holder": "", "lease_until": 0}
_HEALTHY: Final[dict[str, Any]] = {"failures": 0, "due_at": 0, "reason": ""}


@dataclass(frozen=True, slots=True)
class DeliveryPace:
    """How patient delivering is; all in seconds.

    Attributes:
        backoff_s: pause after the first failure in a row; doubled up to `max_backoff_s`.
        max_backoff_s: longest pause.
        settle_s: how long an intent waits for what it names to be saved.
        timeout_s: bound on delivering one batch.
        lease_s: how long a project stays that of a process that died; more than one batch takes.
        interval_s: between two looks beside a run.
        gather_s: between a delivery beside a run and the next, so that intents go together.
        grace_s: how long the end of a run waits for its last items to be delivered.
    """

    backoff_s: float = 1.0
    max_backoff_s: float = 600.0
    settle_s: float = 120.0
    timeout_s: float = 60.0
    lease_s: float = 180.0
    interval_s: float = 5.0
    gather_s: float = 1.0
    grace_s: float = 5.0


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How a project stands with the Brain.

    Attributes:
        project_id: the project.
        waiting: batches of items, and evaluations, that are not delivered yet.
        dead: items that were refused.
        failures: tries in a row that failed.
        next_try_at: when the next one may be; `None` where nothing holds it up.
        reason: what the last failure was.
    """

    project_id: str
    waiting: int
    dead: int
    failures: int
    next_try_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class DeadItem:
    """An item that the Brain refused.

    Attributes:
        project_id: the project.
        department: slug of its department.
        item_id: of the item.
        code: why.
        at: when.
    """

    project_id: str
    department: str
    item_id: str
    code: str
    at: datetime


@dataclass(frozen=True, slots=True)
class _Intent:
    """What is to be delivered: items, or the evaluation of a version, this attempt or later."""

    key: str
    department: BrainDepartment
    ids: tuple[str, ...]
    seq: int
    version: str | None
    attempt: int

    def goes_with(self, other: "_Intent") -> bool:
        """Tell whether both may be delivered at once."""
        is_of_items = self.version is None and other.version is None
        return is_of_items and self.department == other.department


class Outbox:
    """The intents of all projects of one store.

    Args:
        documents: the store, open and durable.
        pace: how patient it is.
        clock: Unix time, seconds.
        draw: a share of the second half of each pause that is waited, in `[0, 1]`.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        pace: DeliveryPace = DeliveryPace(),
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._documents, self._pace, self._clock, self._draw = documents, pace, clock, draw
        self._nudged = asyncio.Event()
        self._last_seq = 0

    async def prepare(self) -> None:
        """Make the look-ups below fast."""
        await self._documents.ensure_index(OUTBOX, ["project", "seq"])
        await self._documents.ensure_index(DEAD_ITEMS, ["project", "at"])

    async def announce(
        self, project_id: str, key: str, department: BrainDepartment, ids: Sequence[str]
    ) -> None:
        """Write down that items are to be indexed; to be done before they are saved or indexed.

        Args:
            project_id: the project.
            key: of the iteration or batch; one that waits already stays as it is.
            department: the items' own.
            ids: of the items.

        Raises:
            Unavailable: the store is out of reach.
        """
        await self._announce(project_id, key, department, {"ids": list(ids)})

    async def withdraw(self, project_id: str, key: str) -> None:
        """Delete an intent of items that whoever announced them has indexed."""
        await self._documents.delete(OUTBOX, {"_id": _name_intent(project_id, key)})

    async def announce_evaluation(self, request: EvaluationRequest) -> None:
        """Write down that an evaluation is to be kept; to be done before it is saved.

        Raises:
            Unavailable: the store is out of reach.
        """
        department = BrainDepartment(
            request.department, request.department, request.department_number
        )
        named: Document = {"ids": [], "version": request.version, "attempt": request.attempt}
        # A key of its own: one that a killed run left is given up while this one's result is saved.
        key = f"evaluation:{uuid.uuid4().hex}"
        await self._announce(request.project_id, key, department, named)

    async def _announce(
        self, project_id: str, key: str, department: BrainDepartment, named: Document
    ) -> None:
        self._last_seq = max(self._last_seq + 1, self._now())
        document: Document = {
            "_id": _name_intent(check_project_id(project_id), key),
            "project": project_id,
            "seq": self._last_seq,
            "department": department.slug,
            "name": department.name,
            "number": department.code_dep_number,
            **named,
        }
        await self._documents.insert(OUTBOX, [document])

    def nudge(self) -> None:
        """Say that there is something to deliver, so that the next look is now."""
        self._nudged.set()

    async def projects(self) -> list[str]:
        """List the projects that have something to deliver, by name."""
        return sorted(await self._documents.count_by(OUTBOX, "project", {}))

    async def deliver(
        self, project_id: str, access: BrainAccess, items: BrainItems, *, is_back: bool = False
    ) -> int:
        """Deliver what waits in a project, as far as that can be done now.

        Nothing is done while another process is at it, or a pause is not over. One that is
        cancelled counts as a try that failed, so that what it left has a reason.

        Args:
            project_id: the project.
            access: the way to the Brain.
            items: the project's.
            is_back: whether the Brain has just answered, so that no pause is waited for.

        Returns:
            How many items and evaluations the Brain took.

        Raises:
            Unavailable: the store is out of reach.
        """
        if not await self._documents.find(OUTBOX, {"project": project_id}, limit=1):
            return 0
        cursor = await self._take(project_id, is_back=is_back)
        if cursor is None:
            return 0
        token: str = cursor["holder"]
        delivered = 0
        try:
            while intents := await self._read(project_id):
                taken = await self._send(project_id, intents, access, items)
                if taken is None:
                    break
                delivered += taken
                change = {**_HEALTHY, "lease_until": self._lease_end()}
                if not await self._write(project_id, token, change):
                    return delivered
                if cursor["failures"]:
                    log.info("the Brain is back; what was saved in %s is delivered", project_id)
                cursor |= _HEALTHY
        except AletheiaError as error:
            if isinstance(error, Unavailable) and error.dependency == _STORE:
                raise
            await self._wait(cursor, error)
        except asyncio.CancelledError:
            late = Unavailable(BRAIN, "no answer within the time there was for it")
            with suppress(Unavailable):
                await self._wait(cursor, late)
            raise
        finally:
            with suppress(Unavailable):
                await self._write(project_id, token, _FREE)
        return delivered

    @asynccontextmanager
    async def feeding(
        self, project_id: str, access: BrainAccess, items: BrainItems
    ) -> AsyncGenerator[None]:
        """Deliver beside whatever the block does, which it never holds up.

        At the end, what is not delivered within `grace_s` stays for another process.
        """
        is_over = asyncio.Event()
        looking = asyncio.create_task(self._look(project_id, access, items, is_over))
        try:
            yield
        finally:
            is_over.set()
            self._nudged.set()
            # Cancelled only if it has to be: whoever is in mid-take would leave its lease behind.
            _, slow = await asyncio.wait({looking}, timeout=self._pace.grace_s)
            if slow:
                log.warning("the Brain is slow; what %s lacks there is indexed later", project_id)
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)

    async def states(self) -> list[OutboxState]:
        """List the projects that lack something in the Brain, by name."""
        waiting = await self._documents.count_by(OUTBOX, "project", {})
        dead = await self._documents.count_by(DEAD_ITEMS, "project", {})
        cursors = await self._documents.get(CURSORS, sorted({*waiting, *dead}))
        states: list[OutboxState] = []
        for project in sorted({*waiting, *dead}):
            cursor = cursors.get(project) or {**_HEALTHY}
            is_held_up = cursor["due_at"] > self._now()
            states.append(
                OutboxState(
                    project,
                    waiting.get(project, 0),
                    dead.get(project, 0),
                    int(cursor["failures"]),
                    _moment(cursor["due_at"]) if is_held_up else None,
                    cursor["reason"],
                )
            )
        return states

    async def dead_items(
        self, project_id: str | None = None, *, limit: int = 100
    ) -> list[DeadItem]:
        """List the items (of a project) that were refused last, newest first."""
        where = {} if project_id is None else {"project": check_project_id(project_id)}
        found = await self._documents.find(
            DEAD_ITEMS, where, sort="at", descending=True, limit=limit
        )
        return [
            DeadItem(
                one["project"], one["department"], one["item"], one["code"], _moment(one["at"])
            )
            for one in found
        ]

    async def bury(self, project_id: str, department: str, failed: Sequence[FailedItem]) -> None:
        """Keep what the Brain refused, with its code; an earlier one of an item is replaced."""
        at = self._now()
        updates = [
            Update(
                _letter_of(project_id, one.id),
                Change(
                    set={
                        "project": project_id,
                        "department": department,
                        "item": one.id,
                        "code": one.code,
                        "at": at,
                    }
                ),
            )
            for one in failed
        ]
        if updates:
            await self._documents.upsert(DEAD_ITEMS, updates)
            said = ", ".join(f"{one.id} ({one.code})" for one in failed[:10])
            log.error("%d items of %s are not indexed: %s", len(failed), project_id, said)

    async def forget_dead(self, project_id: str, ids: Sequence[str]) -> int:
        """Delete the dead letters of items that were indexed after all, or are gone."""
        names = [_letter_of(project_id, one) for one in ids]
        return sum(
            [
                await self._documents.delete(
                    DEAD_ITEMS, {"_id": {"$in": names[start : start + MAX_ITEMS]}}
                )
                for start in range(0, len(names), MAX_ITEMS)
            ]
        )

    async def purge(self, older_than_s: float) -> int:
        """Delete dead letters that are older than that; say how many."""
        old = {"at": {"$lt": self._now() - round(older_than_s * _S)}}
        return await self._documents.delete(DEAD_ITEMS, old, limit=_PURGED_AT_ONCE)

    async def _look(
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

    async def _take(self, project_id: str, *, is_back: bool) -> Document | None:
        """Hold a project for delivering; `None` while it is held, or a pause has to be kept."""
        now = self._now()
        fresh: Document = {"_id": project_id, **_FREE, **_HEALTHY}
        cursors = await self._documents.get(CURSORS, [project_id])
        if (seen := cursors.get(project_id)) is None:
            await self._documents.insert(CURSORS, [fresh])
            seen = fresh
        # A moment further ahead than there can be is none to wait for: the clock was moved back.
        longest = round(self._pace.max_backoff_s * _S)
        is_leased = seen["holder"] and 0 < seen["lease_until"] - now <= self._lease()
        is_paused = not is_back and 0 < seen["due_at"] - now <= longest
        if is_leased or is_paused:
            return None
        names = ("_id", "holder", "lease_until", "due_at")
        change = Change(set={"holder": uuid.uuid4().hex, "lease_until": self._lease_end()})
        return await self._documents.take(CURSORS, {name: seen[name] for name in names}, change)

    async def _read(self, project_id: str) -> list[_Intent]:
        """Read the oldest intents, as many as go into one batch: a department's, or one."""
        rows = await self._documents.find(OUTBOX, {"project": project_id}, sort="seq", limit=_PAGE)
        chosen: list[_Intent] = []
        size = 0
        for row in rows:
            department = BrainDepartment(row["department"], row["name"], row["number"])
            intent = _Intent(
                row["_id"],
                department,
                tuple(row["ids"]),
                int(row["seq"]),
                row.get("version"),
                int(row.get("attempt", 0)),
            )
            size += len(intent.ids)
            if chosen and (not chosen[0].goes_with(intent) or size > MAX_ITEMS):
                break
            chosen.append(intent)
        return chosen

    async def _send(
        self, project_id: str, intents: list[_Intent], access: BrainAccess, items: BrainItems
    ) -> int | None:
        """Deliver intents that go together.

        Returns:
            How much the Brain took; `None` if what the first one names is not saved yet.

        Raises:
            AletheiaError: the Brain did not take them, for now.
        """
        if intents[0].version is not None:
            return await self._send_evaluation(project_id, intents[0], access)
        department = intents[0].department
        ids = list(dict.fromkeys(one for intent in intents for one in intent.ids))
        own, unsaved = await items.read(ids, department.slug)
        ready = self._settled(intents, set(unsaved))
        if not ready:
            return None
        if len(ready) < len(intents):
            return await self._send(project_id, ready, access, items)
        failed: Sequence[FailedItem] = ()
        if own:
            prepared = await items.prepare(own)
            try:
                async with access.using(timeout_s=self._pace.timeout_s) as brain:
                    failed = (await brain.upsert(project_id, department, prepared)).failed
            except (Refused, InvalidTask) as error:
                if not _is_our_fault(error):
                    raise
                if len(intents) > 1:
                    return await self._send(project_id, intents[:1], access, items)
                failed = [FailedItem(one.id, error.code) for one in own]
        await self.bury(project_id, department.slug, failed)
        await self._forget(intents)
        return len(own) - len(failed)

    async def _send_evaluation(
        self, project_id: str, intent: _Intent, access: BrainAccess
    ) -> int | None:
        """Deliver an evaluation as it is by now; see `_send`."""
        slug, version = intent.department.slug, intent.version or ""
        name = evaluation_id(project_id, slug, version)
        stored = (await self._documents.get(EVALUATIONS, [name])).get(name)
        if stored is None or int(stored["attempt"]) < intent.attempt:
            if self._is_young(intent):
                return None
            stored = None
        kept = 0
        if stored is not None:
            try:
                async with access.using(timeout_s=self._pace.timeout_s) as brain:
                    await brain.keep_evaluation(project_id, slug, version, choose_plain(stored))
                kept = 1
            except (Refused, InvalidTask) as error:
                if not isinstance(error, NotFound) and not _is_our_fault(error):
                    raise
                log.warning(
                    "the Brain keeps no evaluation of %s in %s: %s", slug, project_id, error
                )
        await self._forget([intent])
        return kept

    async def _forget(self, intents: Sequence[_Intent]) -> None:
        done_with = {"_id": {"$in": [intent.key for intent in intents]}}
        await self._documents.delete(OUTBOX, done_with)

    def _settled(self, intents: Sequence[_Intent], unsaved: set[str]) -> list[_Intent]:
        """Choose the first ones whose items are saved, or will never be."""
        ready: list[_Intent] = []
        for intent in intents:
            if not unsaved.isdisjoint(intent.ids) and self._is_young(intent):
                break
            ready.append(intent)
        return ready

    def _is_young(self, intent: _Intent) -> bool:
        """Tell whether what an intent names may be just about to be saved."""
        # Clocks of two machines may differ: what is still to come is young, too.
        return abs(self._now() - intent.seq) < self._pace.settle_s * _S

    async def _wait(self, cursor: Document, error: AletheiaError) -> None:
        """Write down that the Brain is away, and when to try again."""
        failures = int(cursor["failures"]) + 1
        window_s = min(self._pace.backoff_s * 2 ** min(failures - 1, 30), self._pace.max_backoff_s)
        wait_s = max(window_s * (1 + self._draw()) / 2, retry_after_s(error))
        if isinstance(error, Deferred) and error.until is not None:
            wait_s = max(wait_s, error.until.timestamp() - self._clock())
        wait_s = min(wait_s, self._pace.max_backoff_s)
        # Once for an outage: the next ones say nothing new.
        level = logging.WARNING if failures == 1 else logging.DEBUG
        said = "the Brain is away (%s); what was saved in %s is indexed later"
        log.log(level, said, error, cursor["_id"])
        change = {
            "failures": failures,
            "reason": str(error)[:_REASON_LENGTH],
            "due_at": self._now() + round(wait_s * _S),
        }
        await self._write(cursor["_id"], cursor["holder"], change)

    async def _write(self, project_id: str, token: str, change: dict[str, Any]) -> bool:
        """Change the cursor if it is still ours, and say whether it is."""
        update = Update(project_id, Change(set=change), {"holder": token})
        (is_ours,) = await self._documents.update(CURSORS, [update])
        return is_ours

    def _lease(self) -> int:
        return round(self._pace.lease_s * _S)

    def _lease_end(self) -> int:
        return self._now() + self._lease()

    def _now(self) -> int:
        return round(self._clock() * _S)


def _is_our_fault(error: Refused | InvalidTask) -> bool:
    return isinstance(error, InvalidTask) or error.status in _OUR_FAULT


def _name_intent(project_id: str, key: str) -> str:
    return f"{project_id}:{key}"


def _letter_of(project_id: str, item_id: str) -> str:
    return f"{project_id}:{item_id}"


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / _S, UTC)

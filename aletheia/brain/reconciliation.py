"""Compares the Brain with the store, and makes them agree (SPEC §4, Brain).

The store is the truth. The Brain should have the items that were made for a department, each once,
in its department, as it is written, and with a vector of the model in use. Documents of the
application have no department and are not indexed.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from aletheia.brain.access import BrainAccess
from aletheia.brain.index import Catalogue, fingerprint_of
from aletheia.brain.items import BrainItems
from aletheia.brain.outbox import Outbox
from aletheia.brain.ports import (
    ADOPT_TIMEOUT_S,
    BrainDepartment,
    FailedItem,
    IndexedItem,
    KnownItem,
)
from aletheia.errors import NotFound, Refused
from aletheia.items.content import SavedItem
from aletheia.quality.evaluation_store import choose_plain

log = logging.getLogger(__name__)

EXAMPLES: Final = 5
"""Ids that are named of each kind of difference."""

_AT_ONCE: Final = 500
_PAGE: Final = 1000

CALL_TIMEOUT_S: Final = 120.0
"""Bound on one batch, or one page, seconds."""

DELIVER_FOR_S: Final = 60.0
"""Bound on delivering what waits of a project, seconds; the sweep goes on."""


class Kind(StrEnum):
    """How an item of the Brain differs from the store; the first that applies counts."""

    MISSING = "missing"
    EXTRA = "extra"
    OTHER_DEPARTMENT = "other_department"
    STALE = "stale"
    WITHOUT_VECTOR = "without_vector"


@dataclass(frozen=True, slots=True)
class Differences:
    """How the Brain and the store differ.

    Attributes:
        ids: by kind, in order.
        in_store: items that should be indexed.
        in_brain: items that are.
    """

    ids: Mapping[Kind, Sequence[str]]
    in_store: int
    in_brain: int

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(map(len, self.ids.values()))


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What reconciling a project came to.

    Attributes:
        project_id: the project.
        before: how they differed; `None` where the Brain does not tell what it holds.
        after: how they differ now.
        upserted: items that were written.
        deleted: items that were deleted.
        failed: items that the Brain does not take, with the reason.
    """

    project_id: str
    before: Differences | None
    after: Differences | None
    upserted: int
    deleted: int
    failed: tuple[FailedItem, ...]


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the store says about an item that should be indexed."""

    department: str
    number: int | None
    fingerprint: str
    moment: datetime


class Reconciler:
    """Makes the Brain agree with the store, one project at a time.

    Args:
        access: the way to the Brain.
        outbox: where items are kept that it does not take, and what is being written.
        catalogue: finds the names of departments.
        deliver_for_s: bound on delivering what waits of a project, seconds.
    """

    def __init__(
        self,
        access: BrainAccess,
        outbox: Outbox,
        catalogue: Catalogue,
        *,
        deliver_for_s: float = DELIVER_FOR_S,
    ) -> None:
        self._access, self._outbox, self._catalogue = access, outbox, catalogue
        self._deliver_for_s = deliver_for_s

    async def adopt_model(self, project_id: str, model: str) -> bool:
        """Have the Brain go over to a model, where its vectors are still those of another one.

        Args:
            project_id: a project, to ask about where a service has to be asked about one.
            model: the one in use, with whatever else its vectors depend on.

        Returns:
            Whether it went over, so that no project has vectors until it is reconciled.

        Raises:
            Unavailable: the Brain is out of reach.
            OtherModel: it embeds with another model itself.
            ModelChanged: a service of others holds vectors of another model than it embeds with.
        """
        async with self._access.using(timeout_s=ADOPT_TIMEOUT_S) as brain:
            try:
                return await brain.adopt_model(model)
            except NotFound:
                # The model is such a service's own business; any answer shows that it has changed.
                with suppress(Refused):
                    await brain.measure_coverage(project_id, BrainDepartment("-", "-"), ())
                return False

    async def reconcile(self, project_id: str, items: BrainItems) -> Reconciled:
        """Compare, repair, and compare again; the model is to be adopted before.

        May be done while a run saves items: what it saves meanwhile is indexed twice at most,
        which changes nothing, and never taken for something to be deleted.

        Raises:
            Unavailable: the Brain or the store is out of reach; what was repaired stays.
            ModelChanged: the Brain holds vectors of another model than it embeds with.
        """
        before, stored = await self._compare(project_id, items)
        wanted = list(stored)
        deleted = 0
        if before is not None:
            extra = before.ids[Kind.EXTRA]
            deleted = await self._delete(project_id, extra)
            await self._outbox.dead_items.forget(project_id, extra)
            wanted = [
                one for kind, ids in before.ids.items() if kind is not Kind.EXTRA for one in ids
            ]
        upserted, failed = await self._upsert(project_id, items, wanted, stored)
        after = before
        if before is not None and before.total:
            after, _ = await self._compare(project_id, items)
        return Reconciled(project_id, before, after, upserted, deleted, tuple(failed))

    async def deliver_waiting(self, project_id: str, items: BrainItems) -> None:
        """Deliver what waits of a project, as the Brain answers; to be done after reconciling.

        Most of it is there by now; until it is delivered, it counts as waiting all the same.

        Raises:
            Unavailable: the store is out of reach.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(self._deliver_for_s):
                await self._outbox.deliver(project_id, self._access, items, is_back=True)

    async def keep_evaluations(
        self, project_id: str, evaluations: Sequence[Mapping[str, Any]]
    ) -> int:
        """Keep evaluations beside the items they are of, where the Brain keeps any.

        Args:
            project_id: the project.
            evaluations: as `EvaluationStore` keeps them.

        Returns:
            How many are kept.
        """
        kept = 0
        for one in evaluations:
            slug, version = one["department"], one["version"]
            async with self._access.using(timeout_s=CALL_TIMEOUT_S) as brain:
                try:
                    await brain.keep_evaluation(project_id, slug, version, choose_plain(one))
                except NotFound:
                    return 0
                kept += 1
        return kept

    async def _compare(
        self, project_id: str, items: BrainItems
    ) -> tuple[Differences | None, dict[str, _Stored]]:
        # The Brain is listed first: what is saved and indexed meanwhile must not look deleted.
        indexed = await self._list_brain(project_id)
        stored = await _list_store(items)
        if indexed is None:
            return None, stored
        found: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        for item_id, one in stored.items():
            kind = _differ(one, indexed.get(item_id))
            if kind is not None:
                found[kind].append(item_id)
        unknown = [one for one in indexed if one not in stored]
        found[Kind.EXTRA] = await _without_own(items, unknown)
        ids = {kind: sorted(some) for kind, some in found.items()}
        return Differences(ids, len(stored), len(indexed)), stored

    async def _list_brain(self, project_id: str) -> dict[str, IndexedItem] | None:
        """List what the Brain holds; `None` where it does not tell."""
        found: dict[str, IndexedItem] = {}
        after = ""
        while True:
            async with self._access.using(timeout_s=CALL_TIMEOUT_S) as brain:
                try:
                    page = await brain.list_items(project_id, after=after, limit=_PAGE)
                except NotFound:
                    return None
            # A service of others may not know `after`, and answer with the same page for ever.
            new = {one.id: one for one in page if one.id not in found}
            if not new:
                return found
            found |= new
            after = page[-1].id

    async def _delete(self, project_id: str, ids: Sequence[str]) -> int:
        deleted = 0
        for some in _batches(ids):
            async with self._access.using(timeout_s=CALL_TIMEOUT_S) as brain:
                deleted += await brain.delete(project_id, some)
        return deleted

    async def _upsert(
        self,
        project_id: str,
        items: BrainItems,
        ids: Sequence[str],
        stored: Mapping[str, _Stored],
    ) -> tuple[int, list[FailedItem]]:
        """Write items, department by department, the oldest first.

        Each batch is in the outbox until it is done: edges that are not drawn are no difference
        that could be found.
        """
        by_department: dict[str, list[str]] = {}
        for one in sorted(ids, key=lambda one: (stored[one].moment, one)):
            by_department.setdefault(stored[one].department, []).append(one)
        upserted = 0
        failed: list[FailedItem] = []
        for slug, own in by_department.items():
            known = await self._catalogue(project_id, slug)
            department = known or BrainDepartment(slug, slug, stored[own[-1]].number)
            for some in _batches(own):
                saved, _ = await items.read(some, slug)
                prepared = await items.prepare(saved)
                key = f"reconcile:{uuid.uuid4().hex}"
                await self._outbox.intents.announce(project_id, key, department, some)
                async with self._access.using(timeout_s=CALL_TIMEOUT_S) as brain:
                    done = await brain.upsert(project_id, department, prepared)
                refused = {one.id for one in done.failed}
                taken = [one.id for one in saved if one.id not in refused]
                await self._outbox.dead_items.add(project_id, slug, done.failed)
                await self._outbox.dead_items.forget(project_id, taken)
                await self._outbox.intents.withdraw(project_id, key)
                upserted += len(taken)
                failed += done.failed
        return upserted, failed


def _differ(one: _Stored, indexed: IndexedItem | None) -> Kind | None:
    if indexed is None:
        return Kind.MISSING
    if indexed.department != one.department:
        return Kind.OTHER_DEPARTMENT
    if indexed.fingerprint != one.fingerprint:
        return Kind.STALE
    return None if indexed.has_vector else Kind.WITHOUT_VECTOR


async def _list_store(items: BrainItems) -> dict[str, _Stored]:
    """List what should be indexed."""
    stored: dict[str, _Stored] = {}
    async for page in _read_all(items):
        for one in page:
            if one.automation is not None:
                known = KnownItem(one.id, one.content, one.summary, one.context)
                stored[one.id] = _Stored(
                    one.automation.department,
                    one.automation.department_number,
                    fingerprint_of(known),
                    one.created_at or datetime.min.replace(tzinfo=UTC),
                )
    return stored


async def _read_all(items: BrainItems) -> AsyncGenerator[Iterable[SavedItem]]:
    async with aclosing(items.content.list_ids()) as pages:
        async for ids in pages:
            for some in _batches(ids, _PAGE):
                yield (await items.content.read_items(some)).values()


async def _without_own(items: BrainItems, ids: Sequence[str]) -> list[str]:
    """Choose those that are not in the store, looking once more: a listing may miss one."""
    gone: list[str] = []
    for some in _batches(ids):
        found = await items.content.read_items(some)
        gone += [one for one in some if one not in found or found[one].department is None]
    return gone


def _batches(ids: Sequence[str], size: int = _AT_ONCE) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]

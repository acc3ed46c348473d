"""Compares the Brain with the store, and makes them agree (SPEC §4, Brain).

The Brain should have the items that were made for a department, each once, in its department, as it
is written, and with a vector of the model in use. A Brain behind HTTP cannot be listed: it is sent
everything again.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

from aletheia.brain.access import BrainAccess
from aletheia.brain.forms import fingerprint_of
from aletheia.brain.graph import IndexedItem
from aletheia.brain.index import IndexedBrain
from aletheia.brain.items import BrainItems
from aletheia.brain.outbox import Outbox
from aletheia.brain.ports import ADOPT_TIMEOUT_S, BrainDepartment, Catalogue, FailedItem
from aletheia.quality.evaluation_store import choose_plain

log = logging.getLogger(__name__)

EXAMPLES: Final = 5
"""Ids that are named of each kind of difference."""

CALL_TIMEOUT_S: Final = 120.0
"""Bound on one batch, or one page, seconds."""

DELIVER_FOR_S: Final = 60.0
"""Bound on delivering the intents of a project, seconds; the sweep delivers the rest."""

_AT_ONCE: Final = 500
_PAGE: Final = 1000


class Kind(StrEnum):
    """How an item of the Brain differs from the store; the first that applies counts."""

    MISSING = "missing"
    EXTRA = "extra"
    OTHER_DEPARTMENT = "other_department"
    STALE = "stale"
    WITHOUT_VECTOR = "without_vector"


Differences: TypeAlias = Mapping[Kind, Sequence[str]]
"""The ids of the items that differ, by kind."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The result of reconciling a project."""

    in_store: int  # how many items should be indexed
    before: Differences | None  # how they differed; `None` for a Brain behind HTTP; `after` alike
    after: Differences | None
    upserted: int  # items that were written
    deleted: int  # items that were deleted
    failed: tuple[FailedItem, ...]  # items that the Brain refuses, with the reason


@dataclass(frozen=True, slots=True)
class _Stored:
    """An item that should be indexed, as far as it is compared."""

    department: str
    number: int | None
    fingerprint: str
    created_at: datetime


class Reconciler:
    """Makes the Brain agree with the store, one project at a time."""

    def __init__(self, access: BrainAccess, outbox: Outbox, catalogue: Catalogue) -> None:
        self._access, self._outbox, self._catalogue = access, outbox, catalogue

    async def adopt_model(self, model: str) -> bool:
        """See `IndexedBrain.adopt_model`; behind HTTP that is up to the service."""
        async with self._access.using(timeout_s=ADOPT_TIMEOUT_S) as brain:
            return isinstance(brain, IndexedBrain) and await brain.adopt_model(model)

    async def reconcile(self, project_id: str, items: BrainItems) -> Reconciled:
        """Compare, repair, and compare again; the model is to be adopted before.

        May be done while a run saves items: what it saves meanwhile is indexed twice at most,
        which changes nothing, and never deleted.

        Raises:
            Unavailable: the Brain or the store is out of reach; what was repaired stays.
            ModelChanged: the Brain has vectors of another model than it embeds with.
        """
        before, stored = await self._compare(project_id, items)
        wanted = list(stored)
        deleted = 0
        if before is not None:
            extra = before[Kind.EXTRA]
            for batch in _batches(extra):
                async with self._access.using(timeout_s=CALL_TIMEOUT_S) as brain:
                    if isinstance(brain, IndexedBrain):
                        deleted += await brain.graph.delete(project_id, batch)
            await self._outbox.dead_items.forget_items(project_id, extra)
            wanted = [
                item_id for kind in Kind if kind is not Kind.EXTRA for item_id in before[kind]
            ]
        upserted, failed = await self._upsert(project_id, items, wanted, stored)
        after = before
        if before is not None and any(before.values()):
            after, _ = await self._compare(project_id, items)
        return Reconciled(len(stored), before, after, upserted, deleted, tuple(failed))

    async def deliver_waiting(self, project_id: str, items: BrainItems) -> None:
        """Deliver the intents of a project without a pause, to be done after reconciling."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DELIVER_FOR_S):
                await self._outbox.deliver(project_id, self._access, items, is_back=True)

    async def save_evaluations(
        self, project_id: str, evaluations: Sequence[Mapping[str, Any]]
    ) -> int:
        """Save evaluations, as `EvaluationStore` has them, beside their items; return how many.

        Behind HTTP there is no place for them.
        """
        saved = 0
        for evaluation in evaluations:
            slug, version = evaluation["department"], evaluation["version"]
            async with self._access.using(timeout_s=CALL_TIMEOUT_S) as brain:
                if not isinstance(brain, IndexedBrain):
                    break
                await brain.save_evaluation(project_id, slug, version, choose_plain(evaluation))
                saved += 1
        return saved

    async def _compare(
        self, project_id: str, items: BrainItems
    ) -> tuple[Differences | None, dict[str, _Stored]]:
        # The Brain is listed first: what is saved and indexed meanwhile must not count as extra.
        indexed = await self._list_brain(project_id)
        stored = await _list_store(items)
        if indexed is None:
            return None, stored
        differing: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        for item_id, item in stored.items():
            kind = _find_difference(item, indexed.get(item_id))
            if kind is not None:
                differing[kind].append(item_id)
        unknown = [item_id for item_id in indexed if item_id not in stored]
        # Read once more: a listing may miss some.
        for batch in _batches(unknown):
            saved = await items.content.read_items(batch)
            differing[Kind.EXTRA] += [
                item_id
                for item_id in batch
                if item_id not in saved or saved[item_id].department is None
            ]
        return {kind: sorted(ids) for kind, ids in differing.items()}, stored

    async def _list_brain(self, project_id: str) -> dict[str, IndexedItem] | None:
        """List what is indexed; `None` for a Brain behind HTTP."""
        indexed: dict[str, IndexedItem] = {}
        after = ""
        while True:
            async with self._access.using(timeout_s=CALL_TIMEOUT_S) as brain:
                if not isinstance(brain, IndexedBrain):
                    return None
                page = await brain.graph.list_items(project_id, after=after, limit=_PAGE)
            if not page:
                return indexed
            indexed |= {item.id: item for item in page}
            after = page[-1].id

    async def _upsert(
        self,
        project_id: str,
        items: BrainItems,
        ids: Sequence[str],
        stored: Mapping[str, _Stored],
    ) -> tuple[int, list[FailedItem]]:
        """Write items, department by department, the oldest first.

        Each batch is in the outbox until it is done: comparing cannot find missing edges.
        """
        by_department: dict[str, list[str]] = {}
        for item_id in sorted(ids, key=lambda item_id: (stored[item_id].created_at, item_id)):
            by_department.setdefault(stored[item_id].department, []).append(item_id)
        upserted = 0
        failed: list[FailedItem] = []
        for slug, own in by_department.items():
            known = await self._catalogue(project_id, slug)
            department = known or BrainDepartment(slug, slug, stored[own[-1]].number)
            for batch in _batches(own):
                saved, _ = await items.read(batch, slug)
                prepared = await items.prepare(saved)
                key = f"reconcile:{uuid.uuid4().hex}"
                await self._outbox.intents.announce(project_id, key, department, batch)
                async with self._access.using(timeout_s=CALL_TIMEOUT_S) as brain:
                    done = await brain.upsert(project_id, department, prepared)
                refused = {item.id for item in done.failed}
                taken = [item.id for item in saved if item.id not in refused]
                await self._outbox.dead_items.add_items(project_id, slug, done.failed)
                await self._outbox.dead_items.forget_items(project_id, taken)
                await self._outbox.intents.withdraw(project_id, key)
                upserted += len(taken)
                failed += done.failed
        return upserted, failed


def _find_difference(stored: _Stored, indexed: IndexedItem | None) -> Kind | None:
    if indexed is None:
        return Kind.MISSING
    if indexed.department != stored.department:
        return Kind.OTHER_DEPARTMENT
    if indexed.fingerprint != stored.fingerprint:
        return Kind.STALE
    return None if indexed.has_vector else Kind.WITHOUT_VECTOR


async def _list_store(items: BrainItems) -> dict[str, _Stored]:
    """List what should be indexed."""
    stored: dict[str, _Stored] = {}
    async with aclosing(items.content.list_ids()) as pages:
        async for ids in pages:
            for batch in _batches(ids, _PAGE):
                for item in (await items.content.read_items(batch)).values():
                    if item.automation is not None:
                        stored[item.id] = _Stored(
                            item.automation.department,
                            item.automation.department_number,
                            fingerprint_of(item),
                            item.created_at or datetime.min.replace(tzinfo=UTC),
                        )
    return stored


def _batches(ids: Sequence[str], size: int = _AT_ONCE) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]

"""What the Brain still lacks, in the order in which it came about, and what it has refused.

An intent is written before what it names is saved, so that whoever dies in between leaves it
behind. Whoever delivers it reads what it names, items or an evaluation, from the store.
"""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aletheia.brain.ports import BrainDepartment, FailedItem
from aletheia.documents import Document, Documents
from aletheia.metrics import BRAIN_OUTBOX
from aletheia.quality.evaluation_store import EvaluationRequest
from aletheia.store.clock import Clock
from aletheia.store.counters import correct_gauge
from aletheia.store.cursor import DeadLetters
from aletheia.store.project_id import check_project_id

log = logging.getLogger(__name__)

OUTBOX: Final = "aletheia_brain_outbox"
DEAD_ITEMS: Final = "aletheia_brain_dead_items"

MAX_ITEMS: Final = 500
"""Items that are delivered at once."""

_PAGE: Final = 50
_MAX_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be delivered: items, or the evaluation of a version."""

    id: str
    department: BrainDepartment
    item_ids: tuple[str, ...]
    seq: int  # its place in the order, which is when it was written, microseconds
    version: str | None  # of the evaluation; `None` for items
    attempt: int  # the evaluation that is delivered is of this attempt, or of a later one


class Intents:
    """The intents of all projects of one store, which is open and durable."""

    def __init__(self, documents: Documents, *, clock: Clock) -> None:
        self._documents, self._clock = documents, clock
        self._last_seq = 0

    async def prepare(self) -> None:
        """Make reading them in order fast."""
        await self._documents.ensure_index(OUTBOX, ["project", "seq"])

    async def announce(
        self, project_id: str, key: str, department: BrainDepartment, ids: Sequence[str]
    ) -> None:
        """Write that items are to be indexed; to be done before they are saved or indexed.

        `key` is of the iteration or batch; one that waits already stays as it is.
        """
        await self._write(project_id, key, department, {"ids": list(ids)})

    async def announce_evaluation(self, request: EvaluationRequest) -> None:
        """Write that an evaluation is to be stored; to be done before it is saved."""
        department = BrainDepartment(
            request.department, request.department, request.department_number
        )
        named: Document = {"ids": [], "version": request.version, "attempt": request.attempt}
        # A key of its own: one that a killed run left is given up while this one's result is saved.
        key = f"evaluation:{uuid.uuid4().hex}"
        await self._write(request.project_id, key, department, named)

    async def withdraw(self, project_id: str, key: str) -> None:
        """Delete an intent of items that whoever announced them has indexed."""
        named = {"_id": _id_of(project_id, key)}
        await self._documents.delete(OUTBOX, named, counts=BRAIN_OUTBOX.add(by=-1))

    async def count_by_project(self) -> dict[str, int]:
        """Count the intents of each project that has some."""
        return await self._documents.count_by(OUTBOX, "project", {})

    async def correct_gauge(self) -> None:
        """Make the counter of what waits agree with what is there; others may be at work."""

        async def count() -> dict[tuple[str, ...], int]:
            return {(): await self._documents.count(OUTBOX, {})}

        await correct_gauge(self._documents, BRAIN_OUTBOX, count)

    async def read_batch(self, project_id: str) -> list[Intent]:
        """Read the oldest intents, as many as go into one batch: a department's, or one."""
        rows = await self._documents.find(OUTBOX, {"project": project_id}, sort="seq", limit=_PAGE)
        batch: list[Intent] = []
        size = 0
        for row in rows:
            intent = Intent(
                row["_id"],
                BrainDepartment(row["department"], row["name"], row["number"]),
                tuple(row["ids"]),
                int(row["seq"]),
                row.get("version"),
                int(row.get("attempt", 0)),
            )
            size += len(intent.item_ids)
            if batch and (
                size > MAX_ITEMS
                or (batch[0].version, intent.version) != (None, None)
                or batch[0].department != intent.department
            ):
                break
            batch.append(intent)
        return batch

    async def forget(self, intents: Sequence[Intent]) -> None:
        """Delete intents that are delivered, or given up."""
        ids = [intent.id for intent in intents]
        named = {"_id": {"$in": ids}}
        await self._documents.delete(OUTBOX, named, counts=BRAIN_OUTBOX.add(by=-1))

    async def _write(
        self, project_id: str, key: str, department: BrainDepartment, named: Document
    ) -> None:
        self._last_seq = max(self._last_seq + 1, self._clock.now())
        document: Document = {
            "_id": _id_of(check_project_id(project_id), key),
            "project": project_id,
            "seq": self._last_seq,
            "department": department.slug,
            "name": department.name,
            "number": department.code_dep_number,
            **named,
        }
        counts = {document["_id"]: BRAIN_OUTBOX.add()}
        await self._documents.insert(OUTBOX, [document], counts=counts)


class DeadItems(DeadLetters):
    """The refused items of all projects of one store, which is open and durable.

    A dead letter has the `department`, the `item` and the `code` of why it was refused.
    """

    def __init__(self, documents: Documents, *, clock: Clock) -> None:
        super().__init__(documents, DEAD_ITEMS, clock=clock)

    async def add_items(
        self, project_id: str, department: str, failed: Sequence[FailedItem]
    ) -> None:
        """Write items that the Brain refused; an earlier dead letter of an item is replaced."""
        if not failed:
            return
        dead_letters = {
            _id_of(project_id, item.id): {
                "department": department,
                "item": item.id,
                "code": item.code,
            }
            for item in failed
        }
        await self.add(project_id, dead_letters)
        shown = ", ".join(f"{item.id} ({item.code})" for item in failed[:_MAX_SHOWN])
        log.error("%d items of %s are not indexed: %s", len(failed), project_id, shown)

    async def forget_items(self, project_id: str, ids: Sequence[str]) -> int:
        """Delete the dead letters of items that were indexed after all, or are gone; count them."""
        return await self.forget([_id_of(project_id, item_id) for item_id in ids])


def _id_of(project_id: str, key: str) -> str:
    return f"{project_id}:{key}"

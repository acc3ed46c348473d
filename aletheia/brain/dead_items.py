"""Items that the Brain refused for what they are, as dead letters with their code."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aletheia.brain.ports import FailedItem
from aletheia.documents import Documents
from aletheia.store.clock import Clock, moment
from aletheia.store.cursor import DeadLetters
from aletheia.store.project_id import check_project_id

log = logging.getLogger(__name__)

DEAD_ITEMS: Final = "aletheia_brain_dead_items"

_MAX_SHOWN: Final = 10


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


class DeadItems:
    """The refused items of all projects of one store.

    Args:
        documents: the store, open and durable.
        clock: tells when an item was refused.
    """

    def __init__(self, documents: Documents, *, clock: Clock) -> None:
        self._dead_letters = DeadLetters(documents, DEAD_ITEMS, clock=clock)

    async def prepare(self) -> None:
        """Make listing and purging fast."""
        await self._dead_letters.prepare()

    async def add(self, project_id: str, department: str, failed: Sequence[FailedItem]) -> None:
        """Write items that the Brain refused; an earlier dead letter of an item is replaced."""
        if not failed:
            return
        dead_letters = {
            _dead_letter_id(project_id, item.id): {
                "department": department,
                "item": item.id,
                "code": item.code,
            }
            for item in failed
        }
        await self._dead_letters.add(project_id, dead_letters)
        shown = ", ".join(f"{item.id} ({item.code})" for item in failed[:_MAX_SHOWN])
        log.error("%d items of %s are not indexed: %s", len(failed), project_id, shown)

    async def newest(self, project_id: str | None = None, *, limit: int = 100) -> list[DeadItem]:
        """Return the items (of a project) that were refused last, newest first."""
        if project_id is not None:
            check_project_id(project_id)
        return [
            DeadItem(
                dead_letter["project"],
                dead_letter["department"],
                dead_letter["item"],
                dead_letter["code"],
                moment(dead_letter["at"]),
            )
            for dead_letter in await self._dead_letters.newest(project_id, limit=limit)
        ]

    async def forget(self, project_id: str, ids: Sequence[str]) -> int:
        """Delete the dead letters of items that were indexed after all, or are gone.

        Returns:
            How many there were.
        """
        return await self._dead_letters.forget(
            [_dead_letter_id(project_id, item_id) for item_id in ids]
        )

    async def count_by_project(self) -> dict[str, int]:
        """Count the refused items of each project that has some."""
        return await self._dead_letters.count_by_project()

    async def purge(self, older_than_s: float) -> int:
        """Delete dead letters that are older than that; return how many."""
        return await self._dead_letters.purge(older_than_s)


def _dead_letter_id(project_id: str, item_id: str) -> str:
    return f"{project_id}:{item_id}"

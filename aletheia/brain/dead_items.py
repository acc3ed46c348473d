"""Items that the Brain refused for what they are, as dead letters with their code."""

import logging
from collections.abc import Sequence
from typing import Final

from aletheia.brain.ports import FailedItem
from aletheia.documents import Documents
from aletheia.store.clock import Clock
from aletheia.store.cursor import DeadLetters

log = logging.getLogger(__name__)

DEAD_ITEMS: Final = "aletheia_brain_dead_items"

_MAX_SHOWN: Final = 10


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
            _dead_letter_id(project_id, item.id): {
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
        return await self.forget([_dead_letter_id(project_id, item_id) for item_id in ids])


def _dead_letter_id(project_id: str, item_id: str) -> str:
    return f"{project_id}:{item_id}"

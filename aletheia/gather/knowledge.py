"""What a gather run reads from the Brain, without ever failing for it, and sends to it."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Final

from aletheia.brain.access import BrainAccess
from aletheia.brain.outbox import Outbox
from aletheia.brain.ports import MAX_DUPLICATES, BrainDepartment, DepartmentContext, Duplicate
from aletheia.errors import AletheiaError
from aletheia.gather.ports import BrainNotes
from aletheia.items.departments import Department
from aletheia.items.project_items import ProjectItems
from aletheia.llm.messages import cut_text

log = logging.getLogger(__name__)

WAIT_S: Final = 3.0
"""Longest wait for the Brain in an iteration, seconds; 50 iterations have 10 minutes (SPEC §4)."""

NEAR_FROM: Final = 0.2
"""Raw cosine to a department's description, inclusive, from which an item of another department is
quoted: in the hand-made sets of the tests, items to the point have 0.29 and more."""

MAX_NEAR: Final = 20
"""Items of other departments that a prompt may choose from."""

MAX_CONTEXT_TOKENS: Final = 4000
"""Size of the context that is asked for; a prompt quotes a part of it."""

_MAX_QUERY_TOKENS: Final = 500


class Knowledge:
    """The Brain of one run; a `GatherBrain`."""

    def __init__(
        self,
        access: BrainAccess,
        outbox: Outbox,
        project_id: str,
        items: ProjectItems,
        *,
        wait_s: float = WAIT_S,
    ) -> None:
        self._access, self._outbox, self._project_id = access, outbox, project_id
        self._items, self._wait_s = items, wait_s
        self._is_missed = False

    async def context(
        self, department: Department, own_ids: Collection[str], previous: Sequence[str]
    ) -> BrainNotes:
        """Return gaps of a department, and near items of others; see `GatherBrain`."""
        described = cut_text(f"{department.name}. {department.description}", _MAX_QUERY_TOKENS)
        try:
            # Embedded once: the vector is cached, as those of items are.
            (vector,) = await self._items.embed([described])
            async with self._access.using(timeout_s=self._wait_s) as brain:
                known, near = await asyncio.gather(
                    brain.read_context(
                        self._project_id,
                        describe(department),
                        previous,
                        max_tokens=MAX_CONTEXT_TOKENS,
                    ),
                    brain.find_duplicates(
                        self._project_id,
                        vector=vector,
                        threshold=NEAR_FROM,
                        limit=min(MAX_NEAR + len(own_ids), MAX_DUPLICATES),
                    ),
                )
        except AletheiaError as error:
            if not self._is_missed:
                log.warning("prompts go without the Brain: %s", error)
            self._is_missed = True
            return BrainNotes()
        if self._is_missed:
            log.info("prompts have what the Brain knows again")
        self._is_missed = False
        return _note(known, near, own_ids)

    async def announce(self, key: str, department: Department, ids: Sequence[str]) -> None:
        """Add items to the outbox; see `GatherBrain`."""
        await self._outbox.intents.announce(self._project_id, key, describe(department), ids)

    def index(self) -> None:
        """Start to deliver what was announced; see `GatherBrain`."""
        self._outbox.nudge()


def describe(department: Department) -> BrainDepartment:
    """Return a department as the Brain knows it."""
    return BrainDepartment(
        department.slug, department.name, department.code_dep_number, department.description
    )


def _note(
    known: DepartmentContext, near: Sequence[Duplicate], own_ids: Collection[str]
) -> BrainNotes:
    """Choose what a prompt may quote: gaps, near items of others, items of earlier departments."""
    texts = {item.id: item.content for item in near if item.id not in own_ids}
    for earlier in known.previous:
        for item in earlier.items:
            texts.setdefault(item.id, item.content)
    return BrainNotes(
        gaps=known.gaps,
        items=list(texts.values()),
    )

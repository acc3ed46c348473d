"""What a run asks of the Brain, and what it tells it: the loop's `Brain` over the real one.

The loop never waits for the Brain for long and never fails because of it: a prompt goes without
what the Brain knows, and what is saved waits in the outbox.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Final

from aletheia.brain.access import BrainAccess
from aletheia.brain.outbox import Outbox
from aletheia.brain.ports import MAX_DUPLICATES, BrainDepartment, DepartmentContext, Duplicate
from aletheia.errors import AletheiaError
from aletheia.gather.loop import BrainNotes
from aletheia.items.content import ProjectItems
from aletheia.items.departments import Department
from aletheia.llm.messages import cut_text
from aletheia.llm.quoting import Excerpt

log = logging.getLogger(__name__)

WAIT_S: Final = 3.0
"""Longest wait for the Brain in an iteration, seconds; 50 of them may take 10 minutes (SPEC §4)."""

NEAR_FROM: Final = 0.2
"""Raw cosine to a department's description, inclusive, from which an item of another one may be of
use: of the hand-made sets of the tests, what is to the point has 0.29 and more."""

MAX_NEAR: Final = 20
"""Items of other departments that a prompt may choose from."""

MAX_CONTEXT_TOKENS: Final = 4000
"""Of the context that is asked for; a prompt quotes a part of it."""

_MAX_QUERY_TOKENS: Final = 500


class Knowledge:
    """The Brain of one run.

    Args:
        access: the way to the Brain.
        outbox: what is indexed later.
        project_id: the project.
        items: those of the project, and what embeds.
        wait_s: longest wait for the Brain.
    """

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
        """Tell what is missing, and what other departments have that is near; see `loop.Brain`."""
        described = cut_text(f"{department.name}. {department.description}", _MAX_QUERY_TOKENS)
        try:
            # Embedded once: its vector is kept as those of items are.
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
        """Put items into the outbox; see `loop.Brain`."""
        await self._outbox.announce(self._project_id, key, describe(department), ids)

    def index(self) -> None:
        """Have what was announced delivered; see `loop.Brain`."""
        self._outbox.nudge()


def describe(department: Department) -> BrainDepartment:
    """Say of a department what concerns the Brain."""
    return BrainDepartment(
        department.slug, department.name, department.code_dep_number, department.description
    )


def _note(
    known: DepartmentContext, near: Sequence[Duplicate], own_ids: Collection[str]
) -> BrainNotes:
    """Choose what a prompt is told: gaps, then near items of others, then what came before."""
    texts = {one.id: one.content for one in near if one.id not in own_ids}
    for earlier in known.previous:
        for item in earlier.items:
            texts.setdefault(item.id, item.content)
    return BrainNotes(
        gaps=[Excerpt("brain:gaps", gap) for gap in known.gaps],
        items=[Excerpt(f"brain:{item_id}", text) for item_id, text in texts.items()],
    )

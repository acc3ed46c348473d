"""What a gather run reads from the Brain, without ever failing for it, and sends to it."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Final

from aletheia.brain.access import BrainAccess
from aletheia.brain.outbox import Outbox
from aletheia.brain.ports import MAX_DUPLICATES, BrainDepartment, DepartmentContext, Duplicate
from aletheia.documents import Documents
from aletheia.errors import AletheiaError
from aletheia.gather.prompts.generate_items import PromptContext
from aletheia.gather.run_records import RUNS
from aletheia.items.departments import Department
from aletheia.items.project_items import ProjectItems
from aletheia.llm.messages import cut_text
from aletheia.store.clock import SYSTEM_CLOCK, Clock

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

CACHED_FOR_S: Final = 10.0
"""How long the departments of a project are cached, seconds, unless one is unknown."""

_MAX_QUERY_TOKENS: Final = 500


class Knowledge:
    """The Brain as a run sees it; while it is out of reach, the run goes on without it."""

    def __init__(
        self, access: BrainAccess, outbox: Outbox, project_id: str, items: ProjectItems
    ) -> None:
        self._access, self._outbox = access, outbox
        self._project_id, self._items = project_id, items
        self._is_missed = False

    async def context(
        self, department: Department, own_ids: Collection[str], previous: Sequence[str]
    ) -> PromptContext:
        """Return gaps of a department, and near items of others; nothing without the Brain."""
        described = cut_text(f"{department.name}. {department.description}", _MAX_QUERY_TOKENS)
        try:
            # Embedded once: the vector is cached, as those of items are.
            (vector,) = await self._items.embed([described])
            async with self._access.using(timeout_s=WAIT_S) as brain:
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
            return PromptContext()
        if self._is_missed:
            log.info("prompts have what the Brain knows again")
        self._is_missed = False
        return _note(known, near, own_ids)

    async def announce(self, key: str, department: Department, ids: Sequence[str]) -> None:
        """Store durably, once for an iteration's `key`, that items are to be indexed."""
        await self._outbox.intents.announce(self._project_id, key, describe(department), ids)

    def index(self) -> None:
        """Start to index what was announced, and return at once."""
        self._outbox.nudge()


def describe(department: Department) -> BrainDepartment:
    """Return a department as the Brain knows it."""
    return BrainDepartment(
        department.slug, department.name, department.code_dep_number, department.description
    )


def _note(
    known: DepartmentContext, near: Sequence[Duplicate], own_ids: Collection[str]
) -> PromptContext:
    """Choose what a prompt may quote: gaps, near items of others, items of earlier departments."""
    texts = {item.id: item.content for item in near if item.id not in own_ids}
    for earlier in known.previous:
        for item in earlier.items:
            texts.setdefault(item.id, item.content)
    return PromptContext(gaps=known.gaps, brain=list(texts.values()))


class RunCatalogue:
    """Finds a department among those that the project's newest gather run froze; a `Catalogue`."""

    def __init__(self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._documents, self._clock = documents, clock
        self._project, self._read_at = "", -CACHED_FOR_S
        self._departments: dict[str, BrainDepartment] = {}

    async def __call__(self, project_id: str, slug: str) -> BrainDepartment | None:
        """Find a department by project and slug; `None` where the run has none of that name."""
        is_old = self._clock.steady_s() - self._read_at >= CACHED_FOR_S
        if is_old or project_id != self._project or slug not in self._departments:
            departments = await self._read(project_id)
            self._project, self._departments = project_id, departments
            self._read_at = self._clock.steady_s()
            return departments.get(slug)
        return self._departments[slug]

    async def _read(self, project_id: str) -> dict[str, BrainDepartment]:
        where = {"project_id": project_id}
        newest = await self._documents.find(RUNS, where, sort="opened_at", descending=True, limit=1)
        frozen = [
            Department.model_validate(values) for run in newest for values in run["departments"]
        ]
        return {department.slug: describe(department) for department in reversed(frozen)}

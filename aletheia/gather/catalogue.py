"""Departments by project and slug, for the Brain, which stores no descriptions."""

import time
from typing import Final

from aletheia.brain.ports import BrainDepartment
from aletheia.documents import Documents
from aletheia.gather.knowledge import describe
from aletheia.gather.run_records import RUNS
from aletheia.items.departments import Department

CACHED_FOR_S: Final = 10.0
"""How long the departments of a project are cached, seconds, unless one is unknown."""


class RunCatalogue:
    """Finds a department among those that the project's newest gather run froze; a `Catalogue`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._project, self._read_at = "", -CACHED_FOR_S
        self._departments: dict[str, BrainDepartment] = {}

    async def __call__(self, project_id: str, slug: str) -> BrainDepartment | None:
        """Find a department by project and slug; `None` where the run has none of that name."""
        is_old = time.monotonic() - self._read_at >= CACHED_FOR_S
        if is_old or project_id != self._project or slug not in self._departments:
            departments = await self._read(project_id)
            self._project, self._departments = project_id, departments
            self._read_at = time.monotonic()
            return departments.get(slug)
        return self._departments[slug]

    async def _read(self, project_id: str) -> dict[str, BrainDepartment]:
        where = {"project_id": project_id}
        newest = await self._documents.find(RUNS, where, sort="opened_at", descending=True, limit=1)
        frozen = [
            Department.model_validate(values) for run in newest for values in run["departments"]
        ]
        return {department.slug: describe(department) for department in reversed(frozen)}

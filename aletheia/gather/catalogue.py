"""What is known of departments beside the Brain, which keeps no descriptions."""

from aletheia.documents import Documents
from aletheia.gather.brain import BrainDepartment
from aletheia.gather.models import Department
from aletheia.gather.runs import RUNS


class RunCatalogue:
    """Finds a department among those that the project's newest gather run froze; a `Catalogue`.

    Args:
        documents: the store, open.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def __call__(self, project_id: str, slug: str) -> BrainDepartment | None:
        """Find a department by project and slug; `None` where the run has none of that name."""
        where = {"project_id": project_id}
        newest = await self._documents.find(RUNS, where, sort="opened_at", descending=True, limit=1)
        for document in newest:
            for one in document["departments"]:
                if one["slug"] == slug:
                    found = Department.model_validate(one)
                    return BrainDepartment(
                        found.slug, found.name, found.code_dep_number, found.description
                    )
        return None

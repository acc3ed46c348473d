"""Departments that are set in advance."""

from collections.abc import Sequence
from typing import Any

from aletheia.errors import AletheiaError
from aletheia.items.departments import Department, DepartmentList


def make_department(slug: str, number: int, **parts: Any) -> Department:
    """Make a department with subjects of its own."""
    described = {
        "legal": "Reviews contracts and advises on data protection and licences.",
        "support": "Answers customers, resolves tickets and collects feedback on releases.",
        "finance": "Plans budgets, pays invoices and reports on cash and taxes.",
    }
    return Department.model_validate(
        {
            "id": f"id-{slug}",
            "slug": slug,
            "name": slug.capitalize(),
            "description": described.get(slug, f"Looks after {slug}."),
            "code_dep_number": number,
            "gather_check": True,
            "is_active": True,
            **parts,
        }
    )


class FakeDepartments:
    """Lists departments, and counts how often.

    Attributes:
        departments: the list; may be replaced.
        listed: how often it was read.
        error: raised by the next reading.
    """

    def __init__(self, departments: Sequence[Department]) -> None:
        self.departments = tuple(departments)
        self.listed = 0
        self.error: AletheiaError | None = None

    async def __call__(self) -> DepartmentList:
        """Read all of them."""
        self.listed += 1
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return DepartmentList(self.departments)

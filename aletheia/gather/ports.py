"""What gathering needs from outside."""

from typing import Protocol

from aletheia.items.departments import DepartmentList


class DepartmentSource(Protocol):
    """Knows the departments that take part in gathering."""

    async def list_departments(self) -> DepartmentList:
        """Read all of them, in the order they are worked through.

        Raises:
            Unavailable: the application is out of reach or answers nonsense.
            Refused: it refuses our credentials, or has no departments.
            Misconfigured: its address is that of something else.
        """
        ...

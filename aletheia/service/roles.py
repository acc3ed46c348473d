"""Who calls, and which role may do what (SPEC §6, Who may)."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a token says its bearer is."""

    ADMIN = "admin"
    MANAGER = "manager"
    OPERATOR = "operator"
    VIEWER = "viewer"


READERS: Final = frozenset(Role)
"""Who may read."""

OPERATORS: Final = frozenset({Role.ADMIN, Role.MANAGER, Role.OPERATOR})
"""Who may act: replay, pause, resume, undo."""

MANAGERS: Final = frozenset({Role.ADMIN, Role.MANAGER})
"""Who may do everything, and whatever has no guard of its own."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever a token or a ticket was made for."""

    subject: str
    roles: frozenset[Role]
    expires_at: float  # Unix time, seconds
    address: str = ""  # from where the caller asks

    def has_any(self, roles: Collection[Role]) -> bool:
        """Return whether the caller has one of some roles."""
        return not self.roles.isdisjoint(roles)

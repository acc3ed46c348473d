"""What gathering needs from outside."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aletheia.gather.models import Run
from aletheia.items.content import SavedItem
from aletheia.items.departments import Department, DepartmentList
from aletheia.llm.answers import SavedAnswers


class DepartmentSource(Protocol):
    """Knows the departments that take part in gathering."""

    async def list_departments(self) -> DepartmentList:
        """Return all of them, in the order they are worked through.

        Raises:
            Unavailable: the application is out of reach or answers nonsense.
            Refused: it refuses our credentials, or has no departments.
            Misconfigured: its address is that of something else.
        """
        ...


@dataclass(frozen=True, slots=True)
class BrainNotes:
    """What the Brain knows of a department."""

    gaps: Sequence[str] = ()
    items: Sequence[str] = ()


class GatherBrain(Protocol):
    """The Brain as a run sees it; while it is out of reach, the run goes on without it."""

    async def context(
        self, department: Department, own_ids: Collection[str], previous: Sequence[str]
    ) -> BrainNotes:
        """Return what the Brain knows of a department; nothing while it is out of reach."""
        ...

    async def announce(self, key: str, department: Department, ids: Sequence[str]) -> None:
        """Store durably, once for an iteration's `key`, that items are to be indexed."""
        ...

    def index(self) -> None:
        """Start to index what was announced, and return at once."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """How good a department is."""

    score: float  # 0 to 100
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])  # what it rests on, JSON
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])  # for the next scoring, JSON


class Scorer(Protocol):
    """Scores departments."""

    async def score(
        self, run: Run, position: int, items: Sequence[SavedItem], answers: SavedAnswers
    ) -> Scored:
        """Score a department over its own saved items, oldest first."""
        ...

"""What a backend of the Brain keeps: projects, departments, items, evaluations and edges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from aletheia.brain.ports import BrainDepartment, Duplicate, KnownItem

EXACT_UP_TO: Final = 20_000
"""Items of a project up to which all of them are compared (SPEC §4)."""

NEIGHBOURS: Final = 10
"""Similarity edges of an item at most, to its nearest neighbours."""


@dataclass(frozen=True, slots=True, eq=False)
class GraphItem:
    """An item on its way into a backend, checked."""

    id: str
    content: str
    summary: str
    context: str
    vector: NDArray[np.float32]  # `(d,)` float32 of unit length
    fingerprint: str  # of all that is indexed of it, the vector aside
    order: int  # grows from item to item; an item that is there keeps its first one


@dataclass(frozen=True, slots=True)
class IndexedItem:
    """An item as a backend lists it; see `fingerprint_of`; one without vector is not found."""

    id: str
    department: str
    fingerprint: str
    has_vector: bool


class BrainGraph(Protocol):
    """A backend: it writes, finds and lists, and decides nothing that all backends must agree on.

    Errors are those of `Brain`. Every name and id is data, whatever it looks like.
    """

    async def open(self) -> None:
        """Connect, and create constraints and indexes. Idempotent."""
        ...

    async def close(self) -> None:
        """Release every resource. Idempotent."""
        ...

    async def read_model(self) -> tuple[str, int] | None:
        """Return the embedding model whose vectors are kept, and their length; `None` at first."""
        ...

    async def set_model(self, model: str, dimensions: int) -> None:
        """Keep vectors of this model from now on; those of another one are forgotten.

        The items stay, and cannot be found until they are upserted again. Returns when searches
        may be made. A call that was cut short is finished by the next one.
        """
        ...

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[GraphItem]
    ) -> tuple[int, int]:
        """Write items, no id twice; return how many are new and how many were there."""
        ...

    async def search(
        self, project_id: str, vector: NDArray[np.float32], *, threshold: float, limit: int
    ) -> list[Duplicate]:
        """Find near items: exactly up to `EXACT_UP_TO` of the project's, see `Brain`.

        `vector` is `(d,)` float32 of unit length, `threshold` a raw cosine, inclusive.
        """
        ...

    async def list_newest(self, project_id: str, department: str, limit: int) -> list[KnownItem]:
        """List a department's items, newest first: the highest order first."""
        ...

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """List a project's items in the order of their ids, those behind `after`."""
        ...

    async def delete(self, project_id: str, ids: Sequence[str]) -> int:
        """Delete items with their edges; return how many were there."""
        ...

    async def link(self, project_id: str, ids: Sequence[str], *, threshold: float) -> int:
        """Draw edges from items to their `NEIGHBOURS` nearest; return how many they have now.

        Items that are not there are passed over; earlier edges of these items are replaced.
        `threshold` is a raw cosine, inclusive.
        """
        ...

    async def save_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """Save an evaluation of a version of a department, in place of an earlier one of it.

        `values` are plain ones by name: `score`, `evaluated_at` and the like.
        """
        ...

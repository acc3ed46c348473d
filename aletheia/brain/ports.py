"""The Brain: an index of what was gathered, which can be made again from the store (SPEC §4).

    Brain          the four calls that gathering makes, and that the HTTP API offers
    BrainUpkeep    what else a Brain can do whose graph is at hand, and not behind HTTP
    BrainGraph     what a backend keeps, embedded or in Neo4j: `graph.py`

All similarities in here are raw cosines in [-1, 1]; vectors are those of one embedding model.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.errors import AletheiaError

DEFAULT_DUPLICATES: Final = 10
"""Hits of a search for duplicates where no limit is given (SPEC §4)."""

MAX_DUPLICATES: Final = 2_000
"""Hits of a search at most; also how far an approximate search is widened (SPEC §4)."""

MAX_PREVIOUS: Final = 100
"""Earlier departments that a context is made of at most; each takes a query or two."""

ADOPT_TIMEOUT_S: Final = 660.0
"""Bound on adopting another embedding model, seconds; a backend takes ten minutes at most."""


class ModelChanged(AletheiaError):
    """The Brain has vectors of `kept`, and `asked` is in use; `reconcile` indexes all anew."""

    code = "embedding_model_changed"

    def __init__(self, kept: str, asked: str) -> None:
        super().__init__(kept, asked)
        self.kept, self.asked = kept, asked

    def __str__(self) -> str:
        return (
            f"the Brain has vectors of {self.kept!r}, not of {self.asked!r}: run `reconcile` "
            "to index all anew; for a service, where its graph is at hand"
        )


class OtherModel(AletheiaError):
    """A Brain embeds with its `own` model, and its caller with `asked`."""

    code = "other_embedding_model"

    def __init__(self, own: str, asked: str) -> None:
        super().__init__(own, asked)
        self.own, self.asked = own, asked

    def __str__(self) -> str:
        return (
            f"the Brain embeds with {self.own!r}, not with {self.asked!r}: "
            "give both sides the same settings"
        )


@dataclass(frozen=True, slots=True)
class BrainDepartment:
    """A department, as far as the Brain is concerned."""

    slug: str  # its name in the Brain
    name: str  # for people
    code_dep_number: int | None = None  # its place in the order of departments; `None` goes last
    description: str = ""  # names its aspects; no backend keeps it


@dataclass(frozen=True, slots=True, eq=False)
class BrainItem:
    """An item to be indexed: full text, gist, and where it belongs.

    `vector` is `(d,)` float32 of the full text, not zero; `None` has the Brain embed it.
    """

    id: str
    content: str
    summary: str = ""
    context: str = ""
    vector: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class KnownItem:
    """An item that the Brain knows, without its vector."""

    id: str
    content: str
    summary: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that was not indexed, and the code of why, such as `wrong_dimensions`."""

    id: str
    code: str


@dataclass(frozen=True, slots=True)
class Upserted:
    """The result of indexing a batch."""

    created: int  # items that are new
    updated: int  # items that were there; the same item again counts here and changes nothing
    failed: tuple[FailedItem, ...] = ()  # those that were not taken, in their order; the rest was


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An item near to what was asked about.

    `score` is the raw cosine in `[-1, 1]` of float32 vectors, computed in float64.
    """

    id: str
    score: float
    content: str


@dataclass(frozen=True, slots=True)
class EarlierDepartment:
    """What an earlier department, by its slug, came to; `items` are its newest, newest first."""

    department: str
    summary: str
    items: tuple[KnownItem, ...]


@dataclass(frozen=True, slots=True)
class DepartmentContext:
    """What is known before something is written for a department.

    Attributes:
        department: its slug.
        items: its own, newest first.
        previous: earlier departments, in the order asked for; those without items are left out.
        gaps: aspects that are not covered yet.
    """

    department: str
    items: tuple[KnownItem, ...]
    previous: tuple[EarlierDepartment, ...]
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AspectCoverage:
    """How well an aspect is covered: the share of the items it takes, 0 to 1, and their ids."""

    name: str
    covered: float
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How well a department is covered.

    Attributes:
        score: 0 to 100, the gate's own coverage.
        aspects: in the order of the description, the department as a whole last.
    """

    score: float
    aspects: tuple[AspectCoverage, ...]


@dataclass(frozen=True, slots=True)
class IndexedItem:
    """An item as a backend lists it; see `fingerprint_of`; one without vector is not found."""

    id: str
    department: str
    fingerprint: str
    has_vector: bool


Catalogue: TypeAlias = Callable[[str, str], Awaitable[BrainDepartment | None]]
"""Finds a department by project and slug; `None` where nobody knows it."""


class Brain(Protocol):
    """What gathering asks of the Brain: the four calls of the specification.

    Every call raises `Unavailable` when it is out of reach, `Refused` when it refuses our
    credentials or the request, and `ModelChanged` while its vectors are those of another model.
    """

    @property
    def model(self) -> str:
        """The embedding model its vectors are of, by its full name; empty if unknown."""
        ...

    @property
    def upkeep(self) -> "BrainUpkeep | None":
        """What lists and repairs it; `None` for a service, which has the four calls only."""
        ...

    async def open(self) -> None:
        """Connect, and create what it needs. Idempotent."""
        ...

    async def close(self) -> None:
        """Release every resource. Idempotent."""
        ...

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[BrainItem]
    ) -> Upserted:
        """Index a department's items, and link them to their neighbours where the graph is at hand.

        The same ones again change nothing; after an error all of them are to be given again. Of
        two items with one id in a call the last counts. An item belongs to one department: that of
        the last call.
        """
        ...

    async def find_duplicates(
        self,
        project_id: str,
        *,
        content: str | None = None,
        vector: NDArray[np.float32] | None = None,
        threshold: float,
        limit: int = DEFAULT_DUPLICATES,
    ) -> list[Duplicate]:
        """Find items of a project near to a vector, `(d,)` and not zero, or else to a text.

        Args:
            project_id: only its items are searched.
            content: what is embedded when no vector is given.
            vector: see above.
            threshold: raw cosine in `[-1, 1]`, inclusive.
            limit: 1 to `MAX_DUPLICATES`.

        Returns:
            Hits in falling order of their score, then of their id.

        Raises:
            InvalidTask: `missing_query`; `wrong_dimensions` or `invalid_vector`.
        """
        ...

    async def read_context(
        self,
        project_id: str,
        department: BrainDepartment,
        previous: Sequence[str] = (),
        *,
        max_tokens: int,
    ) -> DepartmentContext:
        """Return what is known of a department and of those before it, within so many tokens.

        Of `previous` the last `MAX_PREVIOUS` count.
        """
        ...

    async def measure_coverage(
        self,
        project_id: str,
        department: BrainDepartment,
        items: Sequence[KnownItem] | None = None,
    ) -> Coverage:
        """Measure how well items cover a department's aspects; `None` takes all indexed ones."""
        ...


class IndexedItems(Protocol):
    """What is indexed, where the graph is at hand."""

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """List a project's items in the order of their ids, those behind `after`."""
        ...

    async def delete(self, project_id: str, ids: Sequence[str]) -> int:
        """Delete items with their edges; return how many were there."""
        ...

    async def save_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """Save an evaluation of a version of a department, in place of an earlier one of it.

        `values` are plain ones by name: `score`, `evaluated_at` and the like.
        """
        ...


class BrainUpkeep(IndexedItems, Protocol):
    """What reconciling and evaluations need of a Brain beyond the four calls."""

    async def adopt_model(self, model: str) -> bool:
        """Keep vectors of this model from now on; those of another one are forgotten.

        Takes `ADOPT_TIMEOUT_S` at most. What an earlier call did not finish is finished.

        Returns:
            Whether vectors of another one went, so that every project is to be indexed anew.

        Raises:
            OtherModel: it embeds with another one.
        """
        ...

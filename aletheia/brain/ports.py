"""The Brain: an index of what was gathered, which can be made again from the store (SPEC §4).

    Brain          the four calls that gathering makes, and that the HTTP API offers
    IndexedBrain   a Brain whose graph is at hand, and not behind HTTP: `index.py`
    BrainGraph     what a backend keeps, embedded or in Neo4j: `graph.py`

All similarities in here are raw cosines in [-1, 1]; vectors are those of one embedding model. What
the Brain answers is also what its HTTP API answers (`wire.py`), and is read leniently from others:
an empty text or list may be null, an id may be an integer.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol, TypeAlias, TypeVar, cast, dataclass_transform

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, with_config

from aletheia.errors import AletheiaError
from aletheia.items.departments import read_id

DEFAULT_DUPLICATES: Final = 10
"""Hits of a search for duplicates where no limit is given (SPEC §4)."""

MAX_DUPLICATES: Final = 2_000
"""Hits of a search at most; also how far an approximate search is widened (SPEC §4)."""

MAX_PREVIOUS: Final = 100
"""Earlier departments that a context is made of at most; each takes a query or two."""

ADOPT_TIMEOUT_S: Final = 660.0
"""Bound on adopting another embedding model, seconds; a backend takes ten minutes at most."""


_TOLERANCE: Final = 1e-3
"""How far rounding may take a cosine beyond 1."""


@dataclass(eq=False)
class ModelChanged(AletheiaError):
    """The Brain has vectors of `kept`, and `asked` is in use; `reconcile` indexes all anew."""

    code = "embedding_model_changed"
    sentence = (
        "the Brain has vectors of {kept!r}, not of {asked!r}: run `reconcile` to index all anew; "
        "for a service, where its graph is at hand"
    )

    kept: str
    asked: str


@dataclass(eq=False)
class OtherModel(AletheiaError):
    """A Brain embeds with its `own` model, and its caller with `asked`."""

    code = "other_embedding_model"
    sentence = (
        "the Brain embeds with {own!r}, not with {asked!r}: give both sides the same settings"
    )

    own: str
    asked: str


def prefer_id(value: Any) -> Any:
    """Read `_id` beside an empty `id`."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if not fields.get("id") and fields.get("_id"):
            return {**fields, "id": fields["_id"]}
    return cast("Any", value)


def _read_list(value: object) -> object:
    return () if value is None else (value,) if isinstance(value, str) else value


def _read_cosine(value: object) -> object:
    if isinstance(value, float) and 1 < abs(value) <= 1 + _TOLERANCE:
        return math.copysign(1.0, value)
    return value


T = TypeVar("T")

Text: TypeAlias = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
Id: TypeAlias = Annotated[str, Field(min_length=1), BeforeValidator(read_id)]
Listed: TypeAlias = Annotated[
    tuple[Annotated[T, BeforeValidator(prefer_id)], ...], BeforeValidator(_read_list)
]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def _answer(cls: type[T]) -> type[T]:
    """Make a frozen dataclass, whose docstring describes its schema; checked where it is read."""
    described = with_config(json_schema_extra={"description": cls.__doc__})(cls)
    return dataclass(frozen=True, slots=True)(described)


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


@_answer
class KnownItem:
    """An item that is indexed, without its vector."""

    id: Annotated[
        Id, Field(description="Of the saved item.", examples=["65f00000000000000000abcd"])
    ]
    content: Annotated[
        str,
        Field(
            description="The full text.",
            examples=["Review supplier contracts every quarter and file the changes."],
        ),
    ]
    summary: Annotated[Text, Field(description="Its gist.")] = ""
    context: Annotated[Text, Field(description="Where it belongs.")] = ""


@_answer
class FailedItem:
    """An item that was not indexed."""

    id: Annotated[str, BeforeValidator(read_id), Field(description="Of the item.")]
    code: Annotated[
        str,
        Field(
            description="Why: `wrong_dimensions`, `invalid_vector`, `invalid_id`, `empty_text`, "
            "`input_too_long`, or the code that embedding it ended with.",
            examples=["wrong_dimensions"],
        ),
    ] = "refused"


@_answer
class Upserted:
    """The result of indexing a batch."""

    created: Annotated[int, Field(ge=0, description="Items that are new.")]
    updated: Annotated[int, Field(ge=0, description="Items that were there, changed or not.")]
    failed: Annotated[
        Listed[FailedItem],
        Field(description="Those that were not taken, in their order; the rest was."),
    ] = ()


@_answer
class Duplicate:
    """An item that is near."""

    id: Annotated[Id, Field(description="Of the item.")]
    score: Annotated[
        float,
        Field(ge=-1, le=1, description="Raw cosine in float64.", examples=[0.962511]),
        BeforeValidator(_read_cosine),
    ]
    content: Annotated[Text, Field(description="The full text.")] = ""


@_answer
class EarlierDepartment:
    """What an earlier department came to."""

    department: Annotated[str, Field(description="Its slug.", examples=["sales"])]
    summary: Annotated[Text, Field(description="Some sentences.")] = ""
    items: Annotated[Listed[KnownItem], Field(description="Its newest, newest first.")] = ()


@_answer
class DepartmentContext:
    """What is known before something is written for a department."""

    department: Annotated[Text, Field(description="Its slug.", examples=["legal"])] = field(
        default="", kw_only=True
    )
    items: Annotated[Listed[KnownItem], Field(description="Its own, newest first.")]
    previous: Annotated[
        Listed[EarlierDepartment],
        Field(
            description="Earlier departments, in the order asked for, without those that have no "
            "items."
        ),
    ] = ()
    gaps: Annotated[
        Listed[str],
        Field(description="Aspects that are not covered yet.", examples=[["data protection"]]),
    ] = ()


@_answer
class AspectCoverage:
    """How well an aspect of a department is covered."""

    name: Annotated[
        str,
        Field(description="In the words of the department's description.", examples=["contracts"]),
    ]
    covered: Annotated[
        float, Field(ge=0, le=1, description="Share of the items it takes.", examples=[0.5])
    ]
    evidence: Annotated[Listed[Id], Field(description="Ids of the items that cover it.")] = ()


@_answer
class Coverage:
    """How well a department is covered."""

    score: Annotated[float, Field(ge=0, le=100, description="The gate's own.", examples=[62.5])]
    aspects: Annotated[
        tuple[AspectCoverage, ...],
        Field(
            description="In the order of the department's description, the department as a whole "
            "last."
        ),
    ]


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

        `threshold` is a raw cosine in `[-1, 1]`, inclusive; `limit` is 1 to `MAX_DUPLICATES`.

        Returns:
            Hits in falling order of their score, then of their id.

        Raises:
            InvalidTask: `missing_query`, `wrong_dimensions`, `invalid_vector`, or the code that
                embedding the content ends with.
            ValueError: threshold or limit are out of range.
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

"""The Brain's HTTP API: paths, names of fields and bounds (SPEC §4, Brain), for both of its ends.

The service reads the requests and builds the answers, the client writes and reads them. Names that
are not known are ignored. Answers have the names of what is in `ports`, which they are built from,
and are read leniently: an empty text or list may be null, an id may be an integer.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final, Self, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from aletheia.brain.ports import (
    DEFAULT_DUPLICATES,
    MAX_DUPLICATES,
    BrainDepartment,
    BrainItem,
    KnownItem,
)

INDEX_PATH: Final = "/api/v1/nodes/batch"
SEARCH_PATH: Final = "/api/v1/search/duplicates"
CONTEXT_PATH: Final = "/api/v1/context/department"
COVERAGE_PATH: Final = "/api/v1/analyze/coverage"

MODEL_HEADER: Final = "X-Aletheia-Model"
"""Names the model that the vectors of a request are of, percent-encoded.

In a header, as SPEC §4 fixes the bodies; whoever does not know it passes it over.
"""

TOO_LONG: Final = "input_too_long"
"""Code of an item that is longer than the service takes."""

_INVALID: Final = ("missing_query", "wrong_dimensions", "invalid_vector", "invalid_id")
INVALID_CODES: Final = frozenset({*_INVALID, "empty_text", TOO_LONG, "invalid_project_id"})
"""Codes of what is wrong with a request itself, as all backends name it."""

MAX_ITEMS: Final = 1000
"""Items in one request."""

MAX_DIMENSIONS: Final = 16_384
MAX_TEXT_CHARS: Final = 1_000_000
"""Of an item or a question; a longer item fails alone, as `input_too_long`."""

MAX_NAME_CHARS: Final = 300
"""Of the name or slug of a department."""

MAX_PREVIOUS_CHARS: Final = 31_000
"""Of the list of earlier departments, of which `MAX_PREVIOUS` count."""

MAX_MODEL_CHARS: Final = 500
"""Of the name of an embedding model."""

MAX_CONTEXT_TOKENS: Final = 1_000_000
DEFAULT_CONTEXT_TOKENS: Final = 4000

DEFAULT_THRESHOLD: Final = 0.90
"""Raw cosine from which an item is a duplicate unless a request says otherwise (SPEC §4)."""

_MAX_NUMBER: Final = 10**9
_TOLERANCE: Final = 1e-3
"""How far rounding may take a cosine beyond 1."""


def _read_text(value: object) -> object:
    return "" if value is None else value


def _read_id(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _read_list(value: object) -> object:
    return [] if value is None else [value] if isinstance(value, str) else value


def _read_cosine(value: object) -> object:
    if isinstance(value, float) and 1 < abs(value) <= 1 + _TOLERANCE:
        return math.copysign(1.0, value)
    return value


def _read_department(value: Any) -> Any:
    return {"slug": value} if isinstance(value, str) else value


Text: TypeAlias = Annotated[str, BeforeValidator(_read_text)]
ProjectId: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_-]{1,48}$",
        description="The project; no answer holds anything of another one.",
        examples=["shop-2026"],
    ),
]
Slug: TypeAlias = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_NAME_CHARS,
        description="Slug of the department.",
        examples=["legal"],
    ),
]
Number: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Vector: TypeAlias = Annotated[list[Number], Field(max_length=MAX_DIMENSIONS)]
_Id: TypeAlias = Annotated[str, Field(min_length=1), BeforeValidator(_read_id)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _prefer_what_is_filled(cls, values: Any) -> Any:
        """Read `_id` beside an empty `id`, and the content beside an empty embedding."""
        if not isinstance(values, dict):
            return values
        fields = cast("dict[str, Any]", values)
        if not fields.get("id") and fields.get("_id"):
            fields = {**fields, "id": fields["_id"]}
        if fields.get("embedding") == [] and fields.get("content"):
            fields = {**fields, "embedding": None}
        return fields

    @classmethod
    def of(cls, answer: object) -> Self:
        """Build the answer out of what is in `ports`, or a dictionary of it."""
        return cls.model_validate(answer, from_attributes=True)


class Department(_Model):
    """A department."""

    slug: Slug
    name: Annotated[Text, Field(max_length=MAX_NAME_CHARS)] = Field(
        default="", description="For people; the slug if it is empty.", examples=["Legal"]
    )
    code_dep_number: int | None = Field(
        default=None,
        alias="codeDepNumber",
        ge=-_MAX_NUMBER,
        le=_MAX_NUMBER,
        description="Its place in the order of departments; without one it goes last.",
        examples=[3],
    )

    def to_department(self) -> BrainDepartment:
        """Return it as the Brain has it."""
        return BrainDepartment(self.slug, self.name or self.slug, self.code_dep_number)


class Item(_Model):
    """An item."""

    id: str = Field(description="Of the saved item.", examples=["65f00000000000000000abcd"])
    content: str = Field(
        description="The full text.",
        examples=["Review supplier contracts every quarter and file the changes."],
    )
    summary: Text = Field(default="", description="Its gist.")
    context: Text = Field(default="", description="Where it belongs.")

    def to_item(self) -> KnownItem:
        """Return it as the Brain has it."""
        return KnownItem(self.id, self.content, self.summary, self.context)


class NewItem(Item):
    """An item to be indexed."""

    embedding: Vector | None = Field(
        default=None,
        description="Of the full text, by the model that the service embeds with; of any length "
        "but zero. Without one the service embeds the item.",
    )

    def to_new_item(self) -> BrainItem:
        """Return it as the Brain indexes it."""
        vector = None if self.embedding is None else to_vector(self.embedding)
        return BrainItem(self.id, self.content, self.summary, self.context, vector)


class NodesBatch(_Model):
    """Items of a department to be indexed."""

    project_id: ProjectId
    department: Department
    items: list[NewItem] = Field(
        max_length=MAX_ITEMS, description="Of two items with one id the last counts."
    )


class FailedNode(_Model):
    """An item that was not indexed."""

    id: Annotated[str, BeforeValidator(_read_id)] = Field(description="Of the item.")
    code: str = Field(
        default="refused",
        description="Why: `wrong_dimensions`, `invalid_vector`, `invalid_id`, `empty_text`, "
        "`input_too_long`, or the code that embedding it ended with.",
        examples=["wrong_dimensions"],
    )


class NodesIndexed(_Model):
    """The result of indexing a batch."""

    created: int = Field(ge=0, description="Items that are new.")
    updated: int = Field(ge=0, description="Items that were there, changed or not.")
    failed: Annotated[list[FailedNode], BeforeValidator(_read_list)] = Field(
        default=[], description="Those that were not taken; the rest was."
    )


class DuplicatesQuery(_Model):
    """What near items are searched for: an embedding, or else a text."""

    project_id: ProjectId
    content: str | None = Field(
        default=None,
        max_length=MAX_TEXT_CHARS,
        description="The service embeds it.",
        examples=["Go through the contracts with suppliers each quarter."],
    )
    embedding: Vector | None = Field(default=None, description="Any length but zero.")
    threshold: Number = Field(
        default=DEFAULT_THRESHOLD, ge=-1, le=1, description="Raw cosine, inclusive."
    )
    limit: int = Field(
        default=DEFAULT_DUPLICATES,
        strict=True,
        ge=1,
        le=MAX_DUPLICATES,
        description="Hits at most.",
    )


class DuplicateFound(_Model):
    """An item that is near."""

    id: _Id = Field(description="Of the item.")
    score: Annotated[float, BeforeValidator(_read_cosine)] = Field(
        ge=-1, le=1, description="Raw cosine.", examples=[0.962511]
    )
    content: Text = Field(default="", description="The full text.")


class DuplicatesFound(_Model):
    """Items that are near."""

    duplicates: list[DuplicateFound] = Field(description="In falling order of score, then by id.")


class FoundItem(Item):
    """An item that is indexed."""

    id: _Id = Field(description="Of the saved item.", examples=["65f00000000000000000abcd"])


FoundItems: TypeAlias = Annotated[list[FoundItem], BeforeValidator(_read_list)]


class Earlier(_Model):
    """What an earlier department came to."""

    department: str = Field(description="Its slug.", examples=["sales"])
    summary: Text = Field(default="", description="Some sentences.")
    items: FoundItems = Field(default=[], description="Its newest ones, newest first.")


class ContextFound(_Model):
    """What is known before something is written for a department."""

    department: Text = Field(default="", description="Its slug.", examples=["legal"])
    items: FoundItems = Field(description="Its own, newest first.")
    previous: Annotated[list[Earlier], BeforeValidator(_read_list)] = Field(
        default=[],
        description="Earlier departments, in the order asked for, without those that have no "
        "items.",
    )
    gaps: Annotated[list[str], BeforeValidator(_read_list)] = Field(
        default=[],
        description="Aspects that are not covered yet.",
        examples=[["data protection"]],
    )


class CoverageQuery(_Model):
    """What is to be measured."""

    project_id: ProjectId
    department: Annotated[
        Department,
        BeforeValidator(_read_department, json_schema_input_type=Slug | Department),
    ] = Field(description="Its slug, or an object that has it.")
    items: list[Item] | None = Field(
        default=None,
        max_length=MAX_ITEMS,
        description="Oldest first; without them all that are indexed count.",
    )


class AspectFound(_Model):
    """How well an aspect of a department is covered."""

    name: str = Field(
        description="In the words of the department's description.", examples=["contracts"]
    )
    covered: float = Field(ge=0, le=1, description="Share of the items it takes.", examples=[0.5])
    evidence: Annotated[list[_Id], BeforeValidator(_read_list)] = Field(
        default=[], description="Ids of the items that cover it."
    )


class CoverageFound(_Model):
    """How well a department is covered."""

    score: float = Field(ge=0, le=100, examples=[62.5])
    aspects: list[AspectFound] = Field(
        description="In the order of the department's description, the department as a whole last."
    )


def to_vector(numbers: Sequence[float]) -> NDArray[np.float32]:
    """Return numbers as a vector; what is too large for float32 becomes infinite."""
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float32)

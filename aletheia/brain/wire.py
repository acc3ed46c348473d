"""The Brain's HTTP API: paths, bounds and requests (SPEC §4, Brain); answers are those of `ports`.

Names that are not known are ignored.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from aletheia.brain.ports import (
    DEFAULT_DUPLICATES,
    MAX_DUPLICATES,
    BrainDepartment,
    BrainItem,
    Duplicate,
    KnownItem,
    Listed,
    Text,
    prefer_id,
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

MAX_QUERY_CHARS: Final = 50_000
"""Of a question whose text the service embeds while its caller waits: ten seconds of a core."""

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
Vector: TypeAlias = Annotated[list[Number], Field(max_length=MAX_DIMENSIONS, fail_fast=True)]
"""The first number that is none ends the reading: a list of all such errors takes gigabytes."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _prefer_what_is_filled(cls, values: Any) -> Any:
        """Read `_id` beside an empty `id`, and the content beside an empty embedding."""
        if isinstance(values, dict):
            fields = cast("dict[str, Any]", values)
            if fields.get("embedding") == [] and fields.get("content"):
                return {**prefer_id(fields), "embedding": None}
        return prefer_id(values)


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
        max_length=MAX_ITEMS,
        fail_fast=True,
        description="Of two items with one id the last counts.",
    )


class DuplicatesQuery(_Model):
    """What near items are searched for: an embedding, or else a text."""

    project_id: ProjectId
    content: str | None = Field(
        default=None,
        max_length=MAX_QUERY_CHARS,
        description="The service embeds it; of a longer text, send the embedding.",
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


class DuplicatesFound(_Model):
    """Items that are near."""

    duplicates: Listed[Duplicate] = Field(description="In falling order of score, then by id.")


class CoverageQuery(_Model):
    """What is to be measured."""

    project_id: ProjectId
    department: Annotated[
        Department,
        BeforeValidator(
            lambda value: {"slug": value} if isinstance(value, str) else value,
            json_schema_input_type=Slug | Department,
        ),
    ] = Field(description="Its slug, or an object that has it.")
    items: list[Item] | None = Field(
        default=None,
        max_length=MAX_ITEMS,
        fail_fast=True,
        description="Oldest first; without them all that are indexed count.",
    )


def to_vector(numbers: Sequence[float]) -> NDArray[np.float32]:
    """Return numbers as a vector; what is too large for float32 becomes infinite."""
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float32)

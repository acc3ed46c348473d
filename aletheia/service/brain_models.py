"""What goes into the Brain API and what comes out (SPEC §4, Brain).

Names that are not known are ignored, so that a caller may say more than we read.
"""

from dataclasses import replace
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from aletheia.brain.ports import (
    DUPLICATES,
    MAX_DUPLICATES,
    MAX_PREVIOUS,
    BrainDepartment,
    Coverage,
    DepartmentContext,
    Duplicate,
    IndexedItem,
    KnownItem,
    Upserted,
)

MAX_ITEMS: Final = 1000
"""Items, or ids, in one request."""

MAX_DIMENSIONS: Final = 16_384
"""Longest embedding."""

MAX_TEXT_CHARS: Final = 1_000_000
"""Longest text of an item or a question; a longer item fails alone, as `input_too_long`."""

MAX_NAME_CHARS: Final = 300
"""Longest name or slug of a department."""

MAX_PREVIOUS_CHARS: Final = 31_000
"""Longest list of earlier departments, of which there are `MAX_PREVIOUS` at most."""

MAX_VERSION_CHARS: Final = 200
"""Longest name of a version."""

MAX_VALUES: Final = 50
MAX_VALUE_CHARS: Final = 1000
"""Values of an evaluation, and the longest text among them."""

MAX_MODEL_CHARS: Final = 500
"""Longest name of an embedding model."""

MAX_CONTEXT_TOKENS: Final = 1_000_000
CONTEXT_TOKENS: Final = 4000
"""Tokens of a context, at most and unless somebody says otherwise."""

THRESHOLD: Final = 0.90
"""Raw cosine from which an item is a duplicate unless somebody says otherwise (SPEC §4)."""

_MAX_NUMBER: Final = 10**9
_MAX_INTEGER: Final = 2**53
"""Up to here every backend, and every reader of JSON, has an integer exactly."""


def _read_text(value: object) -> object:
    return "" if value is None else value


def split_slugs(text: str) -> list[str]:
    """Read slugs with commas between them, each of them once."""
    return list(dict.fromkeys(slug for slug in text.split(",") if slug))


def check_slugs(text: str) -> str:
    """See that slugs with commas between them are not too many.

    Raises:
        ValueError: they are more than `MAX_PREVIOUS`.
    """
    if len(split_slugs(text)) > MAX_PREVIOUS:
        raise ValueError(f"at most {MAX_PREVIOUS} departments")
    return text


def _refuse_large(value: object) -> object:
    # Else it would pass for a number with a fraction, and be rounded.
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ValueError("integers go from -2^53 to 2^53")
    return value


Text: TypeAlias = Annotated[str, BeforeValidator(_read_text)]
ProjectId: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_-]{1,48}$",
        description="The project; nothing of another one is ever seen.",
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
Integer: TypeAlias = Annotated[int, Field(strict=True, ge=-_MAX_INTEGER, le=_MAX_INTEGER)]
ValueName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Value: TypeAlias = Annotated[
    Annotated[bool, Field(strict=True)]
    | Integer
    | Number
    | Annotated[str, Field(max_length=MAX_VALUE_CHARS)],
    BeforeValidator(_refuse_large),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


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
        """Make it what the Brain knows."""
        return BrainDepartment(self.slug, self.name or self.slug, self.code_dep_number)


class DescribedDepartment(Department):
    """A department to be asked about."""

    description: Annotated[Text, Field(max_length=MAX_TEXT_CHARS)] = Field(
        default="",
        description="Names its aspects. Without one that of the project's newest gather run "
        "counts, where the service has runs of its own.",
        examples=["Reviews contracts and advises on data protection."],
    )

    def to_department(self) -> BrainDepartment:
        """Make it what the Brain knows."""
        return replace(super().to_department(), description=self.description)


class Item(_Model):
    """An item."""

    id: str = Field(description="Of the saved item.", examples=["65f00000000000000000abcd"])
    content: str = Field(
        description="The full text.",
        examples=["Review supplier contracts every quarter and file the changes."],
    )
    summary: Text = Field(default="", description="Its gist.")
    context: Text = Field(default="", description="Where it belongs.")

    @classmethod
    def of(cls, item: KnownItem) -> "Item":
        """Show an item."""
        return cls(id=item.id, content=item.content, summary=item.summary, context=item.context)

    def to_item(self) -> KnownItem:
        """Make it what the Brain knows."""
        return KnownItem(self.id, self.content, self.summary, self.context)


class NewItem(Item):
    """An item to be indexed."""

    embedding: Vector | None = Field(
        default=None,
        description="Of the full text, by the model that the service embeds with; of any length "
        "but zero. Without one the service embeds the item.",
    )


class NodesBatch(_Model):
    """Items of a department to be indexed."""

    project_id: ProjectId
    department: Department
    items: list[NewItem] = Field(
        max_length=MAX_ITEMS, description="Of two items with one id the last counts."
    )


class FailedNode(_Model):
    """An item that was not indexed."""

    id: str = Field(description="Of the item.")
    code: str = Field(
        description="Why: `wrong_dimensions`, `invalid_vector`, `invalid_id`, `empty_text`, "
        "`input_too_long`, or what embedding it came to.",
        examples=["wrong_dimensions"],
    )


class NodesIndexed(_Model):
    """What became of a batch."""

    created: int = Field(ge=0, description="Items that are new.")
    updated: int = Field(ge=0, description="Items that were there, changed or not.")
    failed: list[FailedNode] = Field(description="Those that were not taken; the rest was.")

    @classmethod
    def of(cls, done: Upserted) -> "NodesIndexed":
        """Show what became of a batch."""
        failed = [FailedNode(id=one.id, code=one.code) for one in done.failed]
        return cls(created=done.created, updated=done.updated, failed=failed)


class DuplicatesQuery(_Model):
    """What near items are wanted for: a text, or its embedding, which counts if both are there."""

    project_id: ProjectId
    content: str | None = Field(
        default=None,
        max_length=MAX_TEXT_CHARS,
        description="The service embeds it.",
        examples=["Go through the contracts with suppliers each quarter."],
    )
    embedding: Vector | None = Field(default=None, description="Any length but zero.")
    threshold: Number = Field(default=THRESHOLD, ge=-1, le=1, description="Raw cosine, inclusive.")
    limit: int = Field(
        default=DUPLICATES, strict=True, ge=1, le=MAX_DUPLICATES, description="Hits at most."
    )


class DuplicateFound(_Model):
    """An item that is near."""

    id: str = Field(description="Of the item.")
    score: float = Field(ge=-1, le=1, description="Raw cosine.", examples=[0.962511])
    content: str = Field(description="The full text.")


class DuplicatesFound(_Model):
    """Items that are near."""

    duplicates: list[DuplicateFound] = Field(description="In falling order of score, then by id.")

    @classmethod
    def of(cls, found: list[Duplicate]) -> "DuplicatesFound":
        """Show hits."""
        return cls(
            duplicates=[
                DuplicateFound(id=one.id, score=one.score, content=one.content) for one in found
            ]
        )


def _read_department(value: Any) -> Any:
    return {"slug": value} if isinstance(value, str) else value


AskedDepartment: TypeAlias = Annotated[
    DescribedDepartment,
    BeforeValidator(_read_department, json_schema_input_type=Slug | DescribedDepartment),
]


class ContextQuery(_Model):
    """What a context is wanted for."""

    project_id: ProjectId
    department: AskedDepartment = Field(description="Its slug, or an object that has it.")
    previous: list[str] = Field(
        default=[], max_length=MAX_PREVIOUS, description="Slugs of earlier departments."
    )
    max_tokens: int = Field(
        default=CONTEXT_TOKENS,
        strict=True,
        ge=0,
        le=MAX_CONTEXT_TOKENS,
        description="Of all texts together, at most.",
    )


class Earlier(_Model):
    """What an earlier department came to."""

    department: str = Field(description="Its slug.", examples=["sales"])
    summary: str = Field(description="Some sentences.")
    items: list[Item] = Field(description="Its newest ones, newest first.")


class ContextFound(_Model):
    """What there is to know before something is written for a department."""

    department: str = Field(description="Its slug.", examples=["legal"])
    items: list[Item] = Field(description="Its own, newest first.")
    previous: list[Earlier] = Field(
        description="Earlier departments, in the order asked for, without those that have no items."
    )
    gaps: list[str] = Field(
        description="Aspects that are not covered yet.", examples=[["data protection"]]
    )

    @classmethod
    def of(cls, known: DepartmentContext) -> "ContextFound":
        """Show a context."""
        return cls(
            department=known.department,
            items=[Item.of(one) for one in known.items],
            previous=[
                Earlier(
                    department=one.department,
                    summary=one.summary,
                    items=[Item.of(item) for item in one.items],
                )
                for one in known.previous
            ],
            gaps=list(known.gaps),
        )


class CoverageQuery(_Model):
    """What is to be measured."""

    project_id: ProjectId
    department: AskedDepartment = Field(description="Its slug, or an object that has it.")
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
    evidence: list[str] = Field(description="Ids of the items that cover it.")


class CoverageFound(_Model):
    """How well a department is covered."""

    score: float = Field(ge=0, le=100, examples=[62.5])
    aspects: list[AspectFound] = Field(
        description="In the order of the department's description, the department as a whole last."
    )

    @classmethod
    def of(cls, coverage: Coverage) -> "CoverageFound":
        """Show coverage."""
        aspects = [
            AspectFound(name=one.name, covered=one.covered, evidence=list(one.evidence))
            for one in coverage.aspects
        ]
        return cls(score=coverage.score, aspects=aspects)


class NodeFound(_Model):
    """An item as it is indexed."""

    id: str = Field(description="Of the item.")
    department: str = Field(description="Slug of its department.")
    fingerprint: str = Field(description="Hash of all that is indexed of it, the vector aside.")
    has_vector: bool = Field(description="Whether it can be found.")


class NodesFound(_Model):
    """Items as they are indexed."""

    items: list[NodeFound] = Field(description="In the order of their ids.")

    @classmethod
    def of(cls, listed: list[IndexedItem]) -> "NodesFound":
        """Show what is indexed."""
        items = [
            NodeFound(
                id=one.id,
                department=one.department,
                fingerprint=one.fingerprint,
                has_vector=one.has_vector,
            )
            for one in listed
        ]
        return cls(items=items)


class NodesToDelete(_Model):
    """Items to be deleted."""

    project_id: ProjectId
    ids: list[str] = Field(max_length=MAX_ITEMS, description="Unknown ones are passed over.")


class NodesDeleted(_Model):
    """What became of items to be deleted."""

    deleted: int = Field(ge=0, description="How many were there.")


class EvaluationToKeep(_Model):
    """An evaluation of a version of a department."""

    project_id: ProjectId
    department: Slug
    version: str = Field(
        min_length=1,
        max_length=MAX_VERSION_CHARS,
        description="Of the items that were evaluated.",
        examples=["5f70bf18a086007016e948b04aed3b82"],
    )
    values_by_name: dict[ValueName, Value] = Field(
        alias="values",
        max_length=MAX_VALUES,
        description="Texts, numbers and truths by name.",
        examples=[{"score": 81.5, "attempt": 1, "mock": False}],
    )


class EvaluationKept(_Model):
    """What became of an evaluation."""

    kept: Literal[True] = True


class ModelToAdopt(_Model):
    """The embedding model that vectors are to be of."""

    model: str = Field(
        min_length=1,
        max_length=MAX_MODEL_CHARS,
        description="By its full name, with whatever else its vectors depend on.",
        examples=["sentence-transformers/all-MiniLM-L6-v2"],
    )


class ModelAdopted(_Model):
    """What became of the vectors."""

    adopted: bool = Field(
        description="Whether those of another model went, so that all items are to be sent again."
    )

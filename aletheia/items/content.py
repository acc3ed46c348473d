"""Items as a model writes them, and a project's items as they are saved.

The collection is shared with the application: documents that are not ours are read, embedded and
deduplicated against, and never changed. The `_id` of our items follows from their content, so that
two runs, or two passes of one, save the same content once (SPEC §4, MongoDB).
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Protocol, TypeAlias

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from aletheia.documents import Document
from aletheia.llm.messages import clean_text
from aletheia.text.normalisation import content_hash

COLLECTION: Final = "gather"

ID_DIGITS: Final = 24
"""Hexadecimal digits of an ObjectId: 12 bytes."""

MAX_CONTENT_CHARS: Final = 6000
MAX_SUMMARY_CHARS: Final = 1000
MAX_CONTEXT_CHARS: Final = 2000
"""Longest parts of an item that are taken from a model."""

_MIN_CONTENT_CHARS: Final = 12
"""A shorter content is a placeholder such as `string`, in any script."""

Cleaned: TypeAlias = Annotated[str, AfterValidator(clean_text)]


def _require(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


Required: TypeAlias = Annotated[Cleaned, AfterValidator(_require)]

_Content: TypeAlias = Annotated[Cleaned, StringConstraints(max_length=MAX_CONTENT_CHARS)]


def _require_words(text: str) -> str:
    if len(text) < _MIN_CONTENT_CHARS:
        raise ValueError("must be at least a sentence")
    return text


class Item(BaseModel, frozen=True):
    """A piece of content, as a model writes it."""

    content: Annotated[_Content, AfterValidator(_require_words)] = Field(
        description="The item itself: two to five full sentences."
    )
    summary: Required = Field(
        max_length=MAX_SUMMARY_CHARS, description="The main point in one sentence."
    )
    context: Cleaned = Field(
        max_length=MAX_CONTEXT_CHARS,
        description="The situation that it is for and what it is based on, in one sentence.",
    )


@dataclass(frozen=True, slots=True)
class Automation:
    """Where an item of ours comes from; the fields of `automation` in its document."""

    run_id: str
    iteration: int  # in that department and run, from 1
    department: str  # slug
    department_number: int | None
    model: str  # what wrote it, in the provider's words
    quality_at_creation: float | None  # quality of the department before it, 0 to 100
    content_hash: str  # SHA-256 of the normalised content, 64 hexadecimal digits
    mock: bool


@dataclass(frozen=True, slots=True)
class SavedItem:
    """A document of the collection; those of others may have nothing but their content."""

    id: str  # its `_id`: 24 hexadecimal digits of an ObjectId, any other as canonical extended JSON
    content: str
    summary: str = ""
    context: str = ""
    user_id: str | None = None
    created_at: datetime | None = None  # in UTC, to the millisecond
    automation: Automation | None = None  # where it comes from; `None` if it is not ours

    @property
    def department(self) -> str | None:
        """Slug of the department that it was made for."""
        return None if self.automation is None else self.automation.department


class ContentStore(Protocol):
    """The collection of one project. Every method raises `Unavailable` when it is out of reach."""

    async def mark(self) -> int:
        """Return a number that each new document makes one more, and a deleted one may lower."""
        ...

    def list_ids(self) -> AsyncGenerator[Sequence[str]]:
        """Yield the ids of all documents, some at a time, in no particular order."""
        ...

    async def list_page(
        self, after: str, limit: int, *, department: str | None = None
    ) -> list[str]:
        """Return the next ids after one of them, in an order of the store's; "" is before all.

        With a department's slug: of its own items alone.
        """
        ...

    async def read_items(self, ids: Sequence[str]) -> dict[str, SavedItem]:
        """Return documents by id, without those that are not there or have no text as content."""
        ...

    async def insert_items(self, items: Sequence[SavedItem]) -> set[str]:
        """Insert items of ours, and return the ids that were new; what is there stays as it is."""
        ...

    async def delete_item(self, item: SavedItem) -> bool:
        """Delete an item of ours; return whether it is gone.

        It stays if somebody has changed it since it was read, or has added fields of their own.
        """
        ...

    async def count_created(self, run_id: str) -> dict[str, int]:
        """Return the number of items that a run has made, by department slug."""
        ...

    async def list_department(self, slug: str) -> list[str]:
        """Return the ids of a department's own items, in no particular order."""
        ...


def item_id(content: str) -> str:
    """Return the id of an item with this content."""
    return content_hash(content)[:ID_DIGITS]


def make_item(item: Item, automation: Automation, user_id: str, created_at: datetime) -> SavedItem:
    """Return an item that a model wrote as it is saved."""
    moment = created_at.astimezone(UTC)
    return SavedItem(
        id=item_id(item.content),
        content=item.content,
        summary=item.summary,
        context=item.context,
        user_id=user_id,
        created_at=moment.replace(microsecond=moment.microsecond // 1000 * 1000),
        automation=automation,
    )


def to_document(item: SavedItem) -> Document:
    """Return the document of an item of ours, without its `_id`."""
    document = asdict(item)
    del document["id"]
    return document


def read_document(item_id: str, document: Mapping[str, Any]) -> SavedItem | None:
    """Return a document, whoever wrote it, as an item; `None` if it has no text as content."""
    content = document.get("content")
    if not isinstance(content, str):
        return None
    created_at = document.get("created_at")
    if not isinstance(created_at, datetime):
        created_at = None
    elif created_at.tzinfo is None:
        created_at = created_at.replace(tzinfo=UTC)
    return SavedItem(
        id=item_id,
        content=content,
        summary=_text(document.get("summary")),
        context=_text(document.get("context")),
        user_id=_text(document.get("user_id")) or None,
        created_at=created_at,
        automation=_read_automation(document.get("automation")),
    )


def oldest_first(items: Iterable[SavedItem]) -> list[SavedItem]:
    """Sort items by when they were saved, then by id."""
    first = datetime.min.replace(tzinfo=UTC)
    return sorted(items, key=lambda item: (item.created_at or first, item.id))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _read_automation(value: Any) -> Automation | None:
    try:
        fields: dict[str, Any] = {name: value[name] for name in Automation.__slots__}
    except (KeyError, TypeError):
        return None
    is_named = isinstance(fields["run_id"], str) and isinstance(fields["department"], str)
    return Automation(**fields) if is_named and isinstance(fields["iteration"], int) else None

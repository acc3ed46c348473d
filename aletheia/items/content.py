"""A project's items as they are saved, and what is known of them without reading them again.

The collection is shared with the application: documents that are not ours are read, embedded and
deduplicated against, and never changed. An item of ours has its content in its `_id`, so that two
runs, or two passes of one, save the same content once (SPEC §4, MongoDB).
"""

import hashlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from aletheia.documents import Change, Document, Documents, Update
from aletheia.items.calibration import Embed
from aletheia.items.item_index import ItemIndex
from aletheia.items.models import Item
from aletheia.text.normalisation import content_hash

log = logging.getLogger(__name__)

COLLECTION: Final = "gather"

ID_DIGITS: Final = 24
"""Hexadecimal digits of an ObjectId: 12 bytes."""

PAGE: Final = 1000
"""Items read, embedded and added to the index at once."""

LISTED_EVERY_S: Final = 60.0
"""Seconds after which the ids of all items are listed again, since one that was deleted and one
that was added leave their number as it was."""

_UPDATED_AT_ONCE: Final = 500
_MAX_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class Automation:
    """Where an item of ours comes from; the fields of `automation` in its document.

    Attributes:
        run_id: the gather run that made it.
        iteration: in that department and run, from 1.
        department: slug.
        department_number: the department's `codeDepNumber`.
        model: what wrote it, in the provider's words.
        quality_at_creation: quality of the department before it, 0 to 100.
        content_hash: SHA-256 of the normalised content, 64 hexadecimal digits.
        mock: whether it was made up.
    """

    run_id: str
    iteration: int
    department: str
    department_number: int | None
    model: str
    quality_at_creation: float | None
    content_hash: str
    mock: bool


@dataclass(frozen=True, slots=True)
class SavedItem:
    """A document of the collection.

    Attributes:
        id: its `_id`: 24 hexadecimal digits of an ObjectId, any other as canonical extended JSON.
        content: the content itself; documents of others may have nothing else.
        summary: its gist.
        context: where it belongs.
        user_id: whose it is.
        created_at: in UTC, to the millisecond.
        automation: where it comes from; `None` if it is not ours.
    """

    id: str
    content: str
    summary: str = ""
    context: str = ""
    user_id: str | None = None
    created_at: datetime | None = None
    automation: Automation | None = None

    @property
    def department(self) -> str | None:
        """Slug of the department that it was made for."""
        return None if self.automation is None else self.automation.department


class ContentStore(Protocol):
    """The collection of one project. Every method raises `Unavailable` when it is out of reach."""

    async def mark(self) -> int:
        """Give a number that goes up by one with each new document.

        Cheap. Whether a deleted one takes it down is the store's business.
        """
        ...

    def list_ids(self) -> AsyncGenerator[Sequence[str]]:
        """Give the ids of all documents, some at a time, in no particular order."""
        ...

    async def read_items(self, ids: Sequence[str]) -> dict[str, SavedItem]:
        """Read documents by id; without those that are not there or have no text as content."""
        ...

    async def insert_items(self, items: Sequence[SavedItem]) -> set[str]:
        """Save new items of ours; what is there already stays as it is, whoever made it.

        Returns:
            The ids that were not there.
        """
        ...

    async def count_created(self, run_id: str) -> dict[str, int]:
        """Count the items that a run has made, by their department's slug."""
        ...

    async def list_department(self, slug: str) -> list[str]:
        """Give the ids of a department's own items, in no particular order."""
        ...


class VectorCache:
    """Vectors of texts, each model's in a collection of its own.

    A vector is kept under the hash of its text: a text that changes has none, equal texts have
    one, and an item needs none of its own.

    Args:
        documents: the project's store, open.
        model: that made the vectors, with whatever else they depend on.
    """

    def __init__(self, documents: Documents, model: str) -> None:
        self._documents = documents
        self.collection = name_vectors(model)

    async def find(self, texts: Sequence[str]) -> dict[int, NDArray[np.float32]]:
        """Give the vectors that are there, by their text's place."""
        keys = [hash_text(text) for text in texts]
        if not keys:
            return {}
        ids = list(dict.fromkeys(keys))
        found = await self._documents.get(self.collection, ids, with_payload=True)
        return {
            place: np.frombuffer(found[key]["payload"], "<f4")
            for place, key in enumerate(keys)
            if key in found
        }

    async def keep(self, texts: Sequence[str], vectors: NDArray[np.floating[Any]]) -> None:
        """Keep the vectors of texts, `(n, d)`, as float32; those that are there are replaced."""
        rows = np.ascontiguousarray(vectors, "<f4")
        changes = {
            hash_text(text): Change(set={"dimensions": len(row), "payload": row.tobytes()})
            for text, row in zip(texts, rows, strict=True)
        }
        updates = [Update(key, change) for key, change in changes.items()]
        for start in range(0, len(updates), _UPDATED_AT_ONCE):
            await self._documents.upsert(self.collection, updates[start : start + _UPDATED_AT_ONCE])

    async def fill(self, texts: Sequence[str], embed: Embed) -> tuple[NDArray[np.float32], int]:
        """Give the vectors of texts, `(n, d)`, and say how many had none and were embedded."""
        if not texts:
            return np.empty((0, 0), np.float32), 0
        known = await self.find(texts)
        missing = list(dict.fromkeys(text for at, text in enumerate(texts) if at not in known))
        if not missing:
            return np.stack([known[at] for at in range(len(texts))]), 0
        made = np.asarray(await embed(missing), np.float32)
        await self.keep(missing, made)
        rows = dict(zip(missing, made, strict=True))
        vectors = [known[at] if at in known else rows[text] for at, text in enumerate(texts)]
        return np.stack(vectors), len(missing)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a look at the collection brought.

    Attributes:
        added: ids of items that were not known.
        removed: ids of items that are not there any more.
        embedded: how many of the new ones had no vector yet.
        unreadable: how many documents in all have no text as content.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    embedded: int
    unreadable: int


class ProjectItems:
    """All items of a project, ready for comparison; reads and embeds only what it does not know.

    Not for two callers at once: it belongs to the run that holds the project.

    Args:
        content: the project's collection.
        vectors: what is embedded already.
        embed: embeds full texts, `n` of them to `(n, d)`.
        model: the embedding model.
        monotonic: seconds, for the time between two listings.

    Attributes:
        model: the embedding model.
        index: the items by their vectors; `None` until there is one.
    """

    def __init__(
        self,
        content: ContentStore,
        vectors: VectorCache,
        embed: Embed,
        model: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._content, self._vectors, self._embed = content, vectors, embed
        self.model, self._monotonic = model, monotonic
        self._known: set[str] = set()
        self._unreadable: set[str] = set()
        self._own: dict[str, dict[str, SavedItem]] = {}
        self._mark: int | None = None
        self._listed_at = 0.0
        self.index: ItemIndex | None = None

    def __len__(self) -> int:
        return len(self._known) - len(self._unreadable)

    def of_department(self, slug: str) -> list[SavedItem]:
        """Give a department's own items, oldest first."""
        return oldest_first(self._own.get(slug, {}).values())

    async def refresh(self, *, is_thorough: bool = False) -> Refreshed:
        """Take in what has been added to the collection, and let go of what was deleted.

        As long as the number of documents is what it should be, nothing is read.

        Args:
            is_thorough: list all ids, whatever their number is.

        Raises:
            Unavailable: the store is out of reach; what was taken in by then is known.
        """
        mark = await self._content.mark()
        is_due = self._monotonic() - self._listed_at >= LISTED_EVERY_S
        if mark == self._mark and not is_thorough and not is_due:
            return Refreshed((), (), 0, len(self._unreadable))
        missing = set(self._known)
        unknown: list[str] = []
        async with aclosing(self._content.list_ids()) as pages:
            async for ids in pages:
                missing.difference_update(ids)
                unknown += [one for one in ids if one not in self._known]
        unknown = list(dict.fromkeys(unknown))
        self._forget(missing)
        embedded = 0
        for start in range(0, len(unknown), PAGE):
            embedded += await self._take_in(unknown[start : start + PAGE])
        self._mark, self._listed_at = mark, self._monotonic()
        return Refreshed(tuple(unknown), tuple(missing), embedded, len(self._unreadable))

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give the vectors of texts, `(n, d)`; those that are new are kept."""
        vectors, _ = await self._vectors.fill(texts, self._embed)
        return vectors

    async def save(
        self, items: Sequence[SavedItem], vectors: NDArray[np.floating[Any]] | None = None
    ) -> list[SavedItem]:
        """Save new items, and know them from now on.

        Args:
            items: of ours.
            vectors: `(n, d)`, theirs; `None` embeds them.

        Returns:
            Those that the collection now has from the same iteration of the same run, in the
            order of `items`: all but those whose content somebody else has saved.
        """
        if not items:
            return []
        if vectors is None:
            vectors = await self.embed([one.content for one in items])
        inserted = await self._content.insert_items(items)
        there = {one.id: one for one in items if one.id in inserted}
        if others := [one.id for one in items if one.id not in inserted]:
            there |= await self._content.read_items(others)
        # What somebody else has saved may be written differently, and have another vector: the
        # next look takes it in.
        fresh = [place for place, one in enumerate(items) if one.id in inserted]
        self._add([items[place] for place in fresh], np.asarray(vectors)[fresh])
        if self._mark is not None:
            self._mark += len(inserted)
        if any(one not in self._known for one in others):
            self._mark = None
        return [one for one in items if one.id in there and _is_same_origin(there[one.id], one)]

    async def count_created(self, run_id: str) -> dict[str, int]:
        """Count the saved items that a run has made, by their department's slug."""
        return await self._content.count_created(run_id)

    async def _take_in(self, ids: Sequence[str]) -> int:
        found = await self._content.read_items(ids)
        items = [found[one] for one in ids if one in found and found[one].content.strip()]
        texts = [one.content for one in items]
        vectors, embedded = await self._vectors.fill(texts, self._embed)
        self._add(items, vectors)
        unreadable = set(ids).difference(one.id for one in items)
        self._unreadable |= unreadable
        self._known |= unreadable
        return embedded

    def _add(self, items: Sequence[SavedItem], vectors: NDArray[np.floating[Any]]) -> None:
        if not items:
            return
        if self.index is None:
            self.index = ItemIndex(self.model, vectors.shape[1])
        self.index.add([one.id for one in items], [one.content for one in items], vectors)
        for one in items:
            self._known.add(one.id)
            if one.department is not None:
                self._own.setdefault(one.department, {})[one.id] = one

    def _forget(self, ids: Iterable[str]) -> None:
        gone = set(ids)
        if not gone:
            return
        if self.index is not None:
            self.index.remove(gone)
        self._known -= gone
        self._unreadable -= gone
        for own in self._own.values():
            for one in gone & own.keys():
                del own[one]


def item_id(content: str) -> str:
    """Give the id of an item with this content."""
    return content_hash(content)[:ID_DIGITS]


def make_item(item: Item, automation: Automation, user_id: str, created_at: datetime) -> SavedItem:
    """Make what is saved of an item that a model wrote."""
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
    """Write an item of ours as the document it is, without its `_id`."""
    return {
        "content": item.content,
        "summary": item.summary,
        "context": item.context,
        "user_id": item.user_id,
        "created_at": item.created_at,
        "automation": None if item.automation is None else asdict(item.automation),
    }


def read_document(item_id: str, document: Mapping[str, Any]) -> SavedItem | None:
    """Read a document of whoever wrote it; `None` if it has no text as content.

    Of the rest what is not as we write it is passed over.
    """
    content = document.get("content")
    if not isinstance(content, str):
        return None
    created_at = document.get("created_at")
    if isinstance(created_at, datetime):
        is_aware = created_at.tzinfo is not None
        created_at = created_at if is_aware else created_at.replace(tzinfo=UTC)
    else:
        created_at = None
    return SavedItem(
        id=item_id,
        content=content,
        summary=_text(document.get("summary")),
        context=_text(document.get("context")),
        user_id=_text(document.get("user_id")) or None,
        created_at=created_at,
        automation=_read_automation(document.get("automation")),
    )


def hash_text(text: str) -> str:
    """Hash a text as it is: 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def name_vectors(model: str) -> str:
    """Name the collection of a model's vectors: readable, and different for different models."""
    plain = "".join(one if one.isascii() and one.isalnum() else "_" for one in model.casefold())
    return f"aletheia_vectors_{plain[-_MAX_NAME + 9 :]}_{hash_text(model)[:8]}"


def oldest_first(items: Iterable[SavedItem]) -> list[SavedItem]:
    """Put items in the order in which they were saved; of one moment, in that of their ids."""
    first = datetime.min.replace(tzinfo=UTC)
    return sorted(items, key=lambda one: (one.created_at or first, one.id))


def _is_same_origin(one: SavedItem, other: SavedItem) -> bool:
    if one.automation is None or other.automation is None:
        return False
    return _origin(one.automation) == _origin(other.automation)


def _origin(automation: Automation) -> tuple[str, str, int]:
    return automation.run_id, automation.department, automation.iteration


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _read_automation(value: Any) -> Automation | None:
    try:
        fields: dict[str, Any] = {name: value[name] for name in Automation.__slots__}
    except (KeyError, TypeError):
        return None
    is_named = isinstance(fields["run_id"], str) and isinstance(fields["department"], str)
    return Automation(**fields) if is_named and isinstance(fields["iteration"], int) else None

"""The items of a project, ready for comparison, without reading again what is known."""

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aletheia.errors import AletheiaError
from aletheia.items.content import ContentStore, SavedItem, oldest_first
from aletheia.items.item_index import ItemIndex
from aletheia.items.vector_cache import VectorCache
from aletheia.items.word_vectors import Embed
from aletheia.store.clock import SYSTEM_CLOCK, Clock

PAGE: Final = 1000
"""Items read, embedded and added to the index at once."""

LISTED_EVERY_S: Final = 60.0
"""Seconds after which all ids are listed again: one deleted and one added item leave the number
of documents as it was."""


class ProjectItems:
    """All items of a project; reads and embeds only those that it does not know.

    Not for two callers at once: it belongs to the run that has the project. Its `index` is `None`
    until there is an item. `passed_over` has, by their ids, why documents cannot be embedded;
    nothing is compared with them.
    """

    def __init__(
        self,
        content: ContentStore,
        vectors: VectorCache,
        embed: Embed,
        model: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.content, self._vectors, self._embed, self.model = content, vectors, embed, model
        self._known: set[str] = set()
        self._own: dict[str, dict[str, SavedItem]] = {}
        self._mark: int | None = None
        self._clock, self._listed_at = clock, 0.0
        self.index: ItemIndex | None = None
        self.passed_over: dict[str, AletheiaError] = {}

    def of_department(self, slug: str) -> list[SavedItem]:
        """Return a department's own items, oldest first."""
        return oldest_first(self._own.get(slug, {}).values())

    async def refresh(self) -> None:
        """Read what was added to the collection, and forget what was deleted.

        Nothing is read while the number of documents is as expected, for `LISTED_EVERY_S` at most.
        What was read before a failure is not read again.
        """
        mark = await self.content.mark()
        is_due = self._clock.steady_s() - self._listed_at >= LISTED_EVERY_S
        if mark == self._mark and not is_due:
            return
        missing = set(self._known)
        unknown: list[str] = []
        async with aclosing(self.content.list_ids()) as pages:
            async for ids in pages:
                missing.difference_update(ids)
                unknown += [item_id for item_id in ids if item_id not in self._known]
        unknown = list(dict.fromkeys(unknown))
        self._forget(missing)
        for start in range(0, len(unknown), PAGE):
            await self._read(unknown[start : start + PAGE])
        self._mark, self._listed_at = mark, self._clock.steady_s()

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, `(n, d)`; new ones are cached."""
        vectors, faults = await self.embed_each(texts)
        for fault in faults.values():
            raise fault
        return np.stack([vectors[place] for place in range(len(texts))])

    async def embed_each(
        self, texts: Sequence[str]
    ) -> tuple[dict[int, NDArray[np.float32]], dict[int, AletheiaError]]:
        """Return the vectors of texts and the faults of the others; see `VectorCache.fill_each`."""
        return await self._vectors.fill_each(texts, self._embed)

    async def save(self, items: Sequence[SavedItem]) -> list[SavedItem]:
        """Save new items of ours, and add them to the index.

        Returns:
            Those that the collection now has from the same iteration of the same run, in the
            order of `items`: all but those whose content somebody else has saved.
        """
        if not items:
            return []
        vectors = await self.embed([item.content for item in items])
        inserted = await self.content.insert_items(items)
        there = {item.id: item for item in items if item.id in inserted}
        if others := [item.id for item in items if item.id not in inserted]:
            there |= await self.content.read_items(others)
        # What somebody else has saved may be written differently, and have another vector: the
        # next refresh reads it.
        fresh = [place for place, item in enumerate(items) if item.id in inserted]
        self._add([items[place] for place in fresh], vectors[fresh])
        if self._mark is not None:
            self._mark += len(inserted)
        if not self._known.issuperset(others):
            self._mark = None
        return [
            item
            for item in items
            if item.id in there and _origin(there[item.id]) == _origin(item) is not None
        ]

    async def _read(self, ids: Sequence[str]) -> None:
        found = await self.content.read_items(ids)
        items = [found[id_] for id_ in ids if id_ in found and found[id_].content.strip()]
        vectors, faults = await self.embed_each([item.content for item in items])
        for place, fault in faults.items():
            self.passed_over[items[place].id] = fault
            self._note_owner(items[place])
        embedded = [items[place] for place in sorted(vectors)]
        self._add(embedded, [vectors[place] for place in sorted(vectors)])
        self._known.update(ids)

    def _add(self, items: Sequence[SavedItem], vectors: Iterable[NDArray[np.float32]]) -> None:
        if not items:
            return
        rows = np.stack(list(vectors))
        if self.index is None:
            self.index = ItemIndex(self.model, rows.shape[1])
        self.index.add([item.id for item in items], [item.content for item in items], rows)
        for item in items:
            self._known.add(item.id)
            self._note_owner(item)

    def _note_owner(self, item: SavedItem) -> None:
        if item.department is not None:
            self._own.setdefault(item.department, {})[item.id] = item

    def _forget(self, gone: set[str]) -> None:
        if self.index is not None:
            self.index.remove(gone)
        self._known -= gone
        for item_id in gone & self.passed_over.keys():
            del self.passed_over[item_id]
        for own in self._own.values():
            for item_id in gone & own.keys():
                del own[item_id]


def _origin(item: SavedItem) -> tuple[str, str, int] | None:
    made = item.automation
    return None if made is None else (made.run_id, made.department, made.iteration)

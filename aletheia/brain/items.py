"""Saved items on their way into the Brain.

It has the items that were made for a department. Documents of the application belong to none: they
are compared with what is generated (`ProjectItems`), and not indexed.
"""

from collections.abc import Sequence

from aletheia.brain.ports import BrainItem
from aletheia.errors import ComputeFailed, InvalidTask
from aletheia.items.content import ContentStore, SavedItem
from aletheia.items.vector_cache import VectorCache
from aletheia.items.word_vectors import Embed


class BrainItems:
    """The items of a project with the vectors they were deduplicated by; `embed` makes the rest."""

    def __init__(self, content: ContentStore, vectors: VectorCache, embed: Embed) -> None:
        self.content = content
        self._vectors, self._embed = vectors, embed

    async def read(self, ids: Sequence[str], department: str) -> tuple[list[SavedItem], list[str]]:
        """Return a department's items among these, in the order of `ids`, and the unsaved ids."""
        found = await self.content.read_items(ids)
        own = [
            found[item_id]
            for item_id in ids
            if item_id in found and found[item_id].department == department
        ]
        return own, [item_id for item_id in ids if item_id not in found]

    async def prepare(self, items: Sequence[SavedItem]) -> list[BrainItem]:
        """Make ready what is indexed of items.

        If one of them cannot be embedded, those that are not embedded yet are left to the Brain,
        which says for each what is wrong with it.
        """
        texts = [item.content for item in items]
        try:
            vectors = await self._vectors.fill(texts, self._embed)
            by_place = dict(enumerate(vectors))
        except (InvalidTask, ComputeFailed):
            by_place = await self._vectors.find(texts)
        return [
            BrainItem(item.id, item.content, item.summary, item.context, by_place.get(place))
            for place, item in enumerate(items)
        ]

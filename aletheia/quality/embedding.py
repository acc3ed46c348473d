"""The vectors by which quality is scored, fetched through whatever caches them."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.errors import AletheiaError
from aletheia.items.departments import Department
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import Quality, score_quality, texts_to_embed

Embedded: TypeAlias = tuple[dict[int, NDArray[np.float32]], dict[int, AletheiaError]]
"""The vectors of texts and the faults of the others, by their place."""

EmbedEach: TypeAlias = Callable[[Sequence[str]], Awaitable[Embedded]]
"""Embeds texts, such as `VectorCache.fill_each`; raises if nothing can be embedded now."""

MAX_KEPT: Final = 16_384
"""Vectors kept in memory, those that were used last: 25 MB of MiniLM's. An item has five or so."""


class QualityCounter:
    """Counts the quality of departments by words and meaning.

    A text that cannot be embedded is compared by its words. If nothing can be embedded now, the
    error is raised: no score is made of words alone without anybody's knowing. `embed_each` is
    `None` where vectors are made up: then words alone are compared, and each score has a warning.
    """

    def __init__(self, embed_each: EmbedEach | None) -> None:
        self._embed_each = embed_each
        self._kept: OrderedDict[str, NDArray[np.floating[Any]]] = OrderedDict()

    async def count(self, department: Department, items: Sequence[QualityItem]) -> Quality:
        """Score a department's items, oldest first.

        Raises:
            AletheiaError: nothing can be embedded now.
        """
        if not items or self._embed_each is None:
            return score_quality(department, items)
        texts = texts_to_embed(department, items)
        vectors = await self._fetch(texts, self._embed_each)
        return score_quality(department, items, vectors)

    async def _fetch(
        self, texts: Sequence[str], embed_each: EmbedEach
    ) -> Mapping[str, NDArray[np.floating[Any]]]:
        known = {text: self._kept[text] for text in texts if text in self._kept}
        missing = [text for text in texts if text not in known]
        if missing:
            made, _ = await embed_each(missing)
            known |= {missing[place]: vector for place, vector in made.items()}
        for text, vector in known.items():
            self._kept[text] = vector
            self._kept.move_to_end(text)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return known

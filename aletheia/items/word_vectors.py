"""Vectors of single words, by the model that embeds items."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.errors import ComputeFailed, InvalidTask, Refused
from aletheia.vectors import VectorMatrix

Embed: TypeAlias = Callable[[Sequence[str]], Awaitable[NDArray[np.floating[Any]]]]
"""Turns `n` texts into `(n, d)` vectors of the full texts, in order."""

MAX_WORDS: Final = 50_000
"""Words in memory; beyond that all are forgotten, and read again as they are needed. Of 384 numbers
they take 77 MB."""

MAX_WORD_CHARS: Final = 40
"""A longer word is no word, and has no vector."""

_MIN_NORM: Final = 1e-9
_EMBEDDED_AT_ONCE: Final = 2048


class WordVectors:
    """Unit vectors of words in memory; `embed` makes, and caches, those that are missing.

    A word without a vector is like no other one.
    """

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._rows: dict[str, int | None] = {}  # of each word, in the matrix
        self._vectors: VectorMatrix | None = None

    async def prepare(self, words: Iterable[str]) -> None:
        """Embed the words that are not known yet, all in one call as far as that is possible."""
        wanted = list(dict.fromkeys(words))
        missing = [word for word in wanted if word not in self._rows]
        if len(self._rows) + len(missing) > MAX_WORDS:
            self._rows, self._vectors = {}, None
            missing = wanted
        usable = [word for word in missing if len(word) <= MAX_WORD_CHARS]
        for start in range(0, len(usable), _EMBEDDED_AT_ONCE):
            await self._add(usable[start : start + _EMBEDDED_AT_ONCE])

    def measure(self, words: Sequence[str], others: Sequence[str]) -> NDArray[np.float64] | None:
        """Return how near each word is to the nearest of some others, `(len(words),)`, `[0, 1]`.

        `None` if no vector of either is known.
        """
        rows = [self._rows.get(word) for word in words]
        known = [row for row in rows if row is not None]
        there = [row for word in others if (row := self._rows.get(word)) is not None]
        if self._vectors is None or not known or not there:
            return None
        cosines = self._vectors.vectors_of(known) @ self._vectors.vectors_of(there).T
        near = np.zeros(len(words))
        near[[row is not None for row in rows]] = np.clip(cosines.max(axis=1), 0.0, 1.0)
        return near

    async def _add(self, words: Sequence[str]) -> None:
        try:
            vectors = np.asarray(await self._embed(words), np.float32)
        except (InvalidTask, ComputeFailed, Refused):
            # About one of the words; whatever is about all of them is raised.
            if len(words) == 1:
                self._rows[words[0]] = None
                return
            half = len(words) // 2
            await self._add(words[:half])
            await self._add(words[half:])
            return
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        # Also where one is not a number.
        usable = np.flatnonzero((norms >= _MIN_NORM) & (norms < np.inf))
        self._rows |= dict.fromkeys(words)
        if self._vectors is None:
            self._vectors = VectorMatrix(vectors.shape[1])
        first = self._vectors.size
        self._vectors.append(vectors[usable] / norms[usable])
        self._rows |= {words[at]: first + row for row, at in enumerate(usable.tolist())}

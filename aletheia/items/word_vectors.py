"""Vectors of single words, by the model that embeds items."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.errors import ComputeFailed, InvalidTask, Refused

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
        self._vectors: dict[str, NDArray[np.float32] | None] = {}

    async def prepare(self, words: Iterable[str]) -> None:
        """Embed the words that are not known yet, all in one call as far as that is possible."""
        wanted = list(dict.fromkeys(words))
        missing = [word for word in wanted if word not in self._vectors]
        if len(self._vectors) + len(missing) > MAX_WORDS:
            self._vectors.clear()
            missing = wanted
        usable = [word for word in missing if len(word) <= MAX_WORD_CHARS]
        for start in range(0, len(usable), _EMBEDDED_AT_ONCE):
            await self._add(usable[start : start + _EMBEDDED_AT_ONCE])

    def measure(self, words: Sequence[str], others: Sequence[str]) -> NDArray[np.float64] | None:
        """Return how near each word is to the nearest of some others, `(len(words),)`, `[0, 1]`.

        `None` if no vector of either is known.
        """
        rows, columns = self._stack(words), self._stack(others)
        if rows is None or columns is None:
            return None
        near = np.zeros(len(words))
        at, left = rows
        near[at] = np.clip((left @ columns[1].T).max(axis=1), 0.0, 1.0)
        return near

    def _stack(self, words: Sequence[str]) -> tuple[list[int], NDArray[np.float32]] | None:
        found = [(at, self._vectors.get(word)) for at, word in enumerate(words)]
        known = [(at, vector) for at, vector in found if vector is not None]
        if not known:
            return None
        return [at for at, _ in known], np.stack([vector for _, vector in known])

    async def _add(self, words: Sequence[str]) -> None:
        try:
            vectors = np.asarray(await self._embed(words), np.float32)
        except (InvalidTask, ComputeFailed, Refused):
            # About one of the words; whatever is about all of them is raised.
            if len(words) == 1:
                self._vectors[words[0]] = None
                return
            half = len(words) // 2
            await self._add(words[:half])
            await self._add(words[half:])
            return
        norms = np.linalg.norm(vectors, axis=1)
        for word, vector, norm in zip(words, vectors, norms.tolist(), strict=True):
            # Also where it is not a number.
            is_usable = _MIN_NORM <= norm < np.inf
            self._vectors[word] = vector / np.float32(norm) if is_usable else None

"""Vectors that know which words texts share, and nothing else: of every word its own direction."""

import hashlib
from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from aletheia.quality.reading import WORD, WORDS, stem_of

DIMENSIONS = 256


def word_vector(text: str) -> NDArray[np.float32]:
    """Return the unit vector of a text's content words."""
    total = np.zeros(DIMENSIONS)
    stems = {stem_of(word) for word in WORD.findall(text)} - WORDS["stop"]
    for stem in sorted(stems):
        seed = int.from_bytes(hashlib.sha256(stem.encode(errors="replace")).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(DIMENSIONS)
    length = float(np.linalg.norm(total))
    return (total / length if length else total).astype(np.float32)


def order_vectors(texts: Iterable[str], orders: Collection[str]) -> dict[str, NDArray[np.float32]]:
    """Return the same, with one more direction that orders share."""
    vectors = word_vectors(texts)
    direction = word_vector("order")
    for order in vectors.keys() & set(orders):
        moved = vectors[order] + 2 * direction
        vectors[order] = (moved / np.linalg.norm(moved)).astype(np.float32)
    return vectors


def word_vectors(texts: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Return the vectors of texts, by text."""
    return {text: word_vector(text) for text in texts}

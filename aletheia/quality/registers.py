"""Of what kind texts are, by their vectors: statements of work, other genres, orders to a judge.

What a department does is said in another manner than a verse, an advert, a joke or a demand for
points, whatever its nouns are. Texts of each kind come with Aletheia; a direction is fitted through
their vectors, of the model of the run, at each measurement: no weights of one model are shipped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.quality.packaged import OTHER_LANGUAGE, find_texts

TextVectors: TypeAlias = Mapping[str, NDArray[np.floating[Any]]]
"""Vectors of texts, all of one model; those of some texts may be missing."""

Row: TypeAlias = NDArray[np.float64]

MIN_EXAMPLES: Final = 8
"""Texts of a kind with a vector, below which nothing is measured by it."""

MIN_LENGTH: Final = 1e-9
"""Of a vector, below which it is nothing."""

RIDGE: Final = 1.0
"""Added to the products of unit vectors: the less examples there are, the less each decides."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts of a language."""

    practice: tuple[str, ...]  # what is done
    genres: tuple[str, ...]  # verses, adverts, jokes, sentences without sense
    orders: tuple[str, ...]  # to whoever judges


def list_examples(language: str | None) -> list[str]:
    """List the texts whose vectors the measurements need."""
    own, other = _examples(language), _examples(OTHER_LANGUAGE)
    return [*own.practice, *own.genres, *own.orders, *other.practice, *other.orders]


def measure_working(
    rows: NDArray[np.float64], language: str | None, vectors: TextVectors
) -> NDArray[np.float64] | None:
    """Return how far texts sound like statements of work and not like another genre, `(n,)`.

    `rows`: unit vectors, `(n, d)`, `nan` where there is none. About 1 is the one, -1 the other;
    `None` without enough examples.
    """
    own = _examples(language)
    return _measure(rows, own.practice, own.genres, vectors)


def measure_ordering(
    rows: NDArray[np.float64], language: str | None, vectors: TextVectors
) -> NDArray[np.float64] | None:
    """Return how far texts sound like orders to a judge and not like work, as `measure_working`."""
    own, other = _examples(language), _examples(OTHER_LANGUAGE)
    orders = tuple(dict.fromkeys((*own.orders, *other.orders)))
    work = tuple(dict.fromkeys((*own.practice, *own.genres, *other.practice)))
    return _measure(rows, orders, work, vectors)


def _measure(
    rows: NDArray[np.float64], ones: Sequence[str], others: Sequence[str], vectors: TextVectors
) -> NDArray[np.float64] | None:
    """Return where texts lie between two kinds, by ridge regression; both kinds count alike."""
    dimensions = rows.shape[1]
    left, right = (_rows(texts, vectors, dimensions) for texts in (ones, others))
    if min(len(left), len(right)) < MIN_EXAMPLES:
        return None
    middle, direction = _fit(left.tobytes(), right.tobytes(), dimensions)
    return (rows - middle) @ direction


@lru_cache(maxsize=8)
def _fit(left: bytes, right: bytes, dimensions: int) -> tuple[Row, Row]:
    """Fit what lies between two kinds of texts: their middle, and the direction from there."""
    kinds = [np.frombuffer(kind).reshape(-1, dimensions) for kind in (left, right)]
    known = np.concatenate(kinds)
    middle = known.mean(axis=0)
    centred = known - middle
    wanted = np.repeat([1.0, -1.0], [len(kind) for kind in kinds])
    weights = np.concatenate([np.full(len(kind), len(known) / 2 / len(kind)) for kind in kinds])
    products = weights[:, np.newaxis] * (centred @ centred.T) + RIDGE * np.eye(len(known))
    solved: Row = np.asarray(np.linalg.solve(products, weights * wanted), dtype=np.float64)
    return middle, centred.T @ solved


def _rows(texts: Sequence[str], vectors: TextVectors, dimensions: int) -> NDArray[np.float64]:
    """Return the unit vectors of those texts that have one, `(n, d)`."""
    known = [vectors[text] for text in texts if text in vectors]
    found = [row for row in known if len(row) == dimensions]
    rows = np.array(found, dtype=np.float64).reshape(len(found), dimensions)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), MIN_LENGTH)


def _examples(language: str | None) -> Examples:
    return find_texts("registers.yaml", Examples, language)

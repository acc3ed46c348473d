"""How near a department's items are to it, to its aspects and to each other, by their vectors.

A raw cosine means something else with every model and in every language. So each text's cosines are
measured against those that it has with subjects of a background, which have nothing to do with most
departments: how many standard deviations it is nearer to the department than to a subject by
chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aletheia.items.departments import Department
from aletheia.quality.orders import drop_named_orders, drop_orders
from aletheia.quality.packaged import find_texts
from aletheia.quality.registers import (
    TextVectors,
    list_examples,
    measure_ordering,
    measure_working,
)

MAX_OWN_CHARS: Final = 1000
"""Of a description that its own vector is made of; models read little more."""

MIN_DEVIATION: Final = 0.02
"""Of cosines, below which a standard deviation is taken for chance."""

PAIRED: Final = 14
"""Statements of the background that are about the subject in the same place."""

MIN_SKILL: Final = 0.5
"""Deviations, below which a model knows nothing of a language."""

_KIN_AT: Final = 1.5
"""Deviations from which a subject of the background is one of the department's own."""

MIN_BACKGROUND: Final = 8
"""Texts of the background with a vector, below which nothing is measured against it."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """Nearness of `n` items, in standard deviations of each item's cosines with the background.

    Rows of items without a vector are `nan`.
    """

    own: NDArray[np.float64]  # `(n,)`, to the department; 1 is as near as subjects usually are
    ahead: NDArray[np.float64]  # `(n,)`, to it, in deviations of statements on other subjects
    kin: NDArray[np.float64]  # `(n,)`, the same to the middle of the other items
    aspects: NDArray[np.float64]  # `(n, k)`, to its aspects
    empty: NDArray[np.float64]  # `(n,)`, to the nearest platitude, on the scale of `own`
    alike: NDArray[np.float64]  # `(n, n)`, 0 of unrelated items to 1 of equal ones
    ordering: NDArray[np.float64]  # `(n,)`, 1 like orders to a judge to -1 like work
    working: NDArray[np.float64]  # `(n,)`, 1 like statements of work to -1 like other genres
    middle: float  # `ahead` of the middle of all items, which says more than each of them
    met: float  # deviations by which items come nearer to its aspects than other statements


def own_text(department: Department) -> str:
    """Return the text whose vector is that of a department: its name and its description."""
    said = drop_orders(department.description).strip()
    name = drop_named_orders(department.name).strip()
    return f"{name}: {said}"[:MAX_OWN_CHARS] if said and name else said[:MAX_OWN_CHARS]


def list_texts(
    department: Department, aspects: Sequence[str], contents: Sequence[str], language: str | None
) -> list[str]:
    """List the texts whose vectors `measure_meaning` needs, each once."""
    around = _background(language)
    background = (*around.topics, *around.statements, *around.platitudes, *list_examples(language))
    texts = (own_text(department), *aspects, *background, *contents)
    return [text for text in dict.fromkeys(texts) if text.strip()]


def measure_meaning(
    department: Department,
    aspects: Sequence[str],
    contents: Sequence[str],
    language: str | None,
    vectors: TextVectors,
) -> Meaning | None:
    """Measure items against their department; `None` if it, or the background, has no vectors."""
    own = own_text(department)
    background = _background(language)
    topics = [text for text in background.topics if text in vectors]
    statements = [text for text in background.statements if text in vectors]
    if own not in vectors or min(len(topics), len(statements)) < MIN_BACKGROUND or not contents:
        return None
    dimensions = len(vectors[own])
    items = _rows(contents, vectors, dimensions)
    subjects = _without_kin(
        _rows(topics, vectors, dimensions), _rows([own], vectors, dimensions)[0]
    )
    by_chance = items @ subjects.T
    around = _rows(statements, vectors, dimensions)
    said = items @ around.T

    def rank(texts: Sequence[str], chance: NDArray[np.float64]) -> NDArray[np.float64]:
        return _measure_deviations(items @ _rows(texts, vectors, dimensions).T, chance)

    known = items[~np.isnan(items).any(axis=1)]
    near = _rows([own], vectors, dimensions)[0]
    skill = _measure_skill(statements, topics, vectors)
    unrelated = float(np.nanmean(said)) if not np.isnan(said).all() else 0.0
    platitudes = [text for text in background.platitudes if text in vectors]
    return Meaning(
        own=rank([own], said)[:, 0] / skill,
        ahead=_measure_ahead(items, around, near),
        kin=_measure_kin(items, around),
        aspects=rank(aspects, by_chance) if aspects else np.empty((len(contents), 0)),
        empty=rank(platitudes or [own], said).max(axis=1) / skill,
        alike=(items @ items.T - unrelated) / max(MIN_DEVIATION, 1.0 - unrelated),
        ordering=_or_unknown(measure_ordering(items, language, vectors), len(contents)),
        working=_or_unknown(measure_working(items, language, vectors), len(contents)),
        middle=_measure_middle(known, around, near),
        met=_measure_met(known, around, _rows(aspects, vectors, dimensions)),
    )


def _or_unknown(found: NDArray[np.float64] | None, count: int) -> NDArray[np.float64]:
    return np.full(count, np.nan) if found is None else found


def _measure_middle(
    known: NDArray[np.float64], statements: NDArray[np.float64], own: NDArray[np.float64]
) -> float:
    """Return how much nearer to a text the middle of items is than statements on other subjects."""
    middle = known.sum(axis=0)
    length = float(np.linalg.norm(middle))
    if length < MIN_DEVIATION:
        return 0.0
    return float(_measure_ahead((middle / length)[np.newaxis], statements, own)[0])


def _measure_met(
    known: NDArray[np.float64], statements: NDArray[np.float64], aspects: NDArray[np.float64]
) -> float:
    """Return how much nearer the nearest items are to aspects than statements on other subjects.

    In standard deviations of these, which are in the same language; the mean over all aspects.
    """
    named = aspects[~np.isnan(aspects).any(axis=1)]
    if not len(known) or not len(named):
        return 0.0
    others = statements @ named.T
    deviations = np.maximum(others.std(axis=0), MIN_DEVIATION)
    return float((((known @ named.T).max(axis=0) - others.mean(axis=0)) / deviations).mean())


def _rows(texts: Sequence[str], vectors: TextVectors, dimensions: int) -> NDArray[np.float64]:
    """Return unit vectors of texts, `(n, d)`; `nan` where there is none."""
    rows = np.full((len(texts), dimensions), np.nan)
    for place, text in enumerate(texts):
        vector = vectors.get(text)
        if vector is not None and len(vector) == dimensions:
            length = float(np.linalg.norm(vector))
            rows[place] = vector / length if length else np.nan
    return rows


def _measure_deviations(
    near: NDArray[np.float64], chance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return by how many standard deviations of chance, of each row, nearness is above it."""
    deviation = np.maximum(chance.std(axis=1, keepdims=True), MIN_DEVIATION)
    return (near - chance.mean(axis=1, keepdims=True)) / deviation


def _measure_ahead(
    items: NDArray[np.float64], statements: NDArray[np.float64], own: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how much nearer to a text items are than statements on other subjects, `(n,)`.

    In standard deviations of these, which are in the same language: other items are at 0.
    """
    others = statements @ own
    deviation = max(float(others.std()), MIN_DEVIATION)
    return (items @ own - others.mean()) / deviation


def _measure_kin(
    items: NDArray[np.float64], statements: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the same of the middle of the other items, for each item, `(n,)`."""
    known = np.nan_to_num(items)
    total, count = known.sum(axis=0), int((~np.isnan(items).any(axis=1)).sum())
    if count <= 1:
        return np.zeros(len(items))
    found = [
        _measure_ahead(item[np.newaxis], statements, (total - item) / (count - 1))[0]
        for item in items
    ]
    return np.array(found)


def _measure_skill(statements: Sequence[str], topics: Sequence[str], vectors: TextVectors) -> float:
    """Return by how many deviations the model tells statements of a language from other subjects.

    The first statements of a background are about its first subjects, in their order.
    """
    dimensions = len(vectors[topics[0]])
    near = _rows(statements, vectors, dimensions) @ _rows(topics, vectors, dimensions).T
    ranks: list[float] = []
    for place in range(min(len(statements), len(topics), PAIRED)):
        others = np.delete(near[place], place)
        deviation = max(float(others.std()), MIN_DEVIATION)
        ranks.append((float(near[place, place]) - float(others.mean())) / deviation)
    return max(MIN_SKILL, float(np.mean(ranks)))


def _without_kin(around: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the background without subjects that the department itself deals with."""
    near = around @ own
    deviation = max(float(near.std()), MIN_DEVIATION)
    kept = around[(near - near.mean()) / deviation < _KIN_AT]
    return kept if len(kept) >= MIN_BACKGROUND else around


@dataclass(frozen=True, slots=True)
class _Background:
    """Texts of a language."""

    topics: tuple[str, ...]
    statements: tuple[str, ...]
    platitudes: tuple[str, ...]


def _background(language: str | None) -> _Background:
    return find_texts("background.yaml", _Background, language)

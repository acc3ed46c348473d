"""Texts, ids and vectors in the form that every backend keeps, raw cosines, the order of hits."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.brain.ports import BrainDepartment, BrainItem, Duplicate, KnownItem
from aletheia.errors import InvalidTask
from aletheia.items.content import SavedItem

SCORE_DIGITS: Final = 6
"""Digits of a score: as many as the cosine of two float32 vectors has.

With more, an item exactly at the threshold would be on either side of it by chance, and equal ones
would come in another order in every backend.
"""

MAX_ID_BYTES: Final = 1000
"""Longest id; Neo4j indexes no more than some 8,000 bytes of a text."""

_MIN_NORM: Final = 1e-9
_MAX_NORM: Final = 1e9


def measure_cosines(
    vectors: NDArray[np.floating[Any]], vector: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return raw cosines in `[-1, 1]`, taken in float64 and rounded to `SCORE_DIGITS`.

    `vectors` is `(n, d)`, `vector` `(d,)`, neither zero; the answer is `(n,)`.
    """
    rows, query = vectors.astype(np.float64), vector.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    cosines: NDArray[np.float64] = np.clip(rows @ query / norms, -1.0, 1.0)
    return np.round(cosines, SCORE_DIGITS)


def rank_duplicates(hits: Sequence[Duplicate], *, threshold: float, limit: int) -> list[Duplicate]:
    """Return the hits from the threshold on, by falling score, then by id."""
    near = [hit for hit in hits if hit.score >= threshold]
    return sorted(near, key=lambda hit: (-hit.score, hit.id))[:limit]


def make_unit(vector: Any) -> NDArray[np.float32]:
    """Return a vector as `(d,)` float32 of unit length.

    Raises:
        InvalidTask: `invalid_vector`: it is no row of numbers, not finite, or has no direction.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            given = np.asarray(vector, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidTask("invalid_vector", f"a vector is a row of numbers: {error}") from error
    exact = given.astype(np.float64)
    norm = float(np.linalg.norm(exact)) if given.ndim == 1 else math.nan
    if not _MIN_NORM <= norm <= _MAX_NORM:
        raise InvalidTask("invalid_vector", "a vector is a row of finite numbers, not all zero")
    return (exact / norm).astype(np.float32)


def check_length(vector: NDArray[np.float32], dimensions: int) -> None:
    """Raise `InvalidTask` `wrong_dimensions` unless a vector is as long as those indexed."""
    if len(vector) != dimensions:
        reason = f"vectors have {dimensions} numbers here, not {len(vector)}"
        raise InvalidTask("wrong_dimensions", reason)


def escape_text(text: str) -> str:
    """Return a text with question marks for half surrogates, which are not UTF-8."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def escape_department(department: BrainDepartment) -> BrainDepartment:
    """Return a department with `escape_text` of all its texts."""
    return replace(
        department,
        slug=escape_text(department.slug),
        name=escape_text(department.name),
        description=escape_text(department.description),
    )


def is_id(item_id: str) -> bool:
    """Check whether every backend can keep an id: 1 to `MAX_ID_BYTES` of UTF-8."""
    try:
        return 0 < len(item_id.encode()) <= MAX_ID_BYTES
    except UnicodeEncodeError:
        return False


def fingerprint_of(item: BrainItem | KnownItem | SavedItem) -> str:
    """Return a hash of all that is indexed of an item but its vector: 32 hexadecimal digits."""
    texts = json.dumps([escape_text(text) for text in (item.content, item.summary, item.context)])
    return hashlib.sha256(texts.encode()).hexdigest()[:32]

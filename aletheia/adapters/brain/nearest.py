"""Finding the nearest of vectors that are in memory, for whatever backend keeps them."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aletheia.brain.index import SCORE_DIGITS, measure_cosines

_QUERIES_AT_ONCE: Final = 64
_MEASURED_AT_ONCE: Final = 4096


def find_near(
    vectors: NDArray[np.float32],
    ids: Sequence[str],
    queries: NDArray[np.float32],
    threshold: float,
    limit: int,
    *,
    without: Sequence[int] = (),
) -> list[list[tuple[int, float]]]:
    """Find the rows near to each of some vectors.

    Candidates are found in float32, and measured in float64.

    Args:
        vectors: `(n, d)` of unit length.
        ids: of the rows, which decide about ties.
        queries: `(m, d)` of unit length.
        threshold: raw cosine, inclusive.
        limit: of one vector's.
        without: for each vector a row that does not count.

    Returns:
        For each vector rows and their cosines, the nearest first, then by id.
    """
    if not len(vectors):
        return [[] for _ in queries]
    # What rounding may take from a product of unit vectors: half a unit in the last place a
    # term (Higham, Accuracy and Stability of Numerical Algorithms, §3.1), and of the score.
    slack = (vectors.shape[1] + 8) * 2.0**-24 + 10.0**-SCORE_DIGITS
    found: list[list[tuple[int, float]]] = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = queries[start : start + _QUERIES_AT_ONCE]
        cosines = some @ vectors.T
        for place, row in enumerate(without[start : start + _QUERIES_AT_ONCE]):
            cosines[place, row] = -np.inf
        for query, row in zip(some, cosines, strict=True):
            near = np.flatnonzero(row >= threshold - slack)
            if len(near) > limit:
                # All that may have the score of the last one, so that ids decide about ties.
                last = np.partition(row[near], -limit)[-limit]
                near = near[row[near] >= last - 2 * slack]
            measured = [one for one in _measure(vectors, query, near) if one[1] >= threshold]
            found.append(sorted(measured, key=lambda one: (-one[1], ids[one[0]]))[:limit])
    return found


def _measure(
    vectors: NDArray[np.float32], query: NDArray[np.float32], rows: NDArray[np.intp]
) -> Iterator[tuple[int, float]]:
    for start in range(0, len(rows), _MEASURED_AT_ONCE):
        part: list[int] = rows[start : start + _MEASURED_AT_ONCE].tolist()
        scores: list[float] = measure_cosines(vectors[part], query).tolist()
        yield from zip(part, scores, strict=True)

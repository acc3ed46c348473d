"""Vectors of one length in memory: a growing matrix, and what in it may be near to a vector.

Candidates are found in float32; whoever decides about them measures them in float64. For a few
vectors at once most rows are ruled out by codes of 8 bits a number first, which are a quarter of
the memory to read: what a code cannot rule out is measured in float32.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numkong import PackedMatrix, dots_pack, dots_packed
from numpy.typing import NDArray

UNIT_TOLERANCE: Final = 1e-5
"""How far the norm of a vector of unit length may be from 1."""

_SPARE_ROWS: Final = 1024
_SPARE_SHARE: Final = 4
"""A new matrix has capacity for `_SPARE_ROWS` more rows than it needs, and a quarter more."""

_QUERIES_AT_ONCE: Final = 64
_FEW_QUERIES: Final = 16
_FEW_TERMS: Final = 2**18
"""Multiplications at once of a few queries: OpenBLAS takes so little as it lies, in one thread. Of
more it copies the whole matrix first, which takes longer than to multiply it. One query is a vector
to it, for which it copies nothing and takes every core (`bench.brain`, `p50_ms_embedded`)."""

_CODED_ROWS: Final = 8192
"""Rows that one search codes, once there are so many more: 30 ms."""

_MAX_CODE: Final = 127
_FAR: Final = np.float32(-2)
"""Below every cosine, and above that of a row that does not count."""

_MAX_MEASURED_SHARE: Final = 16
"""Where codes leave more than this part of the rows, all are measured instead."""

_NORM_BYTES: Final = 8
_NUMBER_BYTES: Final = 4


def reserve(rows: int) -> int:
    """Return the capacity, in rows, of a matrix that is made for so many."""
    return rows + rows // _SPARE_SHARE + _SPARE_ROWS


def measure_bytes(rows: int, dimensions: int) -> int:
    """Return how large a matrix is that is made for so many rows."""
    return reserve(rows) * (_NUMBER_BYTES * dimensions + _NORM_BYTES)


class VectorMatrix:
    """Vectors of `d` numbers in float32, a row each, `rows` at least. Belongs to one thread.

    Rows keep their places: new ones go behind the last, and a cleared one stays as a gap that
    nothing finds.
    """

    def __init__(self, dimensions: int, rows: int = 0) -> None:
        self.dimensions = dimensions
        self._vectors = np.empty((reserve(rows), dimensions), np.float32)
        self._norms = np.empty(len(self._vectors), np.float64)
        self._size = 0
        self._are_unit = True
        self._gaps: list[int] = []
        self._codes = _Codes()

    @property
    def capacity(self) -> int:
        """How many rows it takes before it grows."""
        return len(self._vectors)

    @property
    def size(self) -> int:
        """How many rows it has, gaps among them."""
        return self._size

    @property
    def bytes(self) -> int:
        """How large it is."""
        return self._vectors.nbytes + self._norms.nbytes + self._codes.bytes

    def vectors_of(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """Return a copy of some rows, `(len(rows), d)`."""
        return self._vectors[rows]

    def vector(self, row: int) -> NDArray[np.float32]:
        """Return a row, `(d,)`."""
        return self._vectors[row]

    def norm(self, row: int) -> float:
        """Return the length of a row's vector."""
        return float(self._norms[row])

    def append(
        self, vectors: NDArray[np.float32], norms: NDArray[np.float64] | None = None
    ) -> None:
        """Append vectors, `(n, d)`, behind the last row.

        `norms` are their lengths, `(n,)`, none of them 0; `None` where all are of unit length.
        """
        first, size = self._size, self._size + len(vectors)
        if size > self.capacity:
            self._grow(max(reserve(size), self.capacity + self.capacity // 2))
        self._vectors[first:size] = vectors
        self._norms[first:size] = 1.0 if norms is None else norms
        if norms is not None:
            self._are_unit &= bool(np.all(np.abs(norms - 1) <= UNIT_TOLERANCE))
        self._size = size

    def replace(self, rows: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Replace the vectors of some rows by others of unit length, `(len(rows), d)`."""
        self._vectors[rows] = vectors
        self._codes.forget(rows)

    def clear(self, row: int) -> None:
        """Make a row a gap."""
        self._vectors[row], self._norms[row] = 0, 1
        self._gaps.append(row)

    def find_candidates(
        self,
        queries: NDArray[np.float32],
        min_cosine: float,
        limit: int,
        *,
        without: Sequence[int] = (),
    ) -> Iterator[NDArray[np.intp]]:
        """Find the rows that may be near to each of some vectors.

        Args:
            queries: `(m, d)` of unit length.
            min_cosine: raw cosine, inclusive.
            limit: how many rows are wanted for each query.
            without: for each query a row that does not count; empty for none.

        Yields:
            For each query all rows whose cosine in float64 may be `min_cosine` or more; of over
            `limit` the nearest, and those that may be as near as the last of them. Where there are
            none, the nearest row all the same.
        """
        # What rounding can take from a product of unit vectors: half a unit in the last place a
        # term (Higham, Accuracy and Stability of Numerical Algorithms, §3.1), and the norms.
        slack = (self.dimensions + 8) * 2.0**-24 + UNIT_TOLERANCE
        are_few = 1 < len(queries) <= _FEW_QUERIES
        if are_few:
            self._codes.add(self._vectors[: self._size], self._norms)
        if are_few and self._codes.rows:
            yield from self._find_by_codes(queries, min_cosine, limit, slack, without)
            return
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            block = queries[start : start + _QUERIES_AT_ONCE]
            cosines = self._measure(block, 0)
            self._leave_out(cosines, without[start : start + _QUERIES_AT_ONCE])
            for row_cosines in cosines:
                yield _choose(row_cosines, min_cosine, limit, slack)

    def _find_by_codes(
        self,
        queries: NDArray[np.float32],
        min_cosine: float,
        limit: int,
        slack: float,
        without: Sequence[int],
    ) -> Iterator[NDArray[np.intp]]:
        """Find candidates as `find_candidates` does, and measure what codes cannot rule out."""
        coded = self._codes.rows
        cosines = np.empty((len(queries), self._size), np.float32)
        errors = np.full(self._size, slack, np.float32)
        errors[:coded] += self._codes.compare(queries, cosines)
        cosines[:, coded:] = self._measure(queries, coded)
        self._leave_out(cosines, without)
        lowest = np.float32(min_cosine) - errors
        chosen = [_rule_out(about, errors, lowest, limit, slack) for about in cosines]
        if sum(map(len, chosen)) * _MAX_MEASURED_SHARE > self._size:
            cosines[:, :coded] = self._measure(queries, 0)[:, :coded]
            self._leave_out(cosines, without)
            yield from (_choose(about, min_cosine, limit, slack) for about in cosines)
            return
        for query, about, rows in zip(queries, cosines, chosen, strict=True):
            near = self._measure_rows(query, rows)
            if (near >= min_cosine - slack).any():
                yield rows[_choose(near, min_cosine, limit, slack)]
            else:
                # What may be the nearest: no farther than the one whose code is.
                best = int(np.argmax(about))
                bound = max(about[best] - errors[best], _FAR)
                nearest: NDArray[np.intp] = np.flatnonzero(about >= bound - errors)
                near = self._measure_rows(query, nearest)
                yield nearest[_choose(near, min_cosine, limit, slack)]

    def _leave_out(self, cosines: NDArray[np.float32], without: Sequence[int]) -> None:
        if self._gaps:
            cosines[:, self._gaps] = -np.inf
        for place, row in enumerate(without):
            cosines[place, row] = -np.inf

    def _measure(self, queries: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        """Return the cosines of some vectors with each row from the first on, `(m, n)`."""
        cosines = _multiply(queries, self._vectors[first : self._size])
        if not self._are_unit:
            cosines /= self._norms[first : self._size].astype(np.float32)
        return cosines

    def _measure_rows(
        self, query: NDArray[np.float32], rows: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Return the cosines of a vector with rows, `(len(rows),)`."""
        if len(rows) * _MAX_MEASURED_SHARE > self._size:
            return self._measure(query[np.newaxis], 0)[0][rows]
        return (self._vectors[rows] @ query) / self._norms[rows].astype(np.float32)

    def _grow(self, capacity: int) -> None:
        vectors = np.empty((capacity, self.dimensions), np.float32)
        norms = np.empty(capacity, np.float64)
        vectors[: self._size] = self._vectors[: self._size]
        norms[: self._size] = self._norms[: self._size]
        self._vectors, self._norms = vectors, norms


class _Codes:
    """Codes of the first rows of a matrix: whole numbers of 8 bits, and a factor for each row.

    A vector is `factor * code + rest`. By Cauchy and Schwarz, its product with another one differs
    from that of their codes by no more than the length of the one's rest, times that of the other
    vector, and the other way round.
    """

    def __init__(self) -> None:
        self._blocks: list[PackedMatrix] = []
        self._factors: list[NDArray[np.float32]] = []  # over the lengths of the vectors
        self._rests: list[NDArray[np.float32]] = []  # lengths of the rests, over the same
        self._dimensions = 0

    @property
    def rows(self) -> int:
        """How many rows have a code."""
        return len(self._blocks) * _CODED_ROWS

    @property
    def bytes(self) -> int:
        """How large the codes are."""
        return self.rows * (self._dimensions + 2 * _NUMBER_BYTES)

    def forget(self, rows: Sequence[int]) -> None:
        """Forget the codes of rows that have changed, and of all behind them."""
        first = min(rows, default=self.rows) // _CODED_ROWS
        del self._blocks[first:], self._factors[first:], self._rests[first:]

    def add(self, vectors: NDArray[np.float32], norms: NDArray[np.float64]) -> None:
        """Code further rows of a matrix, `(n, d)`, if there are enough."""
        self._dimensions = vectors.shape[1]
        first, last = self.rows, self.rows + _CODED_ROWS
        if last > len(vectors):
            return
        codes, factors, rests = _encode(vectors[first:last])
        lengths = norms[first:last].astype(np.float32)
        self._blocks.append(dots_pack(codes))
        self._factors.append(factors / lengths)
        self._rests.append(rests / lengths)

    def compare(
        self, queries: NDArray[np.float32], cosines: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Write the cosines of vectors of unit length, `(m, d)`, with the rows that have a code.

        Returns:
            How far each row's, `(rows,)`, may be from the true one.
        """
        codes, factors, rests = _encode(queries)
        for place, block in enumerate(self._blocks):
            part = cosines[:, place * _CODED_ROWS : (place + 1) * _CODED_ROWS]
            products = np.asarray(dots_packed(codes, block))
            np.multiply(products, self._factors[place], out=part, casting="unsafe")
            part *= factors[:, np.newaxis]
        rest = float(rests.max())
        longest = 1.0 + UNIT_TOLERANCE + rest
        return longest * np.concatenate(self._rests) + np.float32(rest)


def _encode(
    vectors: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Return codes of vectors, `(n, d)`, their factors, and the lengths of what they leave."""
    factors = np.abs(vectors).max(axis=1) / np.float32(_MAX_CODE)
    factors[factors == 0] = 1
    codes = np.rint(vectors / factors[:, np.newaxis])
    rests = np.linalg.norm(vectors - codes * factors[:, np.newaxis], axis=1)
    # What rounding may have taken from the rests themselves.
    rests = rests * np.float32(1.001) + factors * np.float32(1e-4)
    return codes.astype(np.int8), factors, rests


def _rule_out(
    cosines: NDArray[np.float32],
    errors: NDArray[np.float32],
    lowest: NDArray[np.float32],
    limit: int,
    slack: float,
) -> NDArray[np.intp]:
    """Return the rows that may be among those that are wanted: near enough, and the nearest.

    `errors`: how far each row's cosine may be from the true one; `slack`: the part of rounding.
    `lowest`: the cosine that each has at least if it is near enough.
    """
    rows: NDArray[np.intp] = np.flatnonzero(cosines >= lowest)
    if len(rows) > limit:
        surely = cosines[rows] - errors[rows]
        last = np.partition(surely, -limit)[-limit]
        # `_choose` takes in what is farther than the last one by no more than rounding, twice.
        rows = rows[cosines[rows] + errors[rows] >= last - np.float32(4 * slack)]
    return rows


def _multiply(queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the products of each of some queries with each vector, `(m, n)`."""
    if not 1 < len(queries) <= _FEW_QUERIES:
        return queries @ vectors.T
    products = np.empty((len(queries), len(vectors)), np.float32)
    step = max(1, _FEW_TERMS // queries.size)
    whole = len(vectors) - len(vectors) % step
    # All blocks in one call: between two calls any other thread of this process may take over.
    blocks = vectors[:whole].reshape(-1, step, vectors.shape[1]).swapaxes(1, 2)
    by_block = products[:, :whole].reshape(len(queries), -1, step).swapaxes(0, 1)
    np.matmul(queries, blocks, out=by_block)
    np.matmul(queries, vectors[whole:].T, out=products[:, whole:])
    return products


def _choose(
    cosines: NDArray[np.float32], min_cosine: float, limit: int, slack: float
) -> NDArray[np.intp]:
    """Choose rows by their cosines to one query."""
    rows: NDArray[Any] = np.flatnonzero(cosines >= min_cosine - slack)
    if len(rows) > limit:
        last = np.partition(cosines[rows], -limit)[-limit]
        rows = rows[cosines[rows] >= last - 2 * slack]
    if len(rows) or not len(cosines):
        return rows
    nearest = int(np.argmax(cosines))
    return rows if np.isneginf(cosines[nearest]) else np.array([nearest], np.intp)

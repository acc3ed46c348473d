"""Projects' vectors in memory, for whatever backend keeps them."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from aletheia.brain.forms import measure_cosines
from aletheia.brain.graph import NEIGHBOURS
from aletheia.vectors import VectorMatrix

K = TypeVar("K", bound=Hashable)

_MEASURED_AT_ONCE: Final = 4096


@dataclass(frozen=True, slots=True)
class Near(Generic[K]):
    """An item near to a vector: `score` as `measure_cosines` rounds it, `key` the backend's."""

    score: float
    id: str
    key: K


class ProjectVectors(Generic[K]):
    """The vectors of a project, each under a key of its own. Belongs to one thread at a time.

    Attributes:
        kind: what it is made anew for when that changes.
        dimensions: length of a vector.
        revision: of the project, up to which it has been brought.
    """

    def __init__(self, kind: Hashable, dimensions: int, rows: int = 0) -> None:
        self.kind, self.dimensions, self.revision = kind, dimensions, 0
        self._matrix = VectorMatrix(dimensions, rows)
        self._keys: list[K] = []
        self._ids: list[str] = []
        self._rows: dict[K, int] = {}

    @property
    def bytes(self) -> int:
        """How large it is."""
        return self._matrix.bytes

    def put(self, keys: Sequence[K], ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Replace earlier vectors by others, `(n, d)`, or append them."""
        fresh = [place for place, key in enumerate(keys) if key not in self._rows]
        if len(fresh) < len(keys):
            known = [place for place, key in enumerate(keys) if key in self._rows]
            self._matrix.replace([self._rows[keys[place]] for place in known], vectors[known])
        for place in fresh:
            self._rows[keys[place]] = len(self._keys)
            self._keys.append(keys[place])
            self._ids.append(ids[place])
        self._matrix.append(vectors if len(fresh) == len(keys) else vectors[fresh])

    def drop(self, key: K) -> None:
        """Forget an item; an unknown key is passed over."""
        row = self._rows.pop(key, None)
        if row is not None:
            self._matrix.clear(row)

    def find_near(
        self,
        queries: NDArray[np.float32],
        threshold: float,
        limit: int,
        *,
        without: Sequence[int] = (),
    ) -> list[list[Near[K]]]:
        """Find the items near to each of some vectors, `(m, d)`, the nearest first, then by id.

        All are compared. For the arguments see `VectorMatrix.find_candidates`; `threshold` is a raw
        cosine, inclusive.
        """
        candidates = self._matrix.find_candidates(queries, threshold, limit, without=without)
        hits: list[list[Near[K]]] = []
        for query, rows in zip(queries, candidates, strict=True):
            near = [hit for hit in self._measure(query, rows.tolist()) if hit.score >= threshold]
            hits.append(sorted(near, key=lambda hit: (-hit.score, hit.id))[:limit])
        return hits

    def find_neighbours(self, keys: Sequence[K], threshold: float) -> dict[K, list[Near[K]]]:
        """Find the `NEIGHBOURS` of items of its own, by their keys; unknown ones are left out."""
        there = [key for key in dict.fromkeys(keys) if key in self._rows]
        rows = [self._rows[key] for key in there]
        near = self.find_near(self._matrix.vectors_of(rows), threshold, NEIGHBOURS, without=rows)
        return dict(zip(there, near, strict=True))

    def _measure(self, query: NDArray[np.float32], rows: Sequence[int]) -> Iterator[Near[K]]:
        for start in range(0, len(rows), _MEASURED_AT_ONCE):
            batch = rows[start : start + _MEASURED_AT_ONCE]
            scores: list[float] = measure_cosines(self._matrix.vectors_of(batch), query).tolist()
            for row, score in zip(batch, scores, strict=True):
                yield Near(score, self._ids[row], self._keys[row])


class VectorsInMemory(OrderedDict[str, ProjectVectors[K]]):
    """The vectors of some projects; beyond `max_bytes` those searched longest ago go first."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self.max_bytes = max_bytes

    def keep(self, project_id: str, vectors: ProjectVectors[K]) -> None:
        """Keep a project's vectors, however large, as those searched last."""
        self.pop(project_id, None)
        self.free_memory(vectors.bytes)
        self[project_id] = vectors

    def free_memory(self, needed: int) -> None:
        """Forget projects until so many bytes are free, or none is left."""
        used = sum(vectors.bytes for vectors in self.values())
        while self and used + needed > self.max_bytes:
            _, vectors = self.popitem(last=False)
            used -= vectors.bytes

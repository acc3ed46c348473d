"""Texts by the bands of their MinHash signatures, found without reading all of them."""

from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

_MAX_RECENT: Final = 1024
_MAX_RECENT_SHARE: Final = 8
"""Rows that came since the last sorting are compared one by one: so many, or an eighth of all."""


class BandTable:
    """Keys of some bands, `uint32`, of each of the rows 0, 1, … Belongs to one thread."""

    def __init__(self, bands: int) -> None:
        # Each band's keys, ascending, and the rows that they are of; then those that came since.
        self._keys = np.empty((bands, 0), np.uint32)
        self._rows = np.empty((bands, 0), np.uint32)
        self._recent: list[NDArray[np.uint32]] = []
        self._size = 0

    def append(self, keys: NDArray[np.uint32]) -> None:
        """Append rows with these keys, `(bands, n)`."""
        self._recent.append(keys)
        self._size += keys.shape[1]

    def find(self, keys: NDArray[np.uint32]) -> list[list[int]]:
        """Find the rows that share a band with each of some others, `(bands, m)`; ascending."""
        recent = self._gather_recent()
        found: list[set[int]] = [set() for _ in range(keys.shape[1])]
        first = self._keys.shape[1]
        for band, wanted in enumerate(keys):
            known = self._keys[band]
            starts = cast("NDArray[np.intp]", np.searchsorted(known, wanted, "left"))
            ends = cast("NDArray[np.intp]", np.searchsorted(known, wanted, "right"))
            for rows, key, start, end in zip(found, wanted, starts, ends, strict=True):
                rows.update(self._rows[band, start:end].tolist())
                rows.update((first + np.flatnonzero(recent[band] == key)).tolist())
        return [sorted(rows) for rows in found]

    def _gather_recent(self) -> NDArray[np.uint32]:
        """Return the keys that came since the last sorting; sort them in if they are many."""
        bands, done = self._keys.shape
        recent: NDArray[Any] = np.concatenate([self._keys[:, :0], *self._recent], axis=1)
        self._recent = [recent]
        if self._size - done <= max(_MAX_RECENT, done // _MAX_RECENT_SHARE):
            return recent
        keys = np.concatenate([self._keys, recent], axis=1)
        rows = np.broadcast_to(np.arange(done, self._size, dtype=np.uint32), recent.shape)
        rows = np.concatenate([self._rows, rows], axis=1)
        for band in range(bands):
            order = np.argsort(keys[band])
            keys[band], rows[band] = keys[band, order], rows[band, order]
        self._keys, self._rows, self._recent = keys, rows, []
        return recent[:, :0]

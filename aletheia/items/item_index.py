"""The saved items of a project, ready for comparison with new ones.

The index grows and is never rebuilt: comparing a batch costs one matrix product. It belongs to one
thread.
"""

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.items.band_table import BandTable
from aletheia.text.facts import Facts, read_facts
from aletheia.text.normalisation import normalise
from aletheia.text.wording import Wording, read_wording
from aletheia.vectors import VectorMatrix

NEAR_EXACT_AT: Final = 0.8
"""Jaccard index of two texts' word triples, inclusive, from which they may be near-exact."""

_SHINGLE_WORDS: Final = 3
_BANDS: Final = 12
_BAND_ROWS: Final = 4
"""Two texts at `NEAR_EXACT_AT` share a band with probability 1 - (1 - 0.8⁴)¹² = 0.998."""

_SHAPE: Final = (2, _BANDS * _BAND_ROWS, 1)
_DRAWN: Final = np.random.default_rng(2020).integers(0, 2**64, _SHAPE, np.uint64)
_FACTORS, _OFFSETS = _DRAWN[0] | np.uint64(1), _DRAWN[1]
_FOLD: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)

_MIN_NORM: Final = 1e-9
_MAX_NORM: Final = 1e9
_TEXTS_AT_ONCE: Final = 1024


@dataclass(frozen=True, eq=False)
class Entry:
    """An item that can be compared; text and vector, `(d,)`, are as they came."""

    id: str
    text: str
    vector: NDArray[np.float32]
    norm: float

    @cached_property
    def normalised(self) -> str:
        """The text in one form."""
        return normalise(self.text)

    @cached_property
    def key(self) -> bytes:
        """Hash of the normalised text."""
        return _hash(self.normalised)

    @cached_property
    def shingles(self) -> frozenset[str]:
        """Its word triples; the whole text if it has fewer than three words."""
        words = self.normalised.split()
        if len(words) < _SHINGLE_WORDS:
            return frozenset({self.normalised})
        return frozenset(map(" ".join, zip(words, words[1:], words[2:], strict=False)))

    @property
    def facts(self) -> Facts:
        """Its numbers, units, negations and words."""
        return read_facts(self.text)

    @property
    def wording(self) -> Wording:
        """Its words, for aligning it with others."""
        return read_wording(self.text)

    def cosine(self, other: "Entry") -> float:
        """Raw cosine in `[-1, 1]`, in float64."""
        product = np.dot(self.vector.astype(np.float64), other.vector.astype(np.float64))
        return min(1.0, max(-1.0, float(product) / (self.norm * other.norm)))

    def jaccard(self, other: "Entry") -> float:
        """Word triples that both have, as a share of those that either has."""
        common = len(self.shingles & other.shingles)
        return common / (len(self.shingles) + len(other.shingles) - common)

    def is_near_exact(self, other: "Entry") -> bool:
        """Return whether two texts differ only in endings and function words."""
        return self.jaccard(other) >= NEAR_EXACT_AT and self.facts.words == other.facts.words


def make_entry(item_id: str, text: str, vector: NDArray[Any], dimensions: int) -> Entry:
    """Return an item as an entry; see `ItemIndex.add` for what its vector has to be."""
    vectors, norms = _check([item_id], np.asarray(vector)[np.newaxis], dimensions)
    return Entry(item_id, text, vectors[0], float(norms[0]))


@dataclass(frozen=True, slots=True)
class Match:
    """Another item that one may repeat, and the raw cosine of the two in `[-1, 1]`, in float64."""

    entry: Entry
    cosine: float
    is_saved: bool = True


class ItemIndex:
    """All saved items of a project, embedded by one model, with vectors in float32."""

    def __init__(self, model: str, dimensions: int) -> None:
        self.model = model
        self.dimensions = dimensions
        self._vectors = VectorMatrix(dimensions)
        self._bands = BandTable(_BANDS)
        self._ids: list[str | None] = []
        self._texts: list[str] = []
        self._rows: dict[str, int] = {}
        self._exact: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._rows

    def add(self, ids: Sequence[str], texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """Add saved items with the vectors of their full texts, `(n, d)`, unless they are known.

        Raises:
            ValueError: the three differ in length, or a vector has another length than `d`, is
                not finite, or has no direction. Nothing is added then.
        """
        if not len(ids) == len(texts) == len(vectors):
            raise ValueError(f"{len(ids)} ids, {len(texts)} texts and {len(vectors)} vectors")
        if not ids:
            return
        checked, norms = _check(ids, vectors, self.dimensions)
        fresh = {item_id: at for at, item_id in enumerate(ids) if item_id not in self._rows}
        chosen = list(fresh.values())
        first, last = len(self._ids), len(self._ids) + len(chosen)
        self._vectors.append(checked[chosen], norms[chosen])
        for start in range(0, len(chosen), _TEXTS_AT_ONCE):
            part = [texts[at] for at in chosen[start : start + _TEXTS_AT_ONCE]]
            forms = [normalise(text) for text in part]
            self._bands.append(_sign(forms))
            for row, form in enumerate(forms, start=first + start):
                self._exact.setdefault(_hash(form), []).append(row)
            self._texts.extend(part)
        self._ids.extend(fresh)
        self._rows.update(zip(fresh, range(first, last), strict=True))

    def remove(self, ids: Iterable[str]) -> None:
        """Forget items that somebody has deleted or changed; unknown ids are passed over."""
        for item_id in ids:
            row = self._rows.pop(item_id, None)
            if row is None:
                continue
            key = _hash(normalise(self._texts[row]))
            self._exact[key].remove(row)
            if not self._exact[key]:
                del self._exact[key]
            self._ids[row], self._texts[row] = None, ""
            self._vectors.clear(row)

    def find_exact(self, entry: Entry) -> list[Match]:
        """Find the items with the same id, which comes first, or the same normalised text."""
        rows = self._exact.get(entry.key, [])
        own = self._rows.get(entry.id)
        return self._match(entry, rows if own is None else dict.fromkeys([own, *rows]))

    def find_near_exact(self, entries: Sequence[Entry]) -> list[list[Match]]:
        """Find the items that are near-exact, for each of some new ones."""
        if not entries:
            return []
        rows = self._bands.find(_sign([entry.normalised for entry in entries]))
        near: list[list[Match]] = []
        for entry, found in zip(entries, rows, strict=True):
            matches = self._match(entry, found)
            near.append([match for match in matches if match.entry.is_near_exact(entry)])
        return near

    def find_neighbours(
        self, entries: Sequence[Entry], min_cosine: float, max_found: int
    ) -> list[list[Match]]:
        """Find the saved items whose raw cosine with each of some new ones is at least this.

        There are at most `max_found`, nearest first; without any it is the nearest saved item.
        """
        if not entries:
            return []
        queries = np.stack([entry.vector / np.float32(entry.norm) for entry in entries])
        candidates = self._vectors.find_candidates(queries, min_cosine, max_found)
        found: list[list[Match]] = []
        for entry, rows in zip(entries, candidates, strict=True):
            near = self._match(entry, sorted(rows.tolist()))
            near.sort(key=lambda match: -match.cosine)
            reached = [match for match in near if match.cosine >= min_cosine]
            found.append(reached[:max_found] or near[:1])
        return found

    def _match(self, entry: Entry, rows: Iterable[int]) -> list[Match]:
        """Match an item with those in some rows, without those that were removed."""
        vectors = self._vectors
        others = (
            Entry(item_id, self._texts[row], vectors.vector(row), vectors.norm(row))
            for row in rows
            if (item_id := self._ids[row]) is not None
        )
        return [Match(other, entry.cosine(other)) for other in others]


def _check(
    ids: Sequence[str], vectors: NDArray[Any], dimensions: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return vectors as float32, and their norms."""
    given = np.asarray(vectors)
    if given.ndim != 2 or given.shape[1] != dimensions:  # noqa: PLR2004 - rows of numbers
        raise ValueError(
            f"vectors must be of length {dimensions}, not of shape {given.shape[1:]!r}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        checked = given.astype(np.float32)
        norms = np.linalg.norm(checked.astype(np.float64), axis=1)
        is_sound = (norms >= _MIN_NORM) & (norms <= _MAX_NORM)
    if not is_sound.all():
        bad = int(np.flatnonzero(~is_sound)[0])
        raise ValueError(f"the vector of {ids[bad]!r} is not finite or has no direction")
    return checked, norms


def _hash(form: str) -> bytes:
    return hashlib.sha256(form.encode("utf-8", "surrogatepass")).digest()


def _sign(forms: Sequence[str]) -> NDArray[np.uint32]:
    """Return MinHash signatures of texts' word triples, folded into bands: `(_BANDS, n)`.

    Two sets agree in a minimum with the probability of their Jaccard index, and in a band if they
    agree in all of its minima (Leskovec et al., Mining of Massive Datasets, §3.3 and §3.4).
    """
    texts = [form.encode("utf-8", "surrogatepass").split() for form in forms]
    for words in texts:
        words.extend([b""] * (_SHINGLE_WORDS - len(words)))
    sizes = np.array([len(words) for words in texts])
    hashes = np.fromiter(map(zlib.crc32, chain.from_iterable(texts)), np.uint64)
    triples = (hashes[:-2] * _FOLD + hashes[1:-1]) * _FOLD + hashes[2:]
    mixed = (triples ^ (triples >> _HALF)) * _FOLD
    # Triples that reach into the next text lie between a text's end and the next one's beginning.
    begins = np.cumsum(sizes) - sizes
    bounds = np.stack([begins, begins + sizes - _SHINGLE_WORDS + 1], axis=1).ravel()[:-1]
    minima = np.minimum.reduceat((mixed * _FACTORS + _OFFSETS) >> _HALF, bounds, axis=1)[:, ::2]
    keys = np.zeros((_BANDS, len(texts)), np.uint64)
    for rows in minima.reshape(_BANDS, _BAND_ROWS, len(texts)).swapaxes(0, 1):
        keys = (keys ^ rows) * _FOLD
    return (keys >> _HALF).astype(np.uint32)

"""Vectors of texts, cached by model and text."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.documents import Change, Documents, Update
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask, Refused
from aletheia.items.word_vectors import Embed

MAX_RECENT: Final = 256
"""Vectors that are remembered beside: those of a batch are asked for by each of its steps."""

_UPDATED_AT_ONCE: Final = 500
_MAX_NAME: Final = 40
_WINDOW_CHARS: Final = 2000
_MAX_WINDOWS: Final = 64
_PROBE: Final = "A few words."
_TEXT_FAULTS: Final = (InvalidTask, ComputeFailed, Refused)
"""Errors that may be about one of the texts."""


class VectorCache:
    """Vectors of texts, each model's in a collection of its own, by the hash of the text.

    `model` names what made the vectors, with whatever else they depend on.
    """

    def __init__(self, documents: Documents, model: str) -> None:
        self._documents = documents
        self.collection = name_vectors(model)
        self._recent: dict[str, NDArray[np.float32]] = {}

    async def find(self, texts: Sequence[str]) -> dict[int, NDArray[np.float32]]:
        """Return the vectors that are cached, by the place of their text."""
        keys = [hash_text(text) for text in texts]
        if not keys:
            return {}
        known = {key: self._recent[key] for key in keys if key in self._recent}
        missing = list(dict.fromkeys(key for key in keys if key not in known))
        if missing:
            found = await self._documents.get(self.collection, missing, with_payload=True)
            read = {key: np.frombuffer(row["payload"], "<f4") for key, row in found.items()}
            self._remember(read)
            known |= read
        return {place: known[key] for place, key in enumerate(keys) if key in known}

    async def save(self, texts: Sequence[str], vectors: NDArray[np.floating[Any]]) -> None:
        """Save the vectors of texts, `(n, d)`, as float32; those that are there are replaced."""
        rows = np.ascontiguousarray(vectors, "<f4")
        changes = {
            hash_text(text): Change(set={"dimensions": len(row), "payload": row.tobytes()})
            for text, row in zip(texts, rows, strict=True)
        }
        updates = [Update(key, change) for key, change in changes.items()]
        for start in range(0, len(updates), _UPDATED_AT_ONCE):
            await self._documents.upsert(self.collection, updates[start : start + _UPDATED_AT_ONCE])
        self._remember(
            {key: np.frombuffer(change.set["payload"], "<f4") for key, change in changes.items()}
        )

    async def fill(self, texts: Sequence[str], embed: Embed) -> NDArray[np.float32]:
        """Return the vectors of texts, `(n, d)`; those that are missing are embedded and saved."""
        if not texts:
            return np.empty((0, 0), np.float32)
        known = await self.find(texts)
        missing = list(dict.fromkeys(text for at, text in enumerate(texts) if at not in known))
        rows: dict[str, NDArray[np.float32]] = {}
        if missing:
            made = np.asarray(await embed(missing), np.float32)
            await self.save(missing, made)
            rows.update(zip(missing, made, strict=True))
        return np.stack([known[at] if at in known else rows[text] for at, text in enumerate(texts)])

    async def fill_each(
        self, texts: Sequence[str], embed: Embed, *, is_checked: bool = False
    ) -> tuple[dict[int, NDArray[np.float32]], dict[int, AletheiaError]]:
        """Return the vectors of texts and the faults of the others, by the place of the text.

        A text that cannot be embedded is embedded in windows, and costs only itself if that fails.
        `is_checked`: whether something else could be embedded just now.

        Raises:
            AletheiaError: nothing can be embedded now.
        """
        try:
            return dict(enumerate(await self.fill(texts, embed))), {}
        except _TEXT_FAULTS as fault:
            if not is_checked:
                await embed([_PROBE])
            if len(texts) == 1:
                vector = await self._fill_in_windows(texts[0], embed)
                return ({}, {0: fault}) if vector is None else ({0: vector}, {})
        vectors: dict[int, NDArray[np.float32]] = {}
        faults: dict[int, AletheiaError] = {}
        half = len(texts) // 2
        for start, part in ((0, texts[:half]), (half, texts[half:])):
            found, failed = await self.fill_each(part, embed, is_checked=True)
            vectors |= {start + place: vector for place, vector in found.items()}
            faults |= {start + place: error for place, error in failed.items()}
        return vectors, faults

    def _remember(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Remember some vectors in place of those that were remembered first."""
        if len(vectors) > MAX_RECENT:
            return
        self._recent |= vectors
        while len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]

    async def _fill_in_windows(self, text: str, embed: Embed) -> NDArray[np.float32] | None:
        """Return the length-weighted mean of a text's windows, normalised; `None` without one."""
        starts = range(0, len(text), _WINDOW_CHARS)
        windows = [text[start : start + _WINDOW_CHARS] for start in starts]
        windows = [window for window in windows if window.strip()]
        if not 1 < len(windows) <= _MAX_WINDOWS:
            return None
        try:
            rows = np.asarray(await embed(windows), np.float64)
        except _TEXT_FAULTS:
            return None
        mean = np.average(rows, axis=0, weights=[len(window) for window in windows])
        length = float(np.linalg.norm(mean))
        if not np.isfinite(length) or not length:
            return None
        vector = (mean / length).astype(np.float32)
        await self.save([text], vector[np.newaxis])
        return vector


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text as it is, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def name_vectors(model: str) -> str:
    """Return the name of the collection of a model's vectors, a different one for each model."""
    chars = [char if char.isascii() and char.isalnum() else "_" for char in model.casefold()]
    name = "".join(chars)
    return f"aletheia_vectors_{name[-_MAX_NAME + 9 :]}_{hash_text(model)[:8]}"

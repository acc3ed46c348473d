"""Vectors of texts, cached by model and text."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.documents import Change, Documents, Update
from aletheia.items.calibration import Embed

_UPDATED_AT_ONCE: Final = 500
_MAX_NAME: Final = 40


class VectorCache:
    """Vectors of texts, each model's in a collection of its own, by the hash of the text.

    `model` names what made the vectors, with whatever else they depend on.
    """

    def __init__(self, documents: Documents, model: str) -> None:
        self._documents = documents
        self.collection = name_vectors(model)

    async def find(self, texts: Sequence[str]) -> dict[int, NDArray[np.float32]]:
        """Return the vectors that are cached, by the place of their text."""
        keys = [hash_text(text) for text in texts]
        if not keys:
            return {}
        ids = list(dict.fromkeys(keys))
        found = await self._documents.get(self.collection, ids, with_payload=True)
        return {
            place: np.frombuffer(found[key]["payload"], "<f4")
            for place, key in enumerate(keys)
            if key in found
        }

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


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text as it is, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def name_vectors(model: str) -> str:
    """Return the name of the collection of a model's vectors, a different one for each model."""
    letters = [char if char.isascii() and char.isalnum() else "_" for char in model.casefold()]
    name = "".join(letters)
    return f"aletheia_vectors_{name[-_MAX_NAME + 9 :]}_{hash_text(model)[:8]}"

"""An embedder without a model: same text, same vector, no meaning."""

import asyncio
import hashlib
import math
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aletheia.analysis.ports import Embedded, Embedding

GROUP: Final = 64
"""Texts answered together; others get a turn in between."""

DIMENSIONS: Final = 384


class MockEmbedder:
    """Turns a hash of model and text into a unit vector; any two are about orthogonal."""

    provider: str = "mock"
    is_mock: bool = True

    def __init__(self, *, default_model: str = "mock-embedding") -> None:
        self._default_model = default_model

    def canonical_model(self, model: str | None) -> str:
        """Return the name as it came; `None` is the default. Every name is served."""
        return self._default_model if model is None else model

    async def capacity(self, model: str, texts: Sequence[str]) -> int:  # noqa: ARG002 - as the protocol names it
        """Return the number of all texts."""
        return len(texts)

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """Embed texts, in order, `GROUP` at a time."""
        for start in range(0, len(texts), GROUP):
            await asyncio.sleep(0)
            yield [
                Embedded(
                    start + offset,
                    Embedding(mock_vector(model, text, DIMENSIONS), len(text.split())),
                )
                for offset, text in enumerate(texts[start : start + GROUP])
            ]


def mock_vector(model: str, text: str, dimensions: int) -> NDArray[np.float32]:
    """Hash model and text into a unit vector, `(dimensions,)` float32, alike on all platforms."""
    seed = f"{len(model)}:{model}{text}".encode("utf-8", "surrogatepass")
    digest = hashlib.shake_256(seed).digest(2 * dimensions)
    # Odd numbers, so that no vector is zero.
    numbers = np.frombuffer(digest, "<i2").astype(np.int64) | 1
    norm = math.sqrt(int(np.dot(numbers, numbers)))
    return (numbers / norm).astype(np.float32)

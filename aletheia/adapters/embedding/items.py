"""Embeds items with whatever embeds tasks' texts."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aletheia.analysis.ports import Embedder
from aletheia.errors import AletheiaError
from aletheia.items.word_vectors import Embed


@dataclass(frozen=True, slots=True)
class ItemModel:
    """What embeds items."""

    name: str  # of the model, which its calibration goes by
    vectors: str  # the name of its vectors: the model, and whatever else they depend on
    embed: Embed
    is_mock: bool = False  # whether its vectors mean nothing


def name_vectors_of(embedder: Embedder, model: str) -> str:
    """Name a model's vectors; those of the mock, which mean nothing, are never its own."""
    return f"mock {model}" if embedder.is_mock else model


def embed_with(embedder: Embedder, model: str) -> Embed:
    """Build what embeds items with one model of an open embedder: all texts, or none."""

    async def embed(texts: Sequence[str]) -> NDArray[np.floating[Any]]:
        rows: dict[int, NDArray[np.float32]] = {}
        async with aclosing(embedder.embed(model, texts)) as answers:
            async for answered in answers:
                for answer in answered:
                    if isinstance(answer.result, AletheiaError):
                        raise answer.result
                    rows[answer.index] = answer.result.vector
        return np.stack([rows[place] for place in range(len(texts))])

    return embed

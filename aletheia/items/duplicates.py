"""New items that may repeat something, and what is decided about them (SPEC §4, Dedup)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.text.facts import Difference

Tier: TypeAlias = Literal["exact", "near_exact", "guard", "embedding", "judge"]

GuardedPairs: TypeAlias = Literal["keep", "judge"]
"""What becomes of pairs that contradict each other (SPEC §4, Dedup, `GUARDED_PAIRS`)."""

DistinctPairs: TypeAlias = Collection[frozenset[str]]
"""Pairs of ids that an operator has declared distinct."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item that may be a duplicate, under the id that it would be saved with.

    `vector`, `(d,)`, is of the full text, finite, not zero, by the index's model.
    """

    id: str
    text: str
    vector: NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an item is kept, and why."""

    item_id: str
    is_kept: bool
    tier: Tier  # what decided; `guard` where nothing but a contradiction kept it
    match_id: str | None  # the item it repeats or, if it is kept, the nearest one, if there is one
    is_match_saved: bool  # whether that is a saved item, not one of the same batch
    score: float | None  # calibrated similarity of the two in `[0, 1]`; the cosine is the raw one
    cosine: float | None
    model: str  # the embedding model
    judge: str  # the model that judged the pair; empty if none did
    difference: Difference | None  # in what the two contradict each other, if they do
    reason: str


@dataclass(frozen=True, slots=True)
class Question:
    """A new item and a saved or newer one that are to be judged."""

    key: str  # of the two texts, in either order; under it a verdict can be cached
    new_id: str
    other_id: str
    new_excerpt: str  # about 500 characters of the new one, with what differs
    other_excerpt: str  # the same of the other one
    cosine: float  # raw cosine of the two
    difference: Difference | None  # in what they contradict each other, if they do


@dataclass(frozen=True, slots=True)
class Verdict:
    """A model's answer whether both texts of a pair make the same point; a sentence says why."""

    is_duplicate: bool
    model: str
    reason: str


class Judge(Protocol):
    """Decides for pairs of texts whether they make the same point."""

    async def judge(self, questions: Sequence[Question]) -> Sequence[Verdict | None]:
        """Return a verdict for each question, in order; `None` where there is none."""
        ...

"""One scale of similarity for all embedding models (SPEC §4, Dedup).

A model's raw cosines are mapped to [0, 1] by straight lines between knots, which are fitted on
labelled pairs. Three places on the scale have the same meaning for every model:

    0.80  where the grey zone begins: 95 % of the duplicates reach this cosine
    0.90  where two items are the same: the cosine with the best F1
    0.97  where the grey zone ends: 10 % of the duplicates reach this cosine

In the grey zone a judge is worth asking: below it there are hardly any duplicates, above it lie the
repetitions of a model.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from aletheia.items.labelled import Split, hash_labels, pair_up, read_texts
from aletheia.llm.structured import explain

log = logging.getLogger(__name__)

DUPLICATE_AT: Final = 0.90
"""Calibrated similarity, inclusive, from which two items are the same (SPEC §4, Dedup)."""

GREY_FROM: Final = 0.80
GREY_TO: Final = 0.97
"""Bounds of the grey zone on the calibrated scale; the lower one is inclusive."""

GREY_FROM_RECALL: Final = 0.95
GREY_TO_RECALL: Final = 0.10
"""Shares of the calibration split's duplicates that reach those bounds."""

Embed: TypeAlias = Callable[[Sequence[str]], Awaitable[NDArray[np.floating[Any]]]]
"""Turns `n` texts into `(n, d)` vectors of the full texts, in order."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of a threshold over so many pairs, with so many duplicates among them."""

    pairs: int
    duplicates: int
    precision: float  # share of duplicates among the pairs called one; 1 if none was
    recall: float  # share of the duplicates that were called one; 1 if there are none
    f1: float


def measure_accuracy(called: NDArray[np.bool_], is_duplicate: NDArray[np.bool_]) -> Accuracy:
    """Return how well calls match labels, both `(n,)`."""
    hits, called_so, there = (int(x.sum()) for x in (called & is_duplicate, called, is_duplicate))
    return Accuracy(
        pairs=len(called),
        duplicates=there,
        precision=hits / called_so if called_so else 1.0,
        recall=hits / there if there else 1.0,
        f1=2 * hits / (called_so + there) if called_so + there else 1.0,
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """The scale of one embedding model.

    Its knots are pairs of raw cosine and score, which rise from 0 to 1; all else is a `ValueError`.
    Lower cosines than the first have score 0, higher ones than the last have score 1.
    """

    model: str
    knots: tuple[tuple[float, float], ...]
    labels: str = ""  # hash of the labelled items that it was fitted on
    fitted: Accuracy | None = None  # of the threshold, on the split that it was fitted on
    tested: Accuracy | None = None  # the same on the other split

    def __post_init__(self) -> None:
        table = np.array(self.knots, np.float64)
        is_table = table.ndim == 2 and len(table) > 1 and table.shape[1] == 2  # noqa: PLR2004 - pairs
        if not is_table or not np.isfinite(table).all() or not (np.diff(table, axis=0) > 0).all():
            raise ValueError(f"the knots of {self.model!r} do not rise: {self.knots!r}")
        if table[0, 1] != 0 or table[-1, 1] != 1 or table[0, 0] < -1 or table[-1, 0] > 1:
            raise ValueError(f"the knots of {self.model!r} do not span the scale: {self.knots!r}")

    @property
    def is_fitted(self) -> bool:
        """Whether there were labelled pairs to fit it on."""
        return self.fitted is not None

    def to_score(self, cosine: float) -> float:
        """Map a raw cosine to the scale, `[0, 1]`."""
        cosines, scores = zip(*self.knots, strict=True)
        return float(np.interp(cosine, cosines, scores))

    def to_cosine(self, score: float) -> float:
        """Map a score in `[0, 1]` to the one raw cosine that has it."""
        if not 0 <= score <= 1:
            raise ValueError(f"a score must be in [0, 1], not {score!r}")
        cosines, scores = zip(*self.knots, strict=True)
        return float(np.interp(score, scores, cosines))

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"knots": [list(knot) for knot in self.knots]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Calibration":
        """Return what `to_document` wrote; anything else is a `ValueError`."""
        try:
            return TypeAdapter(cls).validate_python(document)
        except ValidationError as error:
            raise ValueError(f"not a calibration: {explain(error)}") from error


def identity(model: str) -> Calibration:
    """Return the scale of a model that was not calibrated: the cosine itself, not below 0."""
    return Calibration(model, ((0.0, 0.0), (1.0, 1.0)))


def fit_calibration(
    model: str, cosines: NDArray[np.float64], is_duplicate: NDArray[np.bool_]
) -> Calibration:
    """Fit a model's scale to the raw cosines of labelled pairs, both `(n,)`.

    Raises:
        ValueError: there are not both kinds of pairs, a cosine is none, or no threshold between 0
            and 1 is any good.
    """
    if len(cosines) != len(is_duplicate) or not (np.abs(cosines) <= 1 + 1e-6).all():
        raise ValueError("every pair needs a label and a cosine")
    if is_duplicate.all() or not is_duplicate.any():
        raise ValueError("there must be duplicates and other pairs to tell apart")
    at = _best_threshold(cosines, is_duplicate)
    low, high = np.quantile(cosines[is_duplicate], [1 - GREY_FROM_RECALL, 1 - GREY_TO_RECALL])
    knots = [(0.0, 0.0)]
    for cosine, score in ((float(low), GREY_FROM), (at, DUPLICATE_AT), (float(high), GREY_TO)):
        # The threshold stands; a bound on its wrong side is left out, and the line goes on.
        is_before = score < DUPLICATE_AT and 0 < cosine < at
        if is_before or score == DUPLICATE_AT or (score > DUPLICATE_AT and at < cosine < 1):
            knots.append((round(cosine, 6), score))
    fitted = measure_accuracy(cosines >= at, is_duplicate)
    return Calibration(model, (*knots, (1.0, 1.0)), fitted=fitted)


async def calibrate(model: str, embed: Embed) -> Calibration:
    """Fit a model's scale to the labelled pairs, and test it on those that nothing is fitted on.

    Raises:
        ValueError: its vectors cannot tell the pairs apart.
    """
    fitted = fit_calibration(model, *await _measure_pairs("calibration", embed))
    cosines, is_duplicate = await _measure_pairs("test", embed)
    tested = measure_accuracy(cosines >= fitted.to_cosine(DUPLICATE_AT), is_duplicate)
    return replace(fitted, labels=hash_labels(), tested=tested)


def calibration_file(model: str) -> Traversable:
    """Return the file of a model's calibration, which need not exist; names ignore case."""
    name = re.sub(r"[^a-z0-9.-]+", "--", model.casefold())
    return files("aletheia.items").joinpath("calibrations", f"{name}.json")


@cache
def shipped_calibration(model: str) -> Calibration:
    """Return the calibration that comes with Aletheia or, with a warning, the identity."""
    source = calibration_file(model)
    if source.is_file():
        return Calibration.from_document(json.loads(source.read_text(encoding="utf-8")))
    log.warning("%s is not calibrated: its raw cosines are taken as they are", model)
    return identity(model)


async def _measure_pairs(
    split: Split, embed: Embed
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the raw cosines of a split's pairs, and their labels, both `(n,)`."""
    texts = read_texts(split)
    pairs = pair_up(texts)
    vectors = (await embed([text.text for text in texts])).astype(np.float64)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    left, right = np.array([(pair.one, pair.other) for pair in pairs]).T
    cosines = np.einsum("ij,ij->i", units[left], units[right])
    return cosines, np.array([pair.is_duplicate for pair in pairs])


def _best_threshold(cosines: NDArray[np.float64], is_duplicate: NDArray[np.bool_]) -> float:
    """Return the raw cosine with the best F1, in the middle of its gap; of equals the highest."""
    order = np.argsort(-cosines, kind="stable")
    falling, hits = cosines[order], np.cumsum(is_duplicate[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
    is_gap = np.append(falling[:-1] > falling[1:], True)
    best = int(np.argmax(np.where(is_gap, f1, -1)))
    below = falling[best + 1] if best + 1 < len(falling) else falling[best]
    at = round(float(falling[best] + below) / 2, 6)
    if not 0 < at < 1:
        raise ValueError(f"no cosine between 0 and 1 tells duplicates apart; best was {at!r}")
    return at

"""One scale of similarity for all embedding models (SPEC §4, Dedup).

A score is the probability that two items make the same point, among an item's nearest 20: of pairs
at 0.90, nine of ten do. A calibration has the weights of the features that it is made of, fitted to
one embedding model (`similarity`), and what was measured on labelled pairs that nothing was fitted
on. Its knots say what a raw cosine alone is worth, for whoever has nothing else.

Calibrations of before have knots only, which put 0.90 where the cosine has the best F1. A run or a
project that began with one stays with it.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from aletheia.items.similarity import SimilarityModel, measure_features
from aletheia.items.similarity_fitting import MIN_PRECISION, Bin
from aletheia.items.word_vectors import WordVectors
from aletheia.llm.structured import explain

log = logging.getLogger(__name__)

DUPLICATE_AT: Final = 0.90
"""Probability, inclusive, from which two items are the same (SPEC §4, Dedup)."""

GREY_FROM: Final = 0.10
"""Probability, inclusive, from which two items are listed as a possible repetition, where no judge
decides (SPEC §4, Dedup)."""

JUDGED_FROM: Final = 0.0001
"""Probability, inclusive, from which a judge may be asked about the most probable pair of an item.
What keeps questions few is their share of all pairs, not this: a rewording may look improbable."""

UNJUDGED_COSINE_FROM: Final = 0.05
"""Probability, inclusive, that the raw cosine alone has to give a pair for it to be dropped without
a judge: no less than any of an item's 20 nearest has, one of which repeats it."""

OLD_GREY_FROM: Final = 0.80
"""The same on the scale of calibrations that have knots only, and of raw cosines."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of a threshold over so many pairs, with so many duplicates among them."""

    pairs: int
    duplicates: int
    precision: float  # share of duplicates among the pairs called one; 1 if none was
    recall: float  # share of the duplicates that were called one; 1 if there are none
    f1: float


def measure_accuracy(
    called: NDArray[np.bool_],
    is_duplicate: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
) -> Accuracy:
    """Return how well calls match labels, both `(n,)`, weighted if there are weights, `(n,)`."""
    sample = np.ones(len(called)) if weights is None else weights
    hits, called_so, there = (
        float(sample[flags].sum()) for flags in (called & is_duplicate, called, is_duplicate)
    )
    return Accuracy(
        pairs=len(called),
        duplicates=int(is_duplicate.sum()),
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
    fitted: Accuracy | None = None  # of the threshold, on its split; `None` if nothing was fitted
    tested: Accuracy | None = None  # the same on the other split
    similarity: SimilarityModel | None = None  # `None` in those that have knots only
    drop_at: float | None = None  # from here on, what no judge sees is dropped; `None`: nothing is
    grey_from: float = OLD_GREY_FROM  # score from which a pair is listed as possible
    judged_from: float = OLD_GREY_FROM  # score from which a judge may be asked about a pair
    reach: float | None = None  # raw cosine of pairs worth comparing; `None`: that of `grey_from`
    reliability: tuple[Bin, ...] = ()  # on the other split
    calibration_error: float | None = None  # expected, of `reliability`

    def __post_init__(self) -> None:
        table = np.array(self.knots, np.float64)
        is_table = table.ndim == 2 and len(table) > 1 and table.shape[1] == 2  # noqa: PLR2004 - pairs
        if not is_table or not np.isfinite(table).all() or not (np.diff(table, axis=0) > 0).all():
            raise ValueError(f"the knots of {self.model!r} do not rise: {self.knots!r}")
        if table[0, 1] != 0 or table[-1, 1] != 1 or table[0, 0] < -1 or table[-1, 0] > 1:
            raise ValueError(f"the knots of {self.model!r} do not span the scale: {self.knots!r}")
        for name, low in (("drop_at", 0), ("grey_from", 0), ("judged_from", 0), ("reach", -1)):
            value = getattr(self, name)
            if value is not None and not low <= value <= 1:
                raise ValueError(f"{name} of {self.model!r} is off the scale: {value!r}")

    @property
    def is_calibrated(self) -> bool:
        """Whether anything was fitted; without, scores mean nothing."""
        return self.fitted is not None

    @property
    def unjudged_from(self) -> float | None:
        """The score from which a pair is dropped that no judge was asked about; `None`: nothing is.

        A calibration of before counts if its threshold was as precise as it has to be.
        """
        if self.similarity is not None:
            return self.drop_at
        is_precise = self.tested is not None and self.tested.precision >= MIN_PRECISION
        return DUPLICATE_AT if is_precise else None

    def is_sure(self, score: float, cosine: float) -> bool:
        """Return whether a pair is dropped that no judge was asked about, if nothing guards it."""
        if self.unjudged_from is None or score < self.unjudged_from:
            return False
        return self.similarity is None or self.to_score(cosine) >= UNJUDGED_COSINE_FROM

    @property
    def min_cosine(self) -> float:
        """The raw cosine of pairs that are worth comparing."""
        return self.to_cosine(self.grey_from) if self.reach is None else self.reach

    def to_score(self, cosine: float) -> float:
        """Map a raw cosine to the scale, `[0, 1]`, as far as it alone tells."""
        cosines, scores = zip(*self.knots, strict=True)
        return float(np.interp(cosine, cosines, scores))

    def to_cosine(self, score: float) -> float:
        """Map a score in `[0, 1]` to the one raw cosine that has it."""
        if not 0 <= score <= 1:
            raise ValueError(f"a score must be in [0, 1], not {score!r}")
        cosines, scores = zip(*self.knots, strict=True)
        return float(np.interp(score, scores, cosines))

    def measure(
        self, text: str, other: str, cosine: float, words: WordVectors | None = None
    ) -> float | None:
        """Return the score of two texts, in either order; `None` for a model without calibration.

        `words` are vectors of their words by the same model, prepared for both texts.
        """
        if not self.is_calibrated:
            return None
        if self.similarity is None:
            return self.to_score(cosine)
        nearness = self.similarity.word_nearness
        return self.similarity.to_probability(
            measure_features(text, other, cosine, words, nearness)
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Calibration":
        """Return what `asdict` made of one, also of before; anything else is a `ValueError`."""
        try:
            return TypeAdapter(cls).validate_python(document)
        except ValidationError as error:
            raise ValueError(f"not a calibration: {explain(error)}") from error


def identity(model: str) -> Calibration:
    """Return the scale of a model that was not calibrated: the cosine itself, not below 0."""
    return Calibration(model, ((0.0, 0.0), (1.0, 1.0)))


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

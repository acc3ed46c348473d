"""Calibrations for tests: the probability hangs on the raw cosine alone."""

import math
from typing import Final

from aletheia.items.calibration import Accuracy, Calibration
from aletheia.items.similarity import FEATURES, SimilarityModel, Weight

STEEPNESS: Final = 20.0
EVEN_AT: Final = 0.75
"""Raw cosine at which two items make the same point with a probability of one half."""

MEASURED: Final = Accuracy(pairs=100, duplicates=40, precision=0.98, recall=0.6, f1=0.744)


def probability_at(cosine: float) -> float:
    """Return the probability of a raw cosine on these scales."""
    return 1 / (1 + math.exp(-STEEPNESS * (cosine - EVEN_AT)))


def make_scale(
    model: str, *, drop_from: float | None = 0.95, grey_from: float = 0.5
) -> Calibration:
    """Make a calibration that drops from one raw cosine on and has a grey zone from another."""
    weights = [
        Weight(name, EVEN_AT if name == "cosine" else 0.0, 1.0, STEEPNESS * (name == "cosine"))
        for name in FEATURES
    ]
    return Calibration(
        model,
        ((0.0, 0.0), (EVEN_AT, 0.5), (1.0, 1.0)),
        fitted=MEASURED,
        tested=MEASURED,
        similarity=SimilarityModel(tuple(weights), bias=0.0, word_nearness=0.3),
        drop_at=None if drop_from is None else probability_at(drop_from),
        grey_from=probability_at(grey_from),
        judged_from=probability_at(grey_from),
        reach=grey_from,
    )

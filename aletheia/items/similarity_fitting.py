"""Fitting the probability that two items make the same point to labelled pairs (SPEC §4, Dedup).

Pairs are weighted as they are met among real candidates, not as they were made: of an item's 20
nearest one repeats it, one in five items has a variant of itself among them (another number, a
`not`), and for 20 repetitions in other words there is one variant in other words. Pairs of whole
departments are as they are met, and count for most of the whole. A threshold from
which items are dropped without a judge is looked for on pairs that the weights were not fitted on:
by topics left out, and on the other split.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.items.labelled_pairs import NEAREST
from aletheia.items.similarity import FEATURES, SimilarityModel, Weight

PRIOR: Final = 1 / NEAREST
"""Share of repetitions in them: one of an item's nearest repeats it, as late in a gather run."""

VARIANTS: Final = PRIOR / 5
"""Share of variants of an item in its own words."""

VARIANTS_IN_OTHER_WORDS: Final = PRIOR / 20
"""Share of variants of it in other words, which no rule finds. Who writes items repeats points
often and contradicts them rarely; the labelled ones, made of each rewording and each variant, have
three of these for a repetition (docs/decisions/0013-similarity.md)."""

DEPARTMENTS: Final = 0.8
"""Share of the pairs of whole departments in all: they are what runs compare. The others are made
to be mistaken for each other, and have the rest."""

MIN_PRECISION: Final = 0.97
"""Share of repetitions in what is dropped without a judge, at least (issue of judgement, 3)."""

MIN_CALLED: Final = 20
"""Repetitions of a split that a threshold has to call, or nothing is known of its precision."""

BINS: Final = 10
"""Of the reliability, equally wide on the scale."""

FOLDS: Final = 5

PairKind: TypeAlias = Literal[
    "repetition", "variant", "variant in other words", "other", "of a department"
]

SHARES: Final[Mapping[PairKind, float]] = {
    "repetition": PRIOR,
    "variant": VARIANTS,
    "variant in other words": VARIANTS_IN_OTHER_WORDS,
}
"""Shares of pairs among real candidates; the rest make other points."""

_RIDGE: Final = 2.0
"""Against weights that fit a few pairs; in pairs, as weights are for `n` pairs in all."""

_MAX_STEPS: Final = 100
_TOLERANCE: Final = 1e-9
_MIN_SCALE: Final = 1e-6
_DIGITS: Final = 6

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Labelled pairs of a split: an item and one of its nearest.

    Attributes:
        features: `(n, len(FEATURES))`.
        is_duplicate: `(n,)`.
        is_guarded: `(n,)`, whether a judge has to decide, as about what differs unseen.
        topics: `(n,)`, a number of the topic of either; those of one are in one fold.
        weights: `(n,)`, how often such a pair is met among real candidates.
    """

    features: Floats
    is_duplicate: Flags
    is_guarded: Flags
    topics: NDArray[np.intp]
    weights: Floats

    @property
    def cosines(self) -> Floats:
        """Raw cosines, `(n,)`."""
        return self.features[:, FEATURES.index("cosine")]

    def choose(self, chosen: Flags) -> "Candidates":
        """Return some of the pairs."""
        return Candidates(
            self.features[chosen],
            self.is_duplicate[chosen],
            self.is_guarded[chosen],
            self.topics[chosen],
            self.weights[chosen],
        )


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs whose probability is in one tenth of the scale."""

    pairs: int
    probability: float  # mean of what was said
    share: float  # of repetitions, weighted as among real candidates
    weight: float  # of these pairs among all, `[0, 1]`


def weigh_pairs(kinds: Sequence[PairKind]) -> Floats:
    """Return weights, `(n,)`, that sum to `n` and make each kind as frequent as it is met.

    Kinds that no pair is of are left out; pairs of departments weigh the same, whatever they are.

    Raises:
        ValueError: there are not both repetitions and other pairs.
    """
    shares = dict(SHARES)
    shares["other"] = 1 - sum(SHARES.values())
    shares["of a department"] = DEPARTMENTS / (1 - DEPARTMENTS)
    counts = Counter(kinds)
    if not counts["repetition"] or counts["repetition"] == len(kinds):
        raise ValueError("there must be duplicates and other pairs to tell apart")
    there = sum(shares[kind] for kind in counts)
    each = {kind: shares[kind] / count / there for kind, count in counts.items()}
    return np.array([each[kind] for kind in kinds]) * len(kinds)


def fit_model(candidates: Candidates, word_nearness: float) -> SimilarityModel:
    """Fit the weights of all features by logistic regression with a ridge.

    Raises:
        ValueError: a feature is not finite, or there are not both kinds of pairs.
    """
    features = candidates.features
    if not np.isfinite(features).all():
        raise ValueError("a feature is not finite")
    sample = candidates.weights * (len(features) / candidates.weights.sum())
    means = np.average(features, axis=0, weights=sample)
    spread = np.sqrt(np.average((features - means) ** 2, axis=0, weights=sample))
    scales = np.where(spread < _MIN_SCALE, 1.0, spread)
    weights, bias = fit_logistic((features - means) / scales, candidates.is_duplicate, sample)
    return SimilarityModel(
        weights=tuple(
            Weight(name, *(round(float(number), _DIGITS) for number in numbers))
            for name, *numbers in zip(FEATURES, means, scales, weights, strict=True)
        ),
        bias=round(bias, _DIGITS),
        word_nearness=round(word_nearness, _DIGITS),
    )


def fit_logistic(features: Floats, labels: Flags, sample: Floats) -> tuple[Floats, float]:
    """Return the weights of standardised features, `(k,)`, and the bias: Newton's method."""
    columns = np.column_stack([features, np.ones(len(features))])
    ridge = np.full(columns.shape[1], _RIDGE)
    ridge[-1] = _TOLERANCE
    weights = np.zeros(columns.shape[1])
    for _ in range(_MAX_STEPS):
        chance = _sigmoid(columns @ weights)
        gradient = columns.T @ (sample * (labels - chance)) - ridge * weights
        curvature = (columns.T * (sample * chance * (1 - chance))) @ columns + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        weights += step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < _TOLERANCE:
            break
    return weights[:-1], float(weights[-1])


def predict(model: SimilarityModel, features: Floats) -> Floats:
    """Return the probabilities of pairs, `(n,)`."""
    return np.array([model.to_probability(row) for row in features.tolist()])


def predict_left_out(candidates: Candidates, word_nearness: float) -> Floats:
    """Return the probability of each pair, `(n,)`, by weights that its topic had no part in."""
    numbers = {topic: at % FOLDS for at, topic in enumerate(np.unique(candidates.topics).tolist())}
    folds = np.array([numbers[topic] for topic in candidates.topics.tolist()])
    found = np.full(len(folds), np.nan)
    for fold in range(FOLDS):
        out = folds == fold
        if not out.any():
            continue
        rest = candidates.choose(~out)
        if out.all() or not rest.is_duplicate.any() or rest.is_duplicate.all():
            rest = candidates
        found[out] = predict(fit_model(rest, word_nearness), candidates.features[out])
    return found


def find_threshold(
    parts: Sequence[tuple[Floats, Candidates]], lowest: float, precision: float = MIN_PRECISION
) -> float | None:
    """Return the lowest threshold from which enough of what is called is a repetition.

    Args:
        parts: probabilities and pairs, in each of which it has to hold.
        lowest: the threshold is this or more.
        precision: share of repetitions, among pairs that nothing guards.

    Returns:
        `None` where there is none that calls `MIN_CALLED` repetitions of each part.
    """
    rising = np.unique(np.concatenate([chances[chances >= lowest] for chances, _ in parts]))
    for threshold in [lowest, *rising.tolist()]:
        if all(
            _measure_precision(chances >= threshold, candidates) >= precision
            for chances, candidates in parts
        ):
            return float(threshold)
    return None


def _measure_precision(called: Flags, candidates: Candidates) -> float:
    """Return the share of repetitions among called pairs; 0 if too few of them are called."""
    taken = called & ~candidates.is_guarded
    if (taken & candidates.is_duplicate).sum() < MIN_CALLED:
        return 0.0
    sample = candidates.weights
    return float(sample[taken & candidates.is_duplicate].sum() / sample[taken].sum())


def measure_reliability(chances: Floats, candidates: Candidates) -> tuple[Bin, ...]:
    """Return what became of pairs by tenths of the scale, without the empty ones."""
    sample, is_duplicate = candidates.weights, candidates.is_duplicate
    numbers = np.minimum((chances * BINS).astype(int), BINS - 1)
    bins: list[Bin] = []
    for number in range(BINS):
        chosen = numbers == number
        if chosen.any():
            own = sample[chosen]
            bins.append(
                Bin(
                    pairs=int(chosen.sum()),
                    probability=float(np.average(chances[chosen], weights=own)),
                    share=float(np.average(is_duplicate[chosen], weights=own)),
                    weight=float(own.sum() / sample.sum()),
                )
            )
    return tuple(bins)


def measure_calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: mean distance of probability and share."""
    return sum(found.weight * abs(found.probability - found.share) for found in bins)


def _sigmoid(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))

"""The probability that two items make the same point (SPEC §4, Dedup).

It is a logistic function of some features of the two texts, each of which says by itself what it is
about: the raw cosine, how much of either text's words the other one has, in the same words or in
near ones, how long they are, and whether they differ in what no similarity sees. Weights are fitted
to labelled pairs for each embedding model (`similarity_fitting`), and stored as numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aletheia.items.word_vectors import WordVectors
from aletheia.text.differences import Alignment, align_texts
from aletheia.text.word_parts import measure_parts
from aletheia.text.wording import Wording, read_wording

FEATURES: Final = (
    "cosine",  # raw, of the two texts
    "nearness",  # the same, stretched towards 1
    "covered",  # share of the words of a text that the other has, or near ones; the smaller share
    "covered_more",  # the larger of the two shares
    "parts",  # share of the parts of a text's words, four characters each, that the other's have
    "parts_more",  # the same of the other text; `parts` is the smaller share
    "overlap",  # words that both have, as a share of all words
    "phrases",  # the same of pairs of words that follow each other
    "length",  # words of the longer text, logarithm
    "length_ratio",  # words of the shorter text, as a share of the longer one's
    "common_numbers",  # share of the numbers of both that both give; 0 where there are none
    "negations",  # whether they negate as often as each other: 0, else 1
    "close",  # whether they align but for few words: 1
    "differing",  # whether they differ in a number, a date, a name …: 1
)
"""What the probability is made of, in order; names are stored."""

_ADDED: Final = frozenset({"parts", "parts_more"})
"""Features that calibrations of before have no weights of."""

_PLACES: Final = {feature: place for place, feature in enumerate(FEATURES)}

MIN_CONTENT_WORDS: Final = 6
"""A text with fewer words of its own is not dropped for its probability alone: requirements of a
list, of four to seven words in one frame, reach 0.99 and make two points."""

_STRETCH: Final = 1.02
"""`-log(_STRETCH - cosine)` is finite also where two texts have one vector."""

_MAX_LOGIT: Final = 30.0
_SAMPLED_PAIRS: Final = 500


@dataclass(frozen=True, slots=True)
class Weight:
    """What one feature adds: `weight * (value - mean) / scale`."""

    feature: str
    mean: float
    scale: float
    weight: float


@dataclass(frozen=True, slots=True)
class SimilarityModel:
    """The weights of one embedding model.

    Raises:
        ValueError: there is not one finite weight of each feature, but for the added ones.
    """

    weights: tuple[Weight, ...]
    bias: float
    word_nearness: float  # mean of how near a word is to its nearest, where that is not known

    def __post_init__(self) -> None:
        known = tuple(weight.feature for weight in self.weights)
        if known not in (FEATURES, tuple(name for name in FEATURES if name not in _ADDED)):
            raise ValueError("the weights are not of these features")
        numbers = [number for w in self.weights for number in (w.mean, w.scale, w.weight)]
        if not np.isfinite([*numbers, self.bias, self.word_nearness]).all():
            raise ValueError("a weight is not finite")
        if any(weight.scale <= 0 for weight in self.weights):
            raise ValueError("a scale is not above 0")

    def to_probability(self, features: Sequence[float] | NDArray[np.float64]) -> float:
        """Return the probability that a pair with these features makes the same point."""
        logit = self.bias
        for weight in self.weights:
            value = features[_PLACES[weight.feature]]
            logit += weight.weight * (value - weight.mean) / weight.scale
        return 1 / (1 + math.exp(-min(_MAX_LOGIT, max(-_MAX_LOGIT, logit))))

    def explain(self, features: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
        """Return what each feature adds to the logit of a pair, by name."""
        return {
            weight.feature: weight.weight
            * (features[_PLACES[weight.feature]] - weight.mean)
            / weight.scale
            for weight in self.weights
        }


def measure_features(
    text: str,
    other: str,
    cosine: float,
    words: WordVectors | None,
    word_nearness: float,
) -> list[float]:
    """Measure the features of two texts, in the order of `FEATURES`; the same in either order.

    `word_nearness` is what a word counts that the other text has not, where no vectors say.
    """
    one, two = read_wording(text), read_wording(other)
    alignment = find_alignment(text, other)
    shares = [
        _measure_covered(one, two, words, word_nearness),
        _measure_covered(two, one, words, word_nearness),
    ]
    sizes = sorted((len(one.content), len(two.content)))
    return [
        cosine,
        -math.log(_STRETCH - min(1.0, cosine)),
        min(shares),
        max(shares),
        *sorted(measure_parts(text, other)),
        _share(frozenset(one.content), frozenset(two.content)),
        _share(frozenset(pairwise(one.content)), frozenset(pairwise(two.content))),
        math.log1p(sizes[1]),
        (1 + sizes[0]) / (1 + sizes[1]),
        alignment.common_numbers,
        float(one.negations != two.negations),
        float(alignment.is_close),
        float(alignment.difference is not None),
    ]


def is_measurable(text: str) -> bool:
    """Return whether a text is such as the labelled ones, of which probabilities are known.

    They are of languages in Latin letters, and have some words.
    """
    wording = read_wording(text)
    return wording.is_latin and len(wording.content) >= MIN_CONTENT_WORDS


def list_words(texts: Sequence[str]) -> set[str]:
    """Return the words of texts whose vectors their features are measured by."""
    return {word for text in texts for word in read_wording(text).forms.values()}


def measure_word_nearness(pairs: Sequence[tuple[str, str]], words: WordVectors) -> float:
    """Return the mean of how near a word is to the nearest of a text that has it not, `[0, 1]`."""
    sums, counts = 0.0, 0
    for text, other in pairs[:: max(1, len(pairs) // _SAMPLED_PAIRS)]:
        one, two = read_wording(text), read_wording(other)
        missing = [form for stem, form in one.forms.items() if stem not in two.forms]
        near = words.measure(missing, list(two.forms.values())) if missing else None
        if near is not None:
            sums, counts = sums + float(near.sum()), counts + len(near)
    return sums / counts if counts else 0.0


def find_alignment(text: str, other: str) -> Alignment:
    """Return how two texts align, and in what they differ; the same in either order."""
    return align_texts(*sorted((text, other)))


def _measure_covered(
    text: Wording, other: Wording, words: WordVectors | None, word_nearness: float
) -> float:
    """Return the share of a text's words that the other one has, or near ones."""
    own, there = frozenset(text.content), frozenset(other.content)
    if not own:
        return 0.0
    common = own & there
    missing = [text.forms[stem] for stem in sorted(own - there) if stem in text.forms]
    near = _sum_nearness(missing, other.forms, words, word_nearness)
    return (len(common) + near) / len(own)


def _sum_nearness(
    missing: Sequence[str],
    forms: Mapping[str, str],
    words: WordVectors | None,
    word_nearness: float,
) -> float:
    if not missing or not forms:
        return 0.0
    near = None if words is None else words.measure(missing, list(forms.values()))
    return len(missing) * word_nearness if near is None else float(near.sum())


def _share(left: frozenset[object], right: frozenset[object]) -> float:
    either = len(left) + len(right)
    return 2 * len(left & right) / either if either else 0.0

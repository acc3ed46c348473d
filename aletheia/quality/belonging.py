"""Whether an item is about its department, and whether it says something: three weighted sums.

Each feature is larger the more an item belongs, so that no weight is negative; those of the whole
set lend an item what its neighbours show, since a single text's vector is noisy, above all in
languages that a model hardly knows. The weights are fitted by `bench.quality_fit` to the items of
graded sets.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.quality.meaning import Meaning
from aletheia.quality.reading import Reading

Aim: TypeAlias = Literal["topical", "related", "substantial", "genuine"]
"""What is asked of an item: is its set about the department, is it itself, does it say something,
and does its set say what is done, as people do who know it?"""

WORD_FEATURES: Final[Mapping[Aim, tuple[str, ...]]] = {
    "topical": ("set_linked", "echo"),
    "related": ("linked",),
    "substantial": (
        *("linked", "not_vague", "set_not_vague", "specific", "set_specific", "active"),
        *("set_active", "not_idle", "set_not_idle", "stated"),
    ),
    "genuine": ("set_affirmed", "set_stated", "set_figured"),
}
"""Features of words:

    linked     has a word of the description, as a whole or in a compound
    not_vague  how few of its words are vague
    specific   specifics, up to `MAX_SPECIFICS`
    active     what its best sentence says of an action
    not_idle   how few words it has beside its specifics: long sentences without any are idle
    stated     share of its sentences that are no questions
    affirmed   share of its sentences that deny nothing
    figured    has a figure, a condition or a step

`set_` before one is its mean over all items that count, of what an item says over those alone that
have a word of the description: one that does not show that it belongs lends the others nothing.
`echo` is how many of the description's words they have, see `measure_echo`."""

MEANING_FEATURES: Final[Mapping[Aim, tuple[str, ...]]] = {
    "topical": (*WORD_FEATURES["topical"], "set_middle", "met"),
    "related": (*WORD_FEATURES["related"], "ahead", "kin"),
    "substantial": (*WORD_FEATURES["substantial"], "not_empty", "set_not_empty"),
    "genuine": (*WORD_FEATURES["genuine"], "set_working"),
}
"""Those of vectors, too: how far an item is ahead of other subjects in nearness to the department
(`ahead`) and to the other items (`kin`), how far the middle of all items is (`set_middle`), how
near they come to its aspects (`met`), how much nearer an item is to the department than to
platitudes (`not_empty`), and how far it sounds like work (`working`), see `Meaning`."""

Weights: TypeAlias = Mapping[Aim, Mapping[str, float]]
"""Of each feature, and of `bias`."""

Features: TypeAlias = Mapping[str, NDArray[np.float64]]
"""Values of each feature, one for each item."""

COMPOUNDING: Final = frozenset({"de", "nl", "sv", "da", "no", "nb", "fi", "hu"})
"""Languages that write compounds as one word."""

MIN_END: Final = 4
MIN_PART: Final = 5
MIN_BEGINNING: Final = 6
"""Characters of a word at an end of a compound, inside of one, and at the beginning of a longer
form in languages without compounds, to be the same word."""

COMMON_FROM: Final = 0.16
COMMON_TO: Final = 0.32
"""Share of the other items that have an item's words, on average."""

MIN_OTHERS: Final = 3
"""Other items that this share is of, at least: a word that two items of a department have in common
is not yet salad."""

ECHO_FROM: Final = 0.36
ECHO_TO: Final = 0.56
"""Share of an item's words that the description has; short items are allowed more."""

BOUNDS: Final[Mapping[Aim, tuple[float, float]]] = {
    "topical": (0.1, 0.4),
    "related": (0.05, 0.25),
    "substantial": (0.05, 0.6),
    "genuine": (0.02, 0.15),
}
"""Probabilities below which an item counts for nothing, and from which on it counts in full: what
is likely real is not less worth for being told in words that the description does not have. Every
useful graded set is above 0.15 of the last one."""

WORDED_BOUNDS: Final = (0.05, 0.6)
"""The same of `related` where words alone are compared: an item without a word of the description
counts half, since nothing else could show that it belongs."""

MAX_SPECIFICS: Final = 3
_IDLE_WORDS: Final = 10
_MAX_SIGNS: Final = 3
_ECHO_WORDS: Final = 12
_OF_FORM: Final[tuple[str, ...]] = ("stated", "affirmed", "figured", "working")
_FIGURED: Final = frozenset({"figure", "count", "condition", "step"})
_MIDDLE_BOUND: Final = 6.0
_BOUND: Final = 2.0
_AHEAD_BOUND: Final = 4.0


def find_linked(
    readings: Sequence[Reading], described: frozenset[str], language: str | None
) -> list[frozenset[str]]:
    """Return which words of each text the description has, too, as a whole or in a compound."""
    if not described:
        return [frozenset() for _ in readings]
    return [
        frozenset(stem for stem in reading.specific if _find_kin(stem, described, language))
        for reading in readings
    ]


def measure_echo(
    readings: Sequence[Reading], described: frozenset[str], language: str | None
) -> float:
    """Return the share of the description's words that some text has, too, 0 to 1.

    Unlike the share of linked texts it does not fall with the length of the description.
    """
    if not described:
        return 1.0
    said = {stem for reading in readings for stem in reading.specific}
    known = frozenset[str]().union(*(_find_kin(stem, described, language) for stem in said))
    return len(known) / len(described)


def measure_features(
    readings: Sequence[Reading],
    linked: Sequence[frozenset[str]],
    meaning: Meaning | None,
    *,
    is_counted: NDArray[np.bool_],
    echo: float,
    is_described: bool = True,
) -> Features:
    """Measure the features of items; without `meaning` those of words alone.

    `linked`: words that each has in common with the description, see `find_linked`. `is_counted`:
    `(n,)`, the items whose means `set_…` are; of all, if there are none. `echo`: see
    `measure_echo`. Without a description nothing shows that an item does not belong.
    """
    specific = np.array([min(1.0, len(r.specifics) / MAX_SPECIFICS) for r in readings])
    words = np.array([min(1.0, len(r.specific) / _IDLE_WORDS) for r in readings])
    found: dict[str, NDArray[np.float64]] = {
        "linked": np.array([float(bool(links) or not is_described) for links in linked]),
        "not_vague": np.array([1.0 - reading.vagueness for reading in readings]),
        "specific": specific,
        "active": np.array([min(1.0, len(r.signs) / _MAX_SIGNS) for r in readings]),
        "not_idle": 1.0 - words * (1.0 - specific),
        "stated": np.array([1.0 - reading.questions for reading in readings]),
        "affirmed": np.array([_measure_affirmed(reading) for reading in readings]),
        "figured": np.array([float(_is_figured(reading)) for reading in readings]),
    }
    if meaning is not None:
        better = meaning.own - meaning.empty
        found["not_empty"] = _fill(np.clip(better, -_BOUND, _BOUND))
        found["ahead"] = _fill(np.clip(meaning.ahead, -_AHEAD_BOUND, _AHEAD_BOUND))
        found["kin"] = _fill(np.clip(meaning.kin, -_AHEAD_BOUND, _AHEAD_BOUND))
        found["working"] = _fill(np.clip(meaning.working, -1.0, 1.0))
    counted = is_counted if is_counted.any() else np.ones(len(readings), bool)
    related = counted & (found["linked"] > 0)
    lending: dict[str, NDArray[np.bool_]] = dict.fromkeys(("linked", *_OF_FORM), counted)
    means: dict[str, NDArray[np.float64]] = {}
    for name, column in found.items():
        chosen = lending.get(name, related if related.any() else counted)
        means[f"set_{name}"] = np.full(len(column), column[chosen].mean() if len(column) else 0.0)
    if meaning is not None:
        means["set_middle"] = np.full(len(readings), np.clip(meaning.middle, 0.0, _MIDDLE_BOUND))
        means["met"] = np.full(len(readings), np.clip(meaning.met, 0.0, _AHEAD_BOUND))
    return {**found, **means, "echo": np.full(len(readings), echo)}


def measure_belonging(features: Features, weights: Weights) -> NDArray[np.float64]:
    """Return how far items belong and say something, 0 to 1, `(n,)`, from their features."""
    total = np.ones(len(features["linked"]))
    for aim, likely in measure_likelihoods(features, weights).items():
        is_worded = aim == "related" and "ahead" not in features
        low, high = WORDED_BOUNDS if is_worded else BOUNDS[aim]
        total = total * np.clip((likely - low) / (high - low), 0.0, 1.0)
    return total


def measure_likelihoods(features: Features, weights: Weights) -> dict[Aim, NDArray[np.float64]]:
    """Return how likely each aim is reached, 0 to 1, `(n,)`."""
    found: dict[Aim, NDArray[np.float64]] = {}
    for aim, own in weights.items():
        reached = sum(weight * features[name] for name, weight in own.items() if name != "bias")
        found[aim] = 1.0 / (1.0 + np.exp(-(reached + own["bias"])))
    return found


def _measure_affirmed(reading: Reading) -> float:
    """Return the share of a text's sentences that deny nothing."""
    denying = sum(bool(statement.denied) for statement in reading.statements)
    return 1.0 - denying / max(1, len(reading.statements))


def _is_figured(reading: Reading) -> bool:
    return any(kind in _FIGURED for kind, _ in reading.specifics)


def _fill(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a column with the mean of what is known in place of what is not."""
    is_known = ~np.isnan(column)
    return np.where(is_known, column, float(column[is_known].mean()) if is_known.any() else 0.0)


@lru_cache(maxsize=65_536)
def _find_kin(stem: str, described: frozenset[str], language: str | None) -> frozenset[str]:
    """Return the words of a description that are a word, or a part of it, or it of them."""
    return frozenset(
        other for other in described if other == stem or _is_part(stem, other, language)
    )


def _is_part(stem: str, other: str, language: str | None) -> bool:
    """Return whether one of two words is a part of the other: of compounds, or of a longer form."""
    shorter, longer = sorted((stem, other), key=len)
    if language in COMPOUNDING:
        is_end = longer.startswith(shorter) or longer.endswith(shorter)
        return (len(shorter) >= MIN_END and is_end) or (
            len(shorter) >= MIN_PART and shorter in longer
        )
    return len(shorter) >= MIN_BEGINNING and longer.startswith(shorter)


def measure_variety(
    readings: Sequence[Reading],
    linked: Sequence[frozenset[str]],
    is_counted: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Measure how far items have words of their own, 0 to 1, `(n,)`.

    Salad is made of few words: those of the description, or those of all other items again. Others
    are those that count (`is_counted`, `(n,)`), so that a filler or a repeat thins out nothing.
    """
    counted = is_counted.tolist()
    frequency = Counter(
        stem
        for reading, counts in zip(readings, counted, strict=True)
        if counts
        for stem in reading.specific
    )
    found: list[float] = []
    for reading, links, counts in zip(readings, linked, counted, strict=True):
        words, others = max(1, len(reading.specific)), sum(counted) - counts
        shared = sum(frequency[stem] - counts for stem in reading.specific)
        common = shared / words / max(MIN_OTHERS, others)
        echo = len(links) / words * min(1.0, words / _ECHO_WORDS)
        found.append(_fall(common, COMMON_FROM, COMMON_TO) * _fall(echo, ECHO_FROM, ECHO_TO))
    return np.array(found)


def _fall(value: float, begin: float, end: float) -> float:
    """Return 1 up to `begin`, 0 from `end` on, and what lies between in between."""
    return min(1.0, max(0.0, (end - value) / (end - begin)))

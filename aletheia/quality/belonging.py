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
from aletheia.quality.orders import MIN_EVIDENCE, weigh_judging
from aletheia.quality.reading import Reading

Aim: TypeAlias = Literal["topical", "related", "substantial", "joined"]
"""What is asked of an item: is its set about the department, is it itself, does it say something,
and do the halves of its set's sentences go together?"""

WORD_FEATURES: Final[Mapping[Aim, tuple[str, ...]]] = {
    "topical": ("set_linked", "mostly_linked", "echo", "met"),
    "related": ("linked", "unordered"),
    "substantial": (
        *("linked", "not_vague", "set_not_vague", "specific", "set_specific", "active"),
        *("set_active", "not_idle", "set_not_idle", "stated", "affirmed", "set_affirmed"),
        "set_ordered",
    ),
}
"""Features of words:

    linked     has a word of the description, as a whole or in a compound
    not_vague  how few of its words are vague
    specific   specifics, up to `MAX_SPECIFICS`
    active     what its best sentence says of an action
    not_idle   how few words it has beside its specifics: long sentences without any are idle
    stated     share of its sentences that are no questions
    affirmed   share of its sentences that deny nothing
    unordered  how few words of judging it has that not many items have
    ordered    how usual the order of its words is

`set_` before one is its mean over all items that count, of what an item says over those alone that
have a word of the description: one that does not show that it belongs lends the others nothing.
`mostly_linked` says whether most items are linked, `echo` how many of the description's words they
have, see `measure_echo`, and `met` whether both are so: by chance either is, but hardly both."""

MEANING_FEATURES: Final[Mapping[Aim, tuple[str, ...]]] = {
    "topical": (*WORD_FEATURES["topical"], "set_ahead"),
    "related": (*WORD_FEATURES["related"], "ahead", "kin", "uncommanding"),
    "substantial": (
        *WORD_FEATURES["substantial"],
        *("not_empty", "set_not_empty", "working", "set_working"),
    ),
    "joined": ("joined",),
}
"""Those of vectors, too: how far an item is ahead of other subjects in nearness to the department
(`ahead`) and to the other items (`kin`), how much nearer it is to the department than to platitudes
(`not_empty`), how far it sounds like work (`working`) and not like an order (`uncommanding`), and
how far halves of sentences go together (`joined`), see `Meaning`."""

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

RELATED_POWER: Final = 0.8
"""Power of a single item's own relation to the department, which its words and vector show less
surely than those of all items together."""

LINKED_FROM: Final = 0.25
LINKED_TO: Final = 0.6
"""Share of a set's items that have a word of the description: of another department's items, and of
the department's own, in the graded sets."""

USUALLY_JOINED: Final = 0.8
"""What `joined` is taken for where too few items can tell, or the model cannot."""

MIN_TELLING_SKILL: Final = 3.0
"""Skill of a model in a language, see `Meaning`, below which it tells no halves apart."""

USUAL_KIND: Final = 0.25
"""Share of items with a kind of words of judging, above which they are the department's own."""

MET_FROM: Final = 0.03
MET_TO: Final = 0.12
"""Share of linked items times `echo`: nine of ten sets of other departments are below 0.06, nine of
ten of the department's own above it."""

MAX_SPECIFICS: Final = 3
_IDLE_WORDS: Final = 10
_MAX_SIGNS: Final = 3
_ECHO_WORDS: Final = 12
_ORDER_BOUNDS: Final = (-1.0, 0.3)
_BOUND: Final = 2.0
_AHEAD_BOUND: Final = 4.0


def find_linked(
    readings: Sequence[Reading], described: frozenset[str], language: str | None
) -> list[frozenset[str]]:
    """Return which words of each text the description has, too, as a whole or in a compound."""
    if not described:
        return [frozenset() for _ in readings]
    known: dict[str, bool] = {}
    for stem in {stem for reading in readings for stem in reading.specific}:
        known[stem] = stem in described or any(
            _is_part(stem, other, language) for other in described
        )
    return [frozenset(stem for stem in reading.specific if known[stem]) for reading in readings]


def measure_echo(
    readings: Sequence[Reading], described: frozenset[str], language: str | None
) -> float:
    """Return the share of the description's words that some text has, too, 0 to 1.

    Unlike the share of linked texts it does not fall with the length of the description.
    """
    if not described:
        return 1.0
    said = frozenset(stem for reading in readings for stem in reading.specific)
    known = sum(
        stem in said or any(_is_part(stem, other, language) for other in said) for stem in described
    )
    return known / len(described)


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
        "unordered": -_measure_judging(readings),
        "ordered": np.array([np.clip(reading.word_order, *_ORDER_BOUNDS) for reading in readings]),
        "affirmed": np.array([_measure_affirmed(reading) for reading in readings]),
    }
    if meaning is not None:
        better = meaning.own - meaning.empty
        found["not_empty"] = _fill(np.clip(better, -_BOUND, _BOUND))
        found["ahead"] = _fill(np.clip(meaning.ahead, -_AHEAD_BOUND, _AHEAD_BOUND))
        found["kin"] = _fill(np.clip(meaning.kin, -_AHEAD_BOUND, _AHEAD_BOUND))
        found["working"] = _fill(np.clip(meaning.working, -1.0, 1.0))
        found["uncommanding"] = -_fill(np.clip(meaning.ordering, -1.0, 1.0))
        found["joined"] = np.full(len(readings), _read_joined(meaning))
    counted = is_counted if is_counted.any() else np.ones(len(readings), bool)
    related = counted & (found["linked"] > 0)
    lending = {"linked": counted, "ahead": counted, "working": counted}
    lending |= {"affirmed": counted, "ordered": counted}
    means: dict[str, NDArray[np.float64]] = {}
    for name, column in found.items():
        chosen = lending.get(name, related if related.any() else counted)
        means[f"set_{name}"] = np.full(len(column), column[chosen].mean() if len(column) else 0.0)
    if "set_ahead" in means:
        # Where a model knows little of a language, nothing seems near: that is no evidence against.
        means["set_ahead"] = np.maximum(0.0, means["set_ahead"])
    mostly = (means["set_linked"] - LINKED_FROM) / (LINKED_TO - LINKED_FROM)
    return {
        **found,
        **means,
        "mostly_linked": np.clip(mostly, 0.0, 1.0),
        "echo": np.full(len(readings), echo),
        "met": np.clip((means["set_linked"] * echo - MET_FROM) / (MET_TO - MET_FROM), 0.0, 1.0),
    }


def measure_belonging(features: Features, weights: Weights) -> NDArray[np.float64]:
    """Return how far items belong and say something, 0 to 1, `(n,)`, from their features."""
    total = np.ones(len(features["linked"]))
    for aim, own in weights.items():
        reached = sum(weight * features[name] for name, weight in own.items() if name != "bias")
        share = 1.0 / (1.0 + np.exp(-(reached + own["bias"])))
        total = total * (share**RELATED_POWER if aim == "related" else share)
    return total


def _read_joined(meaning: Meaning) -> float:
    """Return how far halves go together, as usual where the model or the set cannot tell."""
    is_telling = meaning.skill >= MIN_TELLING_SKILL and not np.isnan(meaning.joined)
    return float(np.clip(meaning.joined, -1.0, 1.0)) if is_telling else USUALLY_JOINED


def _measure_judging(readings: Sequence[Reading]) -> NDArray[np.float64]:
    """Return how much of each item speaks of judging, 0 to 1, in words that not many items have."""
    counts = Counter(kind for reading in readings for kind in reading.judging)
    usual = {kind for kind, count in counts.items() if count > max(1, USUAL_KIND * len(readings))}
    weights = [weigh_judging(reading.judging - usual) for reading in readings]
    return np.minimum(1.0, np.array(weights) / MIN_EVIDENCE)


def _measure_affirmed(reading: Reading) -> float:
    """Return the share of a text's sentences that deny nothing."""
    denying = sum(bool(statement.denied) for statement in reading.statements)
    return 1.0 - denying / max(1, len(reading.statements))


def _fill(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a column with the mean of what is known in place of what is not."""
    is_known = ~np.isnan(column)
    return np.where(is_known, column, float(column[is_known].mean()) if is_known.any() else 0.0)


@lru_cache(maxsize=65_536)
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

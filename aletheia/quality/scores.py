"""How good a department's items are, computed from the items alone (SPEC §4, Quality).

Four parts, each 0 to 100 and with its evidence:

    coverage 40 %       how many of the department's aspects have something said about them
    depth 30 %          how many distinct specifics the best items have
    coherence 20 %      how many items belong: to the department, to each other, said once
    actionability 10 %  how many of the items say who does what, when and how, in one sentence

An item without substance (filler), one that repeats an earlier one or one that denies itself adds
to no part and lowers the shares it is counted in; one that addresses whoever judges it is left out.
A further good item hardly lowers coverage or depth: what items share is measured over all of them.

The scale is that of the rubric in `docs/accuracy.md`: what is counted of each part is mapped to it
by straight lines between knots that `bench.quality_fit` fits to the graded sets.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from aletheia.items.departments import Department
from aletheia.quality.aspects import WHOLE, Aspect
from aletheia.quality.belonging import Features, Weights
from aletheia.quality.comparison import MAX_ITEMS, compare, list_compared
from aletheia.quality.rating import QualityItem, RatedItem, measure_items, rate_items
from aletheia.quality.reading import SPECIFICS
from aletheia.quality.registers import TextVectors

Part: TypeAlias = Literal["coverage", "depth", "coherence", "actionability"]

WEIGHTS: Final[Mapping[Part, float]] = {
    "coverage": 0.4,
    "depth": 0.3,
    "coherence": 0.2,
    "actionability": 0.1,
}
"""Shares of the parts in the whole (SPEC §4, Quality)."""

PARTS: Final[tuple[Part, ...]] = tuple(WEIGHTS)

ENOUGH_ITEMS: Final = 8
"""Whole items that cover a department: the least that people who know a matter hand over."""

MIN_PER_ASPECT: Final = 1
"""Whole items that cover an aspect; with few aspects more, so that all need `ENOUGH_ITEMS`."""

LEFT_OUT: Final = 0.2
"""Share of the aspects, the least covered ones, that coverage leaves out: descriptions name things
in passing, and not every run of words is something to write about."""

WHOLE_SHARE: Final = 0.4
"""Share of coverage that is amount, whatever the aspects."""

WORDS_ALONE: Final = "Words alone were compared, not their meaning."
"""Warning of a score without vectors."""

MAX_IDS: Final = 20
"""Ids that evidence lists of one kind; the number beside them is exact."""

COVERED_FROM: Final = 0.5
"""How far an item is about an aspect, 0 to 1, to be listed with it."""

MIN_BELONGING: Final = 0.25
"""What the belonging of an item counts that says next to nothing; a whole item counts 1."""

_STRAY_AT: Final = 0.35
_SIGNS: Final = 3


@dataclass(frozen=True, slots=True)
class PartScore:
    """One part of a department's quality: a score, 0 to 100, and what was counted, as JSON."""

    score: float
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a department's items are."""

    parts: Mapping[Part, PartScore]  # all four
    items: int  # how many items there are
    warnings: tuple[str, ...] = ()  # what limits the score's meaning, each a sentence

    @property
    def scores(self) -> dict[Part, float]:
        """The parts' scores, 0 to 100."""
        return {part: self.parts[part].score for part in PARTS}

    @property
    def total(self) -> float:
        """The whole, 0 to 100."""
        return weigh_parts(self.scores)

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "score": self.total,
            "items": self.items,
            "warnings": list(self.warnings),
            "parts": {
                part: {"score": scored.score, "evidence": dict(scored.evidence)}
                for part, scored in self.parts.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Counted:
    """What is counted of one part before it is put on the scale, and its evidence."""

    raw: float  # 0 to 1
    evidence: Mapping[str, Any]


Knots: TypeAlias = Mapping[Part, Sequence[tuple[float, float]]]
"""Of each part, rising pairs of what is counted, 0 to 1, and the score that it has, 0 to 100."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What `bench.quality_fit` fits: for `meaning`, and for `words` where there are no vectors."""

    knots: Mapping[str, Knots]
    belonging: Mapping[str, Weights]


def weigh_parts(scores: Mapping[Part, float]) -> float:
    """Return the whole of four parts, 0 to 100."""
    return round(sum(WEIGHTS[part] * scores[part] for part in PARTS), 2)


def texts_to_embed(department: Department, items: Sequence[QualityItem]) -> list[str]:
    """List the texts whose vectors `score_quality` compares, each once."""
    return list_compared(department, items)


def score_quality(
    department: Department, items: Sequence[QualityItem], vectors: TextVectors | None = None
) -> Quality:
    """Score a department's saved items, oldest first.

    `vectors`: those of `texts_to_embed`, of one model. Without them words alone are compared, which
    finds neither an aspect in other words nor a copy in other words; a warning says so.
    """
    counted, warnings = count_parts(department, items, vectors)
    by_words = vectors is None or WORDS_ALONE in warnings
    knots = shipped_scale().knots["words" if by_words else "meaning"]
    parts: dict[Part, PartScore] = {}
    for part, found in counted.items():
        raws, scores = zip(*knots[part], strict=True)
        score = round(float(np.interp(found.raw, raws, scores)), 2)
        parts[part] = PartScore(score, found.evidence)
    return Quality(parts, len(items), warnings)


def count_parts(
    department: Department,
    items: Sequence[QualityItem],
    vectors: TextVectors | None = None,
    scale: Scale | None = None,
) -> tuple[dict[Part, Counted], tuple[str, ...]]:
    """Count what the parts rest on, and return it with warnings; see `score_quality`.

    `scale`: the shipped one if there is none; its knots are not used.
    """
    found = compare(department, items, vectors)
    kind = "words" if found.meaning is None else "meaning"
    weights = (scale or shipped_scale()).belonging[kind]
    aspects, meaning, scored = found.aspects, found.meaning, found.items
    rated = rate_items(
        scored,
        aspects,
        found.described,
        meaning=meaning,
        language=found.language,
        weights=weights,
    )
    warnings: list[str] = []
    if len(aspects) == 1:
        warnings.append(
            "The description names no aspects: the score does not show whether items fit."
        )
    if len(items) > MAX_ITEMS:
        warnings.append(f"Of {len(items)} items the newest {MAX_ITEMS} are scored.")
    if meaning is None and scored:
        warnings.append(WORDS_ALONE)
    parts: dict[Part, Counted] = {
        "coverage": _count_coverage(aspects, rated),
        "depth": _count_depth(rated),
        "coherence": _count_coherence(rated, found.orders),
        "actionability": _count_actionability(rated),
    }
    return parts, tuple(warnings)


def measure_set(
    department: Department, items: Sequence[QualityItem], vectors: TextVectors | None
) -> Features:
    """Measure what shows of items that they belong to a department, see `measure_items`."""
    found = compare(department, items, vectors)
    return measure_items(
        found.items,
        found.aspects,
        found.described,
        meaning=found.meaning,
        language=found.language,
    )


@cache
def shipped_scale() -> Scale:
    """Return the scale that comes with Aletheia."""
    source = resources.files("aletheia.quality").joinpath("scale.json")
    read: Mapping[str, Any] = json.loads(source.read_text("utf-8"))
    knots: Mapping[str, Mapping[Part, list[list[float]]]] = read["knots"]
    return Scale(
        {
            kind: {part: [(raw, score) for raw, score in found[part]] for part in PARTS}
            for kind, found in knots.items()
        },
        read["belonging"],
    )


def _enough(aspects: int) -> int:
    """Return how many whole items cover an aspect, one of so many with the whole."""
    return max(MIN_PER_ASPECT, math.ceil(ENOUGH_ITEMS / max(1, aspects - 1)))


def _count_coverage(aspects: Sequence[Aspect], rated: Sequence[RatedItem]) -> Counted:
    shares: list[float] = []
    found: list[dict[str, Any]] = []
    good = [item for item in rated if item.is_good]
    for place, aspect in enumerate(aspects):
        is_whole = aspect.name == WHOLE
        enough = ENOUGH_ITEMS if is_whole else _enough(len(aspects))
        degrees = [(item, 1.0 if is_whole else item.aspects.get(place, 0.0)) for item in good]
        said = sum(item.weight * degree for item, degree in degrees)
        shares.append(min(1.0, said / enough))
        about = [item.id for item, degree in degrees if degree >= COVERED_FROM and item.fit > 0]
        found.append(
            {
                "aspect": aspect.name,
                "covered": round(shares[-1], 4),
                "items": len(about),
                "enough": enough,
                "item_ids": about[:MAX_IDS],
            }
        )
    own = sorted(shares[:-1])[math.floor(LEFT_OUT * (len(shares) - 1)) :]
    raw = shares[-1]
    if own:
        raw = WHOLE_SHARE * shares[-1] + (1 - WHOLE_SHARE) * sum(own) / len(own)
    return Counted(raw, {"aspects": found})


def _count_depth(rated: Sequence[RatedItem]) -> Counted:
    deep = sorted(rated, key=lambda item: -item.detail * item.worth)[:ENOUGH_ITEMS]
    kinds = Counter(kind for item in rated for kind, _ in item.specifics)
    evidence = {
        "specifics": {kind: kinds[kind] for kind in SPECIFICS},
        "of_best": ENOUGH_ITEMS,
        "item_ids": [item.id for item in deep if item.detail],
    }
    return Counted(sum(item.detail * item.worth for item in deep) / ENOUGH_ITEMS, evidence)


def _count_coherence(rated: Sequence[RatedItem], orders: Sequence[str]) -> Counted:
    good = [item for item in rated if item.is_good]
    repeated = {item.id: item.repeats for item in rated if item.repeats is not None}
    contradictory = {item.id: item.contradicts for item in rated if item.contradicts is not None}
    evidence = {
        "items": len(rated),
        "fit": round(sum(item.worth for item in good), 2),
        "fillers": _list_ids([item.id for item in rated if item.is_filler]),
        "repeats": _list_ids(list(repeated)),
        "repeated": dict(list(repeated.items())[:MAX_IDS]),
        "stray": _list_ids([item.id for item in good if item.related < _STRAY_AT]),
        "contradictions": _list_ids(list(contradictory)),
        "contradicted": dict(list(contradictory.items())[:MAX_IDS]),
        "self_denying": _list_ids([item.id for item in rated if item.denies_itself]),
        "verbless": _list_ids([item.id for item in rated if item.reading.verbless]),
        "orders": _list_ids(orders),
    }
    values = [item.worth * (MIN_BELONGING + (1 - MIN_BELONGING) * item.said) for item in good]
    certain = 1.0 - len(contradictory) / max(1, len(rated))
    return Counted(_share_of(values, rated) * certain, evidence)


def _count_actionability(rated: Sequence[RatedItem]) -> Counted:
    good = [item for item in rated if item.is_good]
    signs = Counter(sign for item in good for sign in item.reading.signs)
    evidence = {
        "items": len(rated),
        "say": {sign: signs[sign] for sign in ("who", "what", "when", "how")},
        "weak": _list_ids([item.id for item in good if len(item.reading.signs) < _SIGNS]),
    }
    # An item that does not fit is no help, however clear it is.
    values = [item.worth * min(1.0, len(item.reading.signs) / _SIGNS) for item in good]
    return Counted(_share_of(values, rated), evidence)


def _share_of(values: Sequence[float], rated: Sequence[RatedItem]) -> float:
    """Return the average over all items; those without a value count 0, and few items less."""
    if not rated:
        return 0.0
    return sum(values) / len(rated) * min(1.0, len(values) / ENOUGH_ITEMS)


def _list_ids(ids: Sequence[str]) -> dict[str, Any]:
    return {"count": len(ids), "item_ids": list(ids[:MAX_IDS])}

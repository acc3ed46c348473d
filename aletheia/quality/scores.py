"""How good a department's items are, computed from the items alone (SPEC §4, Quality).

Four parts, each 0 to 100 and with its evidence:

    coverage 40 %       how many of the department's aspects have enough distinct items
    depth 30 %          how far the best items of each aspect go into detail
    coherence 20 %      how many items belong: to the department, to each other, said once
    actionability 10 %  how many of the items say who does what, when, and by which figure it shows

An item without substance (filler), or one that repeats an earlier one, adds to no part and lowers
the shares it is counted in. A further item never lowers coverage or depth, as long as all are
scored (`MAX_ITEMS`). Without a description the score measures amount and care, not fit.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Literal, TypeAlias

from aletheia.items.departments import Department
from aletheia.quality.aspects import WHOLE, Aspect, AspectFinder, find_aspects
from aletheia.quality.reading import Reading, read_text

Part: TypeAlias = Literal["coverage", "depth", "coherence", "actionability"]

WEIGHTS: Final[Mapping[Part, float]] = {
    "coverage": 0.4,
    "depth": 0.3,
    "coherence": 0.2,
    "actionability": 0.1,
}
"""Shares of the parts in the whole (SPEC §4, Quality)."""

PARTS: Final[tuple[Part, ...]] = tuple(WEIGHTS)

ENOUGH_ITEMS: Final = 12
"""Distinct items that cover a department as a whole: the smallest batch (SPEC §4) twice, and 2."""

MIN_PER_ASPECT: Final = 2
"""Items that cover an aspect, at least; with few aspects more, so that all need `ENOUGH_ITEMS`."""

MIN_WORDS: Final = 4
"""Different specific words, below which a text has no substance: in the hand-made sets of the tests
empty phrases have up to 3, thin sentences 4 to 8, what a colleague would sign 11 or more."""

FULL_WORDS: Final = 10
"""As many make an item count as a whole one; with fewer it counts as a part of one."""

DEEP_WORDS: Final = 20
"""As many are three full sentences, the middle of what generation asks for; the richest of the
hand-made items have 21."""

FEW_ITEMS: Final = 4
"""With fewer items of substance, coherence and actionability are lowered in proportion."""

REPEATS_AT: Final = 0.5
"""Share of an item's word triples that one earlier item has, from which it repeats that one."""

MAX_ITEMS: Final = 1000
"""The newest ones are scored; twice what a run of 50 batches of 10 items makes (SPEC §4)."""

MAX_IDS: Final = 20
"""Ids that evidence lists of one kind; the number beside them is exact."""

_MIN_SIGNS: Final = 3
"""Of the four signs, without which an item is not actionable."""

_LINKED_SHARE: Final = 0.3
_STRAY_SUMMARY: Final = 0.5
_STRAY_FIT: Final = 0.6
_STRAY_AT: Final = 0.5


@dataclass(frozen=True, slots=True)
class QualityItem:
    """A saved item as far as quality is concerned; documents of others may have no summary."""

    id: str
    content: str
    summary: str = ""


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


def weigh_parts(scores: Mapping[Part, float]) -> float:
    """Return the whole of four parts, 0 to 100."""
    return round(sum(WEIGHTS[part] * scores[part] for part in PARTS), 2)


@dataclass(slots=True)
class _Rated:
    """An item on its way through the estimators."""

    id: str
    reading: Reading
    aspects: list[int]
    is_filler: bool
    repeats: str | None
    summary: frozenset[str]
    weight: float = 0.0
    depth: float = 0.0
    fit: float = 0.0

    @property
    def is_good(self) -> bool:
        return not self.is_filler and self.repeats is None


def score_quality(department: Department, items: Sequence[QualityItem]) -> Quality:
    """Score a department's saved items, oldest first."""
    aspects = find_aspects(department)
    rated = _rate(items[-MAX_ITEMS:], aspects)
    members = _members(rated, len(aspects))
    warnings: list[str] = []
    if len(aspects) == 1:
        warnings.append(
            "The description names no aspects: the score does not show whether items fit."
        )
    if len(items) > MAX_ITEMS:
        warnings.append(f"Of {len(items)} items the newest {MAX_ITEMS} are scored.")
    parts: dict[Part, PartScore] = {
        "coverage": _score_coverage(aspects, members),
        "depth": _score_depth(aspects, members),
        "coherence": _score_coherence(rated, has_aspects=len(aspects) > 1),
        "actionability": _score_actionability(rated),
    }
    return Quality(parts, len(items), tuple(warnings))


def _rate(items: Sequence[QualityItem], aspects: Sequence[Aspect]) -> list[_Rated]:
    finder = AspectFinder(aspects)
    owners: dict[int, int] = {}
    rated: list[_Rated] = []
    for place, item in enumerate(items):
        reading = read_text(item.content)
        substance = len(reading.specific - finder.stems)
        rating = _Rated(
            id=item.id,
            reading=reading,
            aspects=finder.find(reading),
            is_filler=substance < MIN_WORDS or not reading.is_prose,
            repeats=_find_repeated(reading, owners, rated),
            summary=read_text(item.summary).specific if item.summary else frozenset(),
        )
        if rating.is_good:
            rating.weight = min(1.0, substance / FULL_WORDS)
            rating.depth = _measure_depth(reading, substance)
            for triple in reading.triples:
                owners.setdefault(triple, place)
        rated.append(rating)
    return rated


def _find_repeated(
    reading: Reading, owners: Mapping[int, int], rated: Sequence[_Rated]
) -> str | None:
    """Return the id of the earlier item that has at least half of a text's word triples."""
    if not reading.triples:
        return None
    enough = REPEATS_AT * len(reading.triples)
    found = [owners[triple] for triple in reading.triples if triple in owners]
    if len(found) < enough:
        return None
    counts = Counter(found)
    best = min(counts, key=lambda place: (-counts[place], place))
    return rated[best].id if counts[best] >= enough else None


def _measure_depth(reading: Reading, substance: int) -> float:
    """Return how far a text goes into detail, 0 to 1: extent, figures, reasons, sentences."""
    return (
        0.4 * min(1.0, substance / DEEP_WORDS)
        + 0.25 * min(1.0, reading.figures / 2)
        + 0.2 * min(1.0, reading.reasons / 2)
        + 0.15 * min(1.0, reading.sentences / 3)
    )


def _members(rated: Sequence[_Rated], aspects: int) -> list[list[_Rated]]:
    """Return the good items of each aspect, those of the whole last."""
    members: list[list[_Rated]] = [[] for _ in range(aspects)]
    for item in rated:
        if item.is_good:
            for place in item.aspects:
                members[place].append(item)
            if item.aspects or aspects == 1:
                members[-1].append(item)
    return members


def _enough(aspect: Aspect, aspects: int) -> int:
    """Return how many items cover an aspect, one of so many with the whole."""
    if aspect.name == WHOLE:
        return ENOUGH_ITEMS
    return max(MIN_PER_ASPECT, math.ceil(ENOUGH_ITEMS / (aspects - 1)))


def _score_coverage(aspects: Sequence[Aspect], members: Sequence[Sequence[_Rated]]) -> PartScore:
    shares: list[float] = []
    found: list[dict[str, Any]] = []
    for aspect, items in zip(aspects, members, strict=True):
        enough = _enough(aspect, len(aspects))
        shares.append(min(1.0, sum(item.weight for item in items) / enough))
        found.append(
            {
                "aspect": aspect.name,
                "covered": round(shares[-1], 4),
                "items": len(items),
                "enough": enough,
                "item_ids": [item.id for item in items[:MAX_IDS]],
            }
        )
    return PartScore(_percent(fmean(shares)), {"aspects": found})


def _score_depth(aspects: Sequence[Aspect], members: Sequence[Sequence[_Rated]]) -> PartScore:
    depths: list[float] = []
    found: list[dict[str, Any]] = []
    for aspect, items in zip(aspects, members, strict=True):
        enough = _enough(aspect, len(aspects))
        best = sorted(items, key=lambda item: -item.depth)[:enough]
        depths.append(sum(item.depth for item in best) / enough)
        found.append(
            {
                "aspect": aspect.name,
                "depth": round(depths[-1], 4),
                "of_best": enough,
                "item_ids": [item.id for item in best[:MAX_IDS]],
            }
        )
    return PartScore(_percent(fmean(depths)), {"aspects": found})


def _score_coherence(rated: Sequence[_Rated], *, has_aspects: bool) -> PartScore:
    good = [item for item in rated if item.is_good]
    frequency = Counter(stem for item in good for stem in item.reading.specific)
    for item in good:
        linked = sum(frequency[stem] > 1 for stem in item.reading.specific)
        link = min(1.0, linked / (_LINKED_SHARE * len(item.reading.specific)))
        item.fit = (1.0 if item.aspects else _STRAY_FIT * link) if has_aspects else link
        if item.summary and item.summary.isdisjoint(item.reading.specific):
            item.fit *= _STRAY_SUMMARY
    repeated = {
        item.id: item.repeats for item in rated if item.repeats is not None and not item.is_filler
    }
    evidence = {
        "items": len(rated),
        "fit": round(sum(item.fit for item in good), 2),
        "fillers": _list_ids([item.id for item in rated if item.is_filler]),
        "repeats": _list_ids(list(repeated)),
        "repeated": dict(list(repeated.items())[:MAX_IDS]),
        "stray": _list_ids([item.id for item in good if item.fit < _STRAY_AT]),
    }
    return PartScore(_share_of([item.fit for item in good], rated), evidence)


def _score_actionability(rated: Sequence[_Rated]) -> PartScore:
    good = [item for item in rated if item.is_good]
    signs = Counter(sign for item in good for sign in item.reading.signs)
    weak = [
        item.id
        for item in good
        if "who" not in item.reading.signs or len(item.reading.signs) < _MIN_SIGNS
    ]
    evidence = {
        "items": len(rated),
        "say": {sign: signs[sign] for sign in ("who", "what", "when", "figure")},
        "weak": _list_ids(weak),
    }
    # An item that does not fit is no help, however clear it is.
    values = [item.fit * len(item.reading.signs) / 4 for item in good]
    return PartScore(_share_of(values, rated), evidence)


def _share_of(values: Sequence[float], rated: Sequence[_Rated]) -> float:
    """Return the average over all items; those without a value count 0, and few items less."""
    if not rated:
        return 0.0
    return _percent(sum(values) / len(rated) * min(1.0, len(values) / FEW_ITEMS))


def _list_ids(ids: Sequence[str]) -> dict[str, Any]:
    return {"count": len(ids), "item_ids": list(ids[:MAX_IDS])}


def _percent(share: float) -> float:
    return round(100 * min(1.0, max(0.0, share)), 2)

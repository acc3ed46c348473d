"""What each item of a department is worth: built, fitting, new, and saying something."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aletheia.quality.aspects import Aspect, AspectFinder
from aletheia.quality.belonging import (
    Features,
    Weights,
    find_linked,
    measure_belonging,
    measure_echo,
    measure_features,
    measure_likelihoods,
    measure_variety,
)
from aletheia.quality.contradictions import contradicts, find_contradictions
from aletheia.quality.meaning import Meaning
from aletheia.quality.reading import Reading, Statement, find_specific, read_text
from aletheia.quality.soundness import measure_soundness

MIN_SAID: Final = 1.0
"""Words of its own and specifics, a specific for two, below which an item says nothing."""

MIN_WEIGHT: Final = 0.3
"""What an item that belongs counts, of a whole one, however little it says."""

FULL_SAID: Final = 9.0
"""As many make an item count as a whole one; with fewer it counts as a part of one."""

MIN_SAYING: Final = 0.5
"""How much of a whole item one says, from which its words count as the department's being met."""

MIN_BUILD: Final = 0.35
"""Build of a text, 0 to 1, below which it is no prose."""

MAX_VAGUE: Final = 0.6
"""Share of vague words, above which an item without specifics says nothing."""

REPEATS_AT: Final = 0.5
"""Share of an item's word triples that one earlier item has, from which it repeats that one."""

REPEATS_PAIRS_AT: Final = 0.6
"""The same of word pairs: a template with a noun swapped."""

ALIKE_FROM: Final = 0.66
ALIKE_TO: Final = 0.82
"""Nearness of two items by their vectors, 0 to 1: below the one both are new, from the other on the
later one repeats the earlier in other words, between them it is new in part."""

MAX_FRAMES: Final = 2
"""Items that may have the same sentence but for its content words; further ones are a template."""

ASPECT_FROM: Final = 1.2
ASPECT_TO: Final = 3.2
"""Deviations from which an item begins to be about an aspect, and from which it fully is."""

NEAREST_DEGREES: Final = (0.75, 0.4)
"""How far an item is, at least, about the aspects that it is nearest to: something it is about."""

DETAIL_WEIGHTS: Final[Mapping[str, float]] = {
    "figure": 1.0,
    "count": 0.7,
    "name": 0.5,
    "condition": 0.8,
    "step": 0.5,
    "example": 0.8,
}
WORD_DETAIL: Final = 0.13
DETAIL_SCALE: Final = 2.2
"""Detail of an item: 1 - exp(-sum / `DETAIL_SCALE`) over the specifics and the words that no
earlier item has. With a figure, a condition and ten words of its own an item has three quarters."""

CONTRADICTED: Final = 0.25
"""What of an item counts that another one contradicts: nobody knows which of them is right."""

MAX_FOREIGN: Final = 0.2
"""Share of the items that are in another language than the rest, above which they are a part of the
department's work."""

MIN_CONTRADICTED: Final = 3
MIN_CONTRADICTED_SHARE: Final = 0.5
"""Items of a set that contradict another one or themselves, and their share, from which none of it
is believed."""

_STRAY_SUMMARY: Final = 0.5
_MAX_COMPARED: Final = 40


@dataclass(frozen=True, slots=True)
class QualityItem:
    """A saved item as far as quality is concerned; documents of others may have no summary."""

    id: str
    content: str
    summary: str = ""


@dataclass(slots=True)
class RatedItem:
    """An item with what was found in it; shares are 0 to 1."""

    id: str
    reading: Reading
    aspects: dict[int, float] = field(default_factory=dict[int, float])  # how far it is about each
    is_filler: bool = False
    repeats: str | None = None
    contradicts: str | None = None
    denies_itself: bool = False
    is_foreign: bool = False  # in a language that hardly any other item is in
    is_doubted: bool = False  # too many items of its set contradict each other, or themselves
    sound: float = 1.0  # what faults of form leave of it, see `measure_soundness`
    said: float = 0.0  # how much it says, of a whole item
    fit: float = 0.0
    related: float = 1.0  # how likely it is about the department, see `measure_likelihoods`
    novelty: float = 1.0
    variety: float = 1.0  # how far it has words of its own
    detail: float = 0.0
    specifics: frozenset[tuple[str, str]] = frozenset()  # those that no earlier item has

    @property
    def is_good(self) -> bool:
        """Whether it counts for something."""
        return not (self.is_filler or self.repeats or self.denies_itself or self.is_foreign)

    @property
    def worth(self) -> float:
        """How far it belongs to the department and is new, whatever it says."""
        if not self.is_good:
            return 0.0
        certain = CONTRADICTED if self.contradicts or self.is_doubted else 1.0
        sound = self.reading.build * self.sound
        return self.fit * sound * self.novelty * self.variety * certain

    @property
    def weight(self) -> float:
        """What share of a whole item it is worth."""
        return self.worth * (MIN_WEIGHT + (1 - MIN_WEIGHT) * self.said)


def rate_items(
    items: Sequence[QualityItem],
    aspects: Sequence[Aspect],
    described: frozenset[str],
    *,
    meaning: Meaning | None,
    language: str | None,
    weights: Weights,
) -> list[RatedItem]:
    """Rate items, oldest first; of two that say the same the later one loses.

    `meaning` has a row for each of them. `aspects`: `WHOLE` is the last. `described`: stems of the
    description. `weights`: of what shows that an item belongs, see `measure_belonging`.
    """
    rated = _read_items(items, aspects, meaning, language)
    if not rated:
        return rated
    readings = [item.reading for item in rated]
    linked = find_linked(readings, described, language)
    features = _measure(rated, linked, meaning, described, language)
    fits = measure_belonging(features, weights).tolist()
    relations = measure_likelihoods(features, weights)["related"].tolist()
    is_counted = np.array([item.is_good for item in rated], dtype=bool)
    varieties = measure_variety(readings, linked, is_counted).tolist()
    rows = zip(rated, items, fits, relations, varieties, strict=True)
    for item, row, fit, related, variety in rows:
        item.fit, item.related, item.variety = fit, related, variety
        summary: frozenset[str] = frozenset()
        if row.summary:
            summary = find_specific(row.summary)
        if summary and summary.isdisjoint(item.reading.specific):
            item.fit *= _STRAY_SUMMARY
    _find_details(rated)
    return rated


def measure_items(
    items: Sequence[QualityItem],
    aspects: Sequence[Aspect],
    described: frozenset[str],
    *,
    meaning: Meaning | None,
    language: str | None,
) -> Features:
    """Measure what shows of items that they belong to a department, as `rate_items` does."""
    rated = _read_items(items, aspects, meaning, language)
    linked = find_linked([item.reading for item in rated], described, language)
    return _measure(rated, linked, meaning, described, language)


def _read_items(
    items: Sequence[QualityItem],
    aspects: Sequence[Aspect],
    meaning: Meaning | None,
    language: str | None,
) -> list[RatedItem]:
    """Read items, and find fillers, contradictions and repetitions among them."""
    finder = AspectFinder(aspects)
    rated = [RatedItem(item.id, read_text(item.content, language)) for item in items]
    nearest = _rank_aspects(meaning)
    for place, item in enumerate(rated):
        _read_said(item, finder)
        named = finder.find(item.reading)
        item.aspects = _find_degrees(named, meaning, nearest, place)
    for item, sound in zip(rated, measure_soundness([i.reading for i in rated]), strict=True):
        item.sound = sound
    _find_foreign(rated, language)
    _find_contradictions(rated)
    _find_repeats(rated, meaning)
    return rated


def _measure(
    rated: Sequence[RatedItem],
    linked: Sequence[frozenset[str]],
    meaning: Meaning | None,
    described: frozenset[str],
    language: str | None,
) -> Features:
    """Measure features; an item that counts for nothing lends the others nothing."""
    saying = [item.reading for item in rated if item.is_good and item.said >= MIN_SAYING]
    return measure_features(
        [item.reading for item in rated],
        linked,
        meaning,
        is_counted=np.array([item.is_good for item in rated], dtype=bool),
        echo=measure_echo(saying, described, language),
        is_described=bool(described),
    )


def _read_said(item: RatedItem, finder: AspectFinder) -> None:
    """Find out how much an item says beside the words of the description."""
    reading = item.reading
    item.specifics = reading.specifics
    own = reading.specific - finder.stems
    said = len(own) + 2.0 * len(reading.specifics)
    item.said = min(1.0, said / FULL_SAID)
    item.is_filler = (
        not own
        or said < MIN_SAID
        or reading.build < MIN_BUILD
        or (reading.vagueness > MAX_VAGUE and not reading.specifics)
    )


def _rank_aspects(meaning: Meaning | None) -> NDArray[np.float64] | None:
    """Return how near items are to aspects, beside how near all others are to the same aspect."""
    if meaning is None or not meaning.aspects.shape[1]:
        return None
    known = meaning.aspects[~np.isnan(meaning.aspects).any(axis=1)]
    usual = known.mean(axis=0) if len(known) > 1 else 0.0
    return meaning.aspects - usual


def _find_degrees(
    named: Sequence[int],
    meaning: Meaning | None,
    nearest: NDArray[np.float64] | None,
    place: int,
) -> dict[int, float]:
    """Return how far an item is about each aspect that it names, or comes near to."""
    degrees = dict.fromkeys(named, 1.0)
    if meaning is None or nearest is None or np.isnan(nearest[place]).any():
        return degrees
    order = np.argsort(-nearest[place])
    for aspect, degree in zip(order.tolist(), NEAREST_DEGREES, strict=False):
        degrees[aspect] = max(degree, degrees.get(aspect, 0.0))
    for aspect, deviations in enumerate(meaning.aspects[place].tolist()):
        near = (deviations - ASPECT_FROM) / (ASPECT_TO - ASPECT_FROM)
        if near > degrees.get(aspect, 0.0):
            degrees[aspect] = min(1.0, near)
    return degrees


def _find_repeats(rated: Sequence[RatedItem], meaning: Meaning | None) -> None:
    """Mark what repeats an earlier item: its words, its sentences but for a noun, its meaning."""
    triples: dict[int, int] = {}
    pairs: dict[int, int] = {}
    others: dict[int, list[int]] = {}  # further items that have a pair
    frames: Counter[int] = Counter()
    for place, item in enumerate(rated):
        if item.is_filler:
            continue
        reading = item.reading
        known = map(triples.__getitem__, triples.keys() & reading.triples)
        owner = _find_owner(Counter(known), len(reading.triples))
        known_pairs = pairs.keys() & reading.pairs
        if owner is None or owner[1] < REPEATS_AT:
            first = map(pairs.__getitem__, known_pairs)
            further = map(others.__getitem__, others.keys() & known_pairs)
            counts = Counter(chain(first, chain.from_iterable(further)))
            found = _find_owner(counts, len(reading.pairs))
            owner = found if found is not None and found[1] >= REPEATS_PAIRS_AT else None
        is_template = any(frames[frame] >= MAX_FRAMES for frame in reading.frames)
        if owner is None and not is_template and meaning is not None:
            owner = _find_alike(item, place, rated, meaning)
        if owner is not None and owner[1] >= REPEATS_AT:
            item.repeats = rated[owner[0]].id
        elif is_template:
            item.repeats = next(
                other.id for other in rated if not reading.frames.isdisjoint(other.reading.frames)
            )
        frames.update(reading.frames)
        if item.repeats is None:
            triples.update(dict.fromkeys(reading.triples - triples.keys(), place))
            pairs.update(dict.fromkeys(reading.pairs - known_pairs, place))
            for pair in known_pairs:
                places = others.setdefault(pair, [])
                if len(places) < _MAX_COMPARED - 1:
                    places.append(place)


def _find_owner(counts: Mapping[int, int], shingles: int) -> tuple[int, float] | None:
    """Return the earlier item that has most of some shingles, and their share."""
    if not counts:
        return None
    best = min(counts, key=lambda place: (-counts[place], place))
    return best, counts[best] / shingles


def _find_alike(
    item: RatedItem, place: int, rated: Sequence[RatedItem], meaning: Meaning
) -> tuple[int, float] | None:
    """Return the earlier item that an item repeats in other words, and lower its novelty."""
    earlier = [other for other in range(place) if rated[other].is_good]
    if not earlier:
        return None
    near = meaning.alike[place, earlier]
    if np.isnan(near).all():
        return None
    best = int(np.nanargmax(near))
    alike = float(near[best])
    if alike >= ALIKE_TO:
        return earlier[best], 1.0
    item.novelty = min(1.0, max(0.0, (ALIKE_TO - alike) / (ALIKE_TO - ALIKE_FROM)))
    return None


def _find_foreign(rated: Sequence[RatedItem], language: str | None) -> None:
    """Mark items in a language that is not that of the others."""
    counts = Counter(item.reading.language for item in rated)
    for item in rated:
        own = item.reading.language
        is_rare = counts[own] <= max(1, MAX_FOREIGN * len(rated))
        item.is_foreign = own not in {None, language} and is_rare


def _find_contradictions(rated: Sequence[RatedItem]) -> None:
    """Mark items that contradict another one, or themselves.

    Whoever denies itself is compared with nobody, so that it costs only itself.
    """
    compared: list[Sequence[Statement]] = []
    for item in rated:
        statements = () if item.is_filler else item.reading.statements
        item.denies_itself = any(contradicts(*pair) for pair in combinations(statements, 2))
        compared.append(() if item.denies_itself else statements)
    for place, other in find_contradictions(compared).items():
        rated[place].contradicts = rated[other].id
    doubted = sum(
        bool(item.contradicts)
        or item.denies_itself
        or any(statement.is_turned for statement in item.reading.statements)
        for item in rated
    )
    if doubted >= max(MIN_CONTRADICTED, MIN_CONTRADICTED_SHARE * len(rated)):
        for item in rated:
            item.is_doubted = True


def _find_details(rated: Sequence[RatedItem]) -> None:
    """Find out how much each item adds that no earlier one has said."""
    known: set[tuple[str, str]] = set()
    words: set[str] = set()
    for item in rated:
        item.specifics = item.specifics - known
        if not item.is_good:
            item.specifics = frozenset()
            continue
        new = len(item.reading.specific - words)
        total = WORD_DETAIL * new + sum(DETAIL_WEIGHTS[kind] for kind, _ in item.specifics)
        item.detail = float(1.0 - np.exp(-total / DETAIL_SCALE))
        known |= item.specifics
        words |= item.reading.specific

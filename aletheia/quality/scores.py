"""How good a department's items are, told from the items alone (SPEC §4, Quality).

Four parts, each 0 to 100 and each with what it rests on:

    coverage 40 %       how many of the department's aspects have enough distinct items
    depth 30 %          how far the best items of each aspect go into detail
    coherence 20 %      how many items belong: to the department, to each other, said once
    actionability 10 %  how many of the items say who does what, when, and by which figure it shows

An item without substance (filler) or that repeats an earlier one adds to no part and lowers the
shares it is counted in. Adding an item to the end never lowers coverage or depth, as long as all
items are scored (`MAX_ITEMS`).

The aspects are the runs of words between function words, verbs and punctuation in the description:
of "Reviews contracts and advises on data protection" they are "contracts" and "data protection".
One more is the department as a whole, to which belongs whatever belongs to any of them; without a
description it is the only one, everything belongs to it, and the score tells amount and care, not
fit.

The lists of words are English, German, French and Spanish. In other languages fewer of the signs
are seen, so that scores are lower, never higher.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from statistics import fmean
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
import yaml
from numpy.typing import NDArray

from aletheia.items.departments import Department
from aletheia.text.facts import read_facts
from aletheia.text.normalisation import normalise

Part: TypeAlias = Literal["coverage", "depth", "coherence", "actionability"]

PARTS: Final[tuple[Part, ...]] = ("coverage", "depth", "coherence", "actionability")

WEIGHTS: Final[Mapping[Part, float]] = MappingProxyType(
    {"coverage": 0.4, "depth": 0.3, "coherence": 0.2, "actionability": 0.1}
)
"""Shares of the parts in the whole (SPEC §4, Quality)."""

WHOLE: Final = "the department as a whole"
"""Name of the aspect that every item belongs to that belongs to the department."""

ENOUGH_ITEMS: Final = 12
"""Distinct items that cover a department as a whole: the smallest batch (SPEC §4) twice, and some.
"""

ENOUGH_PER_ASPECT: Final = 2
"""Least items that cover an aspect; with few aspects more, so that all need `ENOUGH_ITEMS`."""

MAX_ASPECTS: Final = 12
"""Of a longer description, those named most often count."""

MAX_ASPECTS_PER_ITEM: Final = 3
"""An item that names more of them lists them; the first ones count."""

MIN_WORDS: Final = 4
"""Different words with a meaning of their own, below which a text has no substance.

On the hand-made sets of the tests empty phrases have up to 3, thin sentences 4 to 8, what a
colleague would sign from 11 on.
"""

FULL_WORDS: Final = 10
"""As many make an item count as a whole one; with fewer it counts for a part of one."""

DEEP_WORDS: Final = 20
"""As many are three full sentences, the middle of what generation asks for; the richest of the
hand-made ones have 21."""

FEW_ITEMS: Final = 4
"""With fewer items of substance there is hardly anything that could hang together."""

REPEATS_AT: Final = 0.5
"""Share of an item's word triples that one earlier item has, from which it repeats that one."""

MAX_ITEMS: Final = 1000
"""The newest ones are scored; twice what a run of 50 batches of 10 items makes (SPEC §4)."""

NEAR_COSINE: Final = 0.3
"""Raw cosine of an item and an aspect that belong together, for all-MiniLM-L6-v2: of the hand-made
sets of the tests, items to the point have 0.29 and more to their nearest aspect but for one with
0.15, all others 0.17 and less."""

MAX_IDS: Final = 20
"""Ids that evidence lists of one kind; the number beside them is exact."""

_MAX_DESCRIPTION_CHARS: Final = 8000
_MAX_ASPECT: Final = 4
_MIN_STEM: Final = 4
_VAGUE_SHARE: Final = 0.5
_LIST_SHARE: Final = 0.5
_LINKED_SHARE: Final = 0.3
_SHINGLE: Final = 3
_STRAY_SUMMARY: Final = 0.5
_STRAY_FIT: Final = 0.6
_STRAY_AT: Final = 0.5

_ENDINGS: Final = tuple(
    sorted(
        "ments ment ings ing ions ion ungen ung ies ied ed es en ern er ers em s e n y".split(),  # noqa: SIM905
        key=lambda ending: (-len(ending), ending),
    )
)

_UNSPACED: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_LETTER: Final = rf"[^\W\d_{_UNSPACED}]"
_WORD: Final = re.compile(rf"[{_UNSPACED}]|{_LETTER}(?:{_LETTER}|['\u2019-](?={_LETTER}))*")
_ELIDED: Final = re.compile(r"(?:qu|[cdjlmnst])['\u2019](?=\w{2})")
_WORD_OR_MARK: Final = re.compile(rf"{_WORD.pattern}|[^\w\s]|\d+")
_SEPARATOR: Final = re.compile(r"[,;:|/\u2022\u3001]")
_SENTENCE: Final = re.compile(r"[.!?\u2026](?=\s|$)|[\u3002\uff01\uff1f]")


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    """Bring a word to the form it shares with its inflections."""
    plain = unicodedata.normalize("NFKD", word.casefold())
    stem = "".join(one for one in plain if not unicodedata.combining(one))
    if elided := _ELIDED.match(stem):
        stem = stem[elided.end() :]
    stem = (
        stem.replace("'", "").replace("\u2019", "").replace("\N{LATIN SMALL LETTER SHARP S}", "ss")
    )
    while True:
        for ending in _ENDINGS:
            if stem.endswith(ending) and len(stem) - len(ending) >= _MIN_STEM:
                stem = stem[: -len(ending)]
                break
        else:
            return stem


def _load_words() -> Mapping[str, frozenset[str]]:
    text = resources.files("aletheia.quality").joinpath("quality_words.yaml").read_text("utf-8")
    lists = cast("dict[str, str]", yaml.safe_load(text))
    # Of verbs the very form counts: "plans" begins a clause, "planning" is what is dealt with.
    return {
        name: frozenset(words.split() if name == "verbs" else map(_stem, words.split()))
        for name, words in lists.items()
    }


_WORDS: Final = _load_words()
_STOP: Final = _WORDS["stop"]


@dataclass(frozen=True, slots=True)
class QualityItem:
    """An item as far as quality is concerned.

    Attributes:
        id: what it is saved as.
        content: the content itself.
        summary: its gist; documents of others may have none.
    """

    id: str
    content: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Aspect:
    """Something a department deals with.

    Attributes:
        name: in the department's own words, or `WHOLE`.
        stems: of its words; none for `WHOLE`.
    """

    name: str
    stems: frozenset[str]


@dataclass(frozen=True, slots=True)
class AspectVectors:
    """What an embedding model makes of items and aspects, so that other words are found as well.

    Attributes:
        items: `(n, d)`, one row an item, in their order; not zero.
        aspects: `(a, d)`, one row an aspect but `WHOLE`, in the order of `find_aspects`.
        at_cosine: raw cosine in `[-1, 1]`, inclusive, from which an item belongs to the aspect
            that is nearest to it, such as `NEAR_COSINE`.
    """

    items: NDArray[np.floating[Any]]
    aspects: NDArray[np.floating[Any]]
    at_cosine: float


@dataclass(frozen=True, slots=True)
class PartScore:
    """One part of a department's quality.

    Attributes:
        score: 0 to 100.
        evidence: what was counted, as JSON.
    """

    score: float
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a department's items are.

    Attributes:
        parts: all four.
        items: how many items there are.
        warnings: what limits the score's meaning, each a sentence.
    """

    parts: Mapping[Part, PartScore]
    items: int
    warnings: tuple[str, ...] = ()

    @property
    def scores(self) -> dict[Part, float]:
        """The parts' scores, 0 to 100."""
        return {part: self.parts[part].score for part in PARTS}

    @property
    def total(self) -> float:
        """The whole, 0 to 100."""
        return weigh_parts(self.scores)

    def to_document(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {
            "score": self.total,
            "items": self.items,
            "warnings": list(self.warnings),
            "parts": {
                part: {"score": one.score, "evidence": dict(one.evidence)}
                for part, one in self.parts.items()
            },
        }


def weigh_parts(scores: Mapping[Part, float]) -> float:
    """Put four parts together, 0 to 100."""
    return round(sum(WEIGHTS[part] * scores[part] for part in PARTS), 2)


def find_aspects(department: Department) -> tuple[Aspect, ...]:
    """Find what a department deals with, in its own words.

    Returns:
        At most `MAX_ASPECTS`, in the order of the description, and `WHOLE` behind them.
    """
    named: dict[frozenset[str], str] = {}
    counts: Counter[frozenset[str]] = Counter()
    for run in _runs_of(department.description[:_MAX_DESCRIPTION_CHARS]):
        stems = frozenset(map(_stem, run))
        known = next((one for one in named if one <= stems or stems <= one), None)
        if known is None:
            named[stems] = _join(run)
        counts[known or stems] += 1
    chosen = {stems for stems, _ in counts.most_common(MAX_ASPECTS)}
    own = [Aspect(name, stems) for stems, name in named.items() if stems in chosen]
    return (*own, Aspect(WHOLE, frozenset()))


def _runs_of(text: str) -> list[list[str]]:
    """Split a text at function words, numbers, punctuation, and verbs that begin a clause."""
    runs: list[list[str]] = [[]]
    for word in _WORD_OR_MARK.findall(text):
        # IT is a subject, it is none.
        is_name = word.isupper() and len(word) > 1
        stem = _stem(word)
        is_end = not word[0].isalpha() or (stem in _STOP and not is_name)
        if is_end or (not runs[-1] and word.casefold() in _WORDS["verbs"] and not is_name):
            runs.append([])
        else:
            runs[-1].append(word)
    return [run[-_MAX_ASPECT:] if run[0].isascii() else run for run in runs if _is_named(run)]


def _is_named(run: Sequence[str]) -> bool:
    return bool(run) and any(_stem(word) not in _WORDS["vague"] for word in run)


def _join(run: Sequence[str]) -> str:
    return ("" if re.fullmatch(f"[{_UNSPACED}]", run[0]) else " ").join(run)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a text holds, as far as it counts here.

    Attributes:
        order: its content words as stems, each once, in their order.
        specific: those with a meaning of their own.
        triples: hashes of its word triples.
        sentences: how many there are.
        figures: different numbers.
        signs: which of who, what, when and by which figure it says.
        reasons: different words for reasons and conditions.
        is_prose: whether it is sentences that end, mostly not vague, and no list of words.
    """

    order: tuple[str, ...]
    specific: frozenset[str]
    triples: frozenset[int]
    sentences: int
    figures: int
    signs: frozenset[str]
    reasons: int
    is_prose: bool


@lru_cache(maxsize=16_384)
def _read(text: str) -> _Reading:
    stems = [_stem(word) for word in _WORD.findall(text)]
    counted = dict.fromkeys(stem for stem in stems if stem not in _STOP)
    vague = _WORDS["vague"]
    specific = frozenset(stem for stem in counted if stem not in vague)
    present = frozenset(stems)
    figures = len(read_facts(text).quantities)
    signs = {
        "who": not present.isdisjoint(_WORDS["actors"]),
        "what": not present.isdisjoint(_WORDS["actions"]),
        "when": not present.isdisjoint(_WORDS["times"]),
        "figure": figures > 0,
    }
    words = normalise(text).split()
    sentences = len(_SENTENCE.findall(text))
    return _Reading(
        order=tuple(counted),
        specific=specific,
        triples=frozenset(
            hash(triple) for triple in zip(*(words[n:] for n in range(_SHINGLE)), strict=False)
        ),
        sentences=sentences,
        figures=figures,
        signs=frozenset(sign for sign, is_there in signs.items() if is_there),
        reasons=len(present & _WORDS["reasons"]),
        is_prose=sentences > 0
        and len(specific) > _VAGUE_SHARE * len(counted)
        and len(_SEPARATOR.findall(text)) < _LIST_SHARE * len(stems),
    )


@dataclass(slots=True)
class _Judged:
    """An item on its way through the estimators."""

    id: str
    reading: _Reading
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


def score_quality(
    department: Department,
    items: Sequence[QualityItem],
    *,
    vectors: AspectVectors | None = None,
) -> Quality:
    """Score a department's own items.

    Args:
        department: whose description names the aspects.
        items: its saved items, oldest first.
        vectors: of items and aspects, if there are any.

    Raises:
        ValueError: there is not one vector an item and one an aspect.
    """
    aspects = find_aspects(department)
    judged = _judge(items, aspects, vectors)
    members = _members(judged, len(aspects))
    warnings: list[str] = []
    if len(aspects) == 1:
        said = "The description names no aspects: the score does not tell whether items fit."
        warnings.append(said)
    if len(items) > MAX_ITEMS:
        warnings.append(f"Of {len(items)} items the newest {MAX_ITEMS} are scored.")
    parts: dict[Part, PartScore] = {
        "coverage": _score_coverage(aspects, members),
        "depth": _score_depth(aspects, members),
        "coherence": _score_coherence(judged, len(aspects) - 1),
        "actionability": _score_actionability(judged),
    }
    return Quality(MappingProxyType(parts), len(items), tuple(warnings))


def _judge(
    items: Sequence[QualityItem], aspects: Sequence[Aspect], vectors: AspectVectors | None
) -> list[_Judged]:
    own = aspects[:-1]
    nearest = _find_nearest(len(items), len(own), vectors)
    aspect_stems = frozenset(stem for aspect in own for stem in aspect.stems)
    by_stem: dict[str, list[int]] = {}
    for place, aspect in enumerate(own):
        for stem in aspect.stems:
            by_stem.setdefault(stem, []).append(place)
    owners: dict[int, int] = {}
    judged: list[_Judged] = []
    for place, item in enumerate(items[-MAX_ITEMS:]):
        reading = _read(item.content)
        substance = len(reading.specific - aspect_stems)
        one = _Judged(
            id=item.id,
            reading=reading,
            aspects=_name_aspects(reading, own, by_stem),
            is_filler=substance < MIN_WORDS or not reading.is_prose,
            repeats=_find_repeated(reading, owners, judged),
            summary=_read(item.summary).specific if item.summary else frozenset(),
        )
        if (near := nearest[place]) is not None and near not in one.aspects:
            one.aspects = [*one.aspects[: MAX_ASPECTS_PER_ITEM - 1], near]
        if one.is_good:
            one.weight = min(1.0, substance / FULL_WORDS)
            one.depth = _measure_depth(reading, substance)
            for triple in reading.triples:
                owners.setdefault(triple, place)
        judged.append(one)
    return judged


def _name_aspects(
    reading: _Reading, own: Sequence[Aspect], by_stem: Mapping[str, Sequence[int]]
) -> list[int]:
    """Find the aspects a text names, first named first.

    Two thirds of an aspect's words suffice, or half of them with the longest, which tells most.
    """
    hits: dict[int, list[str]] = {}
    for stem in reading.order:
        for place in by_stem.get(stem, ()):
            hits.setdefault(place, []).append(stem)
    named: list[int] = []
    for place, found in hits.items():
        stems = own[place].stems
        has_longest = max(map(len, found)) == max(map(len, stems))
        if len(found) >= len(stems) * (1 / 2 if has_longest else 2 / 3):
            named.append(place)
    return named[:MAX_ASPECTS_PER_ITEM]


def _find_nearest(items: int, aspects: int, vectors: AspectVectors | None) -> list[int | None]:
    """Find the aspect each scored item is nearest to; `None` where that is not near enough."""
    scored = min(items, MAX_ITEMS)
    if vectors is None:
        return [None] * scored
    if len(vectors.items) != items or len(vectors.aspects) != aspects:
        raise ValueError(
            f"{len(vectors.items)} and {len(vectors.aspects)} vectors are not those of {items} "
            f"items and {aspects} aspects"
        )
    if not items or not aspects:
        return [None] * scored
    cosines = _unit(vectors.items[-MAX_ITEMS:]) @ _unit(vectors.aspects).T
    best = np.argmax(cosines, axis=1)
    near = cosines[np.arange(len(best)), best] >= vectors.at_cosine
    return [int(place) if is_near else None for place, is_near in zip(best, near, strict=True)]


def _unit(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    full = np.asarray(rows, np.float64)
    return full / np.linalg.norm(full, axis=1, keepdims=True)


def _find_repeated(
    reading: _Reading, owners: Mapping[int, int], judged: Sequence[_Judged]
) -> str | None:
    """Name the earlier item that has at least half of a text's word triples."""
    if not reading.triples:
        return None
    enough = REPEATS_AT * len(reading.triples)
    found = [owners[triple] for triple in reading.triples if triple in owners]
    if len(found) < enough:
        return None
    seen = Counter(found)
    place = min(seen, key=lambda one: (-seen[one], one))
    return judged[place].id if seen[place] >= enough else None


def _measure_depth(reading: _Reading, substance: int) -> float:
    """Measure how far a text goes into detail, 0 to 1: extent, figures, reasons, sentences."""
    return (
        0.4 * min(1.0, substance / DEEP_WORDS)
        + 0.25 * min(1.0, reading.figures / 2)
        + 0.2 * min(1.0, reading.reasons / 2)
        + 0.15 * min(1.0, reading.sentences / 3)
    )


def _members(judged: Sequence[_Judged], aspects: int) -> list[list[_Judged]]:
    """Collect the good items of each aspect, those of the whole last."""
    members: list[list[_Judged]] = [[] for _ in range(aspects)]
    for one in judged:
        if one.is_good:
            for place in one.aspects:
                members[place].append(one)
            if one.aspects or aspects == 1:
                members[-1].append(one)
    return members


def _enough(aspects: Sequence[Aspect], place: int) -> int:
    """Say how many items an aspect needs."""
    if aspects[place].name == WHOLE:
        return ENOUGH_ITEMS
    return max(ENOUGH_PER_ASPECT, -(-ENOUGH_ITEMS // (len(aspects) - 1)))


def _score_coverage(aspects: Sequence[Aspect], members: Sequence[Sequence[_Judged]]) -> PartScore:
    shares: list[float] = []
    found: list[dict[str, Any]] = []
    for place, aspect in enumerate(aspects):
        enough = _enough(aspects, place)
        shares.append(min(1.0, sum(one.weight for one in members[place]) / enough))
        found.append(
            {
                "aspect": aspect.name,
                "covered": round(shares[-1], 4),
                "items": len(members[place]),
                "enough": enough,
                "item_ids": [one.id for one in members[place][:MAX_IDS]],
            }
        )
    return PartScore(_percent(fmean(shares)), {"aspects": found})


def _score_depth(aspects: Sequence[Aspect], members: Sequence[Sequence[_Judged]]) -> PartScore:
    depths: list[float] = []
    found: list[dict[str, Any]] = []
    for place, aspect in enumerate(aspects):
        enough = _enough(aspects, place)
        best = sorted(members[place], key=lambda one: -one.depth)[:enough]
        depths.append(sum(one.depth for one in best) / enough)
        found.append(
            {
                "aspect": aspect.name,
                "depth": round(depths[-1], 4),
                "of_best": enough,
                "item_ids": [one.id for one in best[:MAX_IDS]],
            }
        )
    return PartScore(_percent(fmean(depths)), {"aspects": found})


def _score_coherence(judged: Sequence[_Judged], own_aspects: int) -> PartScore:
    good = [one for one in judged if one.is_good]
    frequency = Counter(stem for one in good for stem in one.reading.specific)
    for one in good:
        linked = sum(frequency[stem] > 1 for stem in one.reading.specific)
        link = min(1.0, linked / (_LINKED_SHARE * len(one.reading.specific)))
        one.fit = (1.0 if one.aspects else _STRAY_FIT * link) if own_aspects else link
        if one.summary and one.summary.isdisjoint(one.reading.specific):
            one.fit *= _STRAY_SUMMARY
    evidence = {
        "items": len(judged),
        "fit": round(sum(one.fit for one in good), 2),
        "fillers": _list_ids([one.id for one in judged if one.is_filler]),
        "repeats": _list_ids(
            [one.id for one in judged if one.repeats is not None and not one.is_filler]
        ),
        "repeated": {
            one.id: one.repeats
            for one in [one for one in judged if one.repeats and not one.is_filler][:MAX_IDS]
        },
        "stray": _list_ids([one.id for one in good if one.fit < _STRAY_AT]),
    }
    return PartScore(_share_of([one.fit for one in good], judged), evidence)


def _score_actionability(judged: Sequence[_Judged]) -> PartScore:
    good = [one for one in judged if one.is_good]
    signs = Counter(sign for one in good for sign in one.reading.signs)
    weak = [one.id for one in good if "who" not in one.reading.signs or len(one.reading.signs) < 3]  # noqa: PLR2004 - of the four signs
    evidence = {
        "items": len(judged),
        "say": {sign: signs[sign] for sign in ("who", "what", "when", "figure")},
        "weak": _list_ids(weak),
    }
    # What is beside the point is no help, however clear it is.
    values = [one.fit * len(one.reading.signs) / 4 for one in good]
    return PartScore(_share_of(values, judged), evidence)


def _share_of(values: Sequence[float], judged: Sequence[_Judged]) -> float:
    """Average over all items, those that are no good counting nothing, and few counting less."""
    if not judged:
        return 0.0
    return _percent(sum(values) / len(judged) * min(1.0, len(values) / FEW_ITEMS))


def _list_ids(ids: Sequence[str]) -> dict[str, Any]:
    return {"count": len(ids), "item_ids": list(ids[:MAX_IDS])}


def _percent(share: float) -> float:
    return round(100 * min(1.0, max(0.0, share)), 2)

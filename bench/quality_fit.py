"""Fit the scale of quality to the graded sets: `python -m bench.quality_fit [--write]`.

Two questions are kept apart. Is an item content, and on this topic? The weights of what shows that
are fitted by logistic regression without negative weights: to the items of sets with and without
anything to use, each with its description and with the beginning of it, to the sets of others under
another department, and to items that got into the sets of others. How good is a set? The knots
of each part are fitted to the sets of experts, the usable and the thin ones alone: one thin set of
ten is below `USEFUL`, the middle one at 45, the middle usable one at 70, one expert set of ten is
below `GOOD`, the middle one at 90. Both are fitted with vectors, and for words alone.
Prints what each grade scores with a scale that was fitted without its department, and writes
`scale.json`.
"""

import argparse
import asyncio
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from aletheia.items.departments import Department
from aletheia.quality.belonging import MEANING_FEATURES, WORD_FEATURES, Aim, Features, Weights
from aletheia.quality.graded_sets import GRADES, SCORES, Grade, GradedSet, read_graded_sets
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import (
    PARTS,
    Knots,
    Part,
    Scale,
    count_parts,
    measure_set,
    texts_to_embed,
    weigh_parts,
)
from bench.dedup_corpus import MODEL, embed_texts
from bench.figures import console, print_json
from bench.judgement.material import make_department, make_items

SCALE: Final = Path(__file__).parents[1] / "aletheia" / "quality" / "scale.json"

USEFUL: Final = 30.0
GOOD: Final = 82.0
TOP: Final = 100.0
"""Scores of the lower ends of what is of use and of what experts hand over, and of the top."""

_USEFUL: Final = ("expert", "usable", "thin")
_BESIDE_THE_POINT: Final = frozenset({"praise", "questions", "mixed_languages", "headings"})
"""Kinds of nonsense whose items say nothing about the department; those of others are about it, and
found by their build, their words or their repetition."""

SHORT_WORDS: Final = 14
"""Of a description, as many people write it; the graded sets' have some forty."""

_GENRES: Final = frozenset(
    {"horoscope", "poem", "proverbs", "prayer", "conspiracy", "advertising", "jokes", "sports"}
    | {"fairy_tale", "diary", "negations_only", "grammatical_nonsense", "wrong_facts", "praise"}
)
"""Kinds of nonsense that do not sound like what is done; others do, and are found otherwise."""

_STRAY_KINDS: Final = frozenset({"praise", "instructions", "orders_in_disguise"})
"""Kinds of nonsense whose items belong nowhere."""

_STRIDE: Final = 37
_MAX_MIXED: Final = 10

_MIN_STEP: Final = 0.01
"""Of what is counted, 0 to 1, between two knots."""

_STEPS: Final = 3000
_RIDGE: Final = 0.0001

Raws = Mapping[Part, float]
Vectors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Case:
    """A set with what is measured of it."""

    graded: GradedSet
    features: Features
    items: int
    labels: Mapping[Aim, bool | None]  # of its items; `None`: nobody says so of each of them


@dataclass(frozen=True, slots=True)
class Fitted:
    """A scale without the kind of comparison that it is for."""

    belonging: Weights
    knots: Knots


def vary_sets(sets: Sequence[GradedSet]) -> list[GradedSet]:
    """Return the sets, useful ones under another department, too, and all with few words of it."""
    known = {graded.department.name: graded.department for graded in sets}
    strayed: list[GradedSet] = []
    for graded in sets:
        if graded.grade in _USEFUL:
            own = graded.department
            others = [d for d in known.values() if d.language == own.language and d != own]
            other = others[len(strayed) % len(others)]
            strayed.append(graded.model_copy(update={"department": other, "grade": "off_topic"}))
    varied = [*sets, *strayed]
    return [*varied, *map(_with_short_description, varied)]


def _with_short_description(graded: GradedSet) -> GradedSet:
    words = graded.department.description.split()[:SHORT_WORDS]
    short = " ".join(words).rstrip(",;: ")
    department = graded.department.model_copy(update={"description": f"{short}."})
    return graded.model_copy(update={"department": department})


async def embed_sets(sets: Sequence[GradedSet]) -> dict[str, NDArray[np.float32]]:
    """Embed all that the sets are compared by."""
    texts: dict[str, None] = {}
    for graded in sets:
        texts |= dict.fromkeys(texts_to_embed(*split_set(graded)))
    return await embed_texts(list(texts))


def split_set(graded: GradedSet) -> tuple[Department, list[QualityItem]]:
    """Return the department of a set, as the application would list it, and its items."""
    about = graded.department
    return make_department(about.name, about.description), make_items(graded.items)


def count_set(graded: GradedSet, vectors: Vectors | None, belonging: Weights) -> Raws:
    """Count the parts of a set."""
    scale = Scale({}, {"words": belonging, "meaning": belonging})
    counted, _ = count_parts(*split_set(graded), vectors, scale)
    return {part: counted[part].raw for part in PARTS}


def label_set(graded: GradedSet) -> dict[Aim, bool | None]:
    """Return what holds for each of a set's items."""
    if graded.grade in _USEFUL:
        return dict.fromkeys(MEANING_FEATURES, True)
    is_empty = graded.grade == "empty" or graded.kind in _BESIDE_THE_POINT
    return {
        "topical": False if graded.grade == "off_topic" else None,
        "related": None,
        "substantial": False if is_empty else None,
        "genuine": False if graded.kind in _GENRES else None,
    }


def measure_case(graded: GradedSet, vectors: Vectors | None) -> Case:
    """Measure the features of a set's items."""
    features = measure_set(*split_set(graded), vectors)
    return Case(graded, features, len(features["linked"]), label_set(graded))


def measure_strays(sets: Sequence[GradedSet], vectors: Vectors | None) -> list[Case]:
    """Measure items that got into the sets of others, each the last one of a set."""
    cases: list[Case] = []
    for place, graded in enumerate(sets):
        if graded.grade not in _USEFUL:
            continue
        own = graded.department
        others = [
            text
            for other in sets
            if other.department.language == own.language
            and (other.kind in _STRAY_KINDS or other.department.name != own.name)
            and other.grade != "empty"
            for text in other.items
        ]
        text = others[place * _STRIDE % len(others)]
        mixed = graded.model_copy(update={"items": (*graded.items[-_MAX_MIXED:], text)})
        features = measure_set(*split_set(mixed), vectors)
        last = {name: column[-1:] for name, column in features.items()}
        if len(features["linked"]) == len(mixed.items):
            labels: dict[Aim, bool | None] = dict.fromkeys(MEANING_FEATURES)
            labels["related"] = False
            cases.append(Case(graded, last, 1, labels))
    return cases


def fit_belonging(cases: Sequence[Case]) -> Weights:
    """Fit the weights of the features."""
    names = MEANING_FEATURES if "ahead" in cases[0].features else WORD_FEATURES
    return {aim: _fit_aim(cases, aim, features) for aim, features in names.items()}


def _fit_aim(cases: Sequence[Case], aim: Aim, names: Sequence[str]) -> dict[str, float]:
    """Fit the weights of one aim; both sides count alike, and so do cases of a side."""
    known = [(case, label) for case in cases if (label := case.labels[aim]) is not None]
    holding = sum(label for _, label in known)
    rows = np.vstack([np.column_stack([c.features[name] for name in names]) for c, _ in known])
    labels = np.concatenate([np.full(case.items, float(label)) for case, label in known])
    sides = {True: holding, False: len(known) - holding}
    share = np.concatenate(
        [np.full(case.items, 0.5 / max(1, case.items) / sides[label]) for case, label in known]
    )
    found = _descend(np.column_stack([rows, np.ones(len(rows))]), labels, share)
    return dict(zip((*names, "bias"), np.round(found, 4).tolist(), strict=True))


def fit_scale(sets: Sequence[GradedSet], cases: Sequence[Case], vectors: Vectors | None) -> Fitted:
    """Fit weights and knots to sets."""
    belonging = fit_belonging(cases)
    # Knots say what grades mean: they stand where people's own descriptions put them.
    own = [graded for graded in sets if graded in _own_sets() and graded.grade in _USEFUL]
    rows: list[tuple[Grade, Raws]] = [
        (graded.grade, count_set(graded, vectors, belonging)) for graded in own
    ]
    return Fitted(belonging, fit_knots(rows))


@cache
def _own_sets() -> frozenset[GradedSet]:
    return frozenset(read_graded_sets())


def _descend(
    rows: NDArray[np.float64], labels: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights of least logistic loss, all but the last 0 at least."""
    curvature = 0.25 * float(np.linalg.eigvalsh((rows * share[:, np.newaxis]).T @ rows)[-1])
    rate = 1.0 / (curvature + _RIDGE)
    weights = ahead = np.zeros(rows.shape[1])
    momentum = 1.0
    for _ in range(_STEPS):
        error = share * (1.0 / (1.0 + np.exp(-(rows @ ahead))) - labels)
        stepped = ahead - rate * (rows.T @ error + _RIDGE * ahead)
        stepped[:-1] = np.maximum(0.0, stepped[:-1])
        following = (1.0 + math.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        ahead = stepped + (momentum - 1.0) / following * (stepped - weights)
        weights, momentum = stepped, following
    return weights


def fit_knots(rows: Sequence[tuple[Grade, Raws]]) -> Knots:
    """Fit the knots of each part to what was counted of sets with a grade."""
    return {part: _fit_part([(grade, raws[part]) for grade, raws in rows]) for part in PARTS}


def _fit_part(rows: Sequence[tuple[Grade, float]]) -> list[tuple[float, float]]:
    def quantile(grades: Sequence[str], share: float) -> float:
        return float(np.quantile([raw for grade, raw in rows if grade in grades], share))

    anchors = [
        (quantile(("thin",), 0.1), USEFUL),
        (quantile(("thin",), 0.5), 45.0),
        (quantile(("usable",), 0.5), 70.0),
        (quantile(("expert",), 0.1), GOOD),
        (quantile(("expert",), 0.5), 90.0),
    ]
    knots = [(0.0, 0.0)]
    for raw, score in anchors:
        # Where grades overlap, the better one moves up.
        knots.append((round(max(raw, knots[-1][0] + _MIN_STEP), 4), score))
    return [*knots, (max(1.0, round(knots[-1][0] + _MIN_STEP, 4)), 100.0)]


def score_raws(raws: Raws, knots: Knots) -> float:
    """Return the whole of a set on a scale."""
    scores: dict[Part, float] = {}
    for part in PARTS:
        counted, scored = zip(*knots[part], strict=True)
        scores[part] = float(np.interp(raws[part], counted, scored))
    return weigh_parts(scores)


def cross_validate(
    sets: Sequence[GradedSet], cases: Sequence[Case], vectors: Vectors | None
) -> list[float]:
    """Score each set with a scale that was fitted without its department."""
    scores: dict[int, float] = {}
    for name in dict.fromkeys(graded.department.name for graded in sets):
        others = [graded for graded in sets if graded.department.name != name]
        fitted = fit_scale(
            others, [case for case in cases if case.graded.department.name != name], vectors
        )
        for place, graded in enumerate(sets):
            if graded.department.name == name:
                raws = count_set(graded, vectors, fitted.belonging)
                scores[place] = score_raws(raws, fitted.knots)
    return [scores[place] for place in range(len(sets))]


def is_in_range(grade: Grade, score: float) -> bool:
    """Return whether a score is one of its grade's."""
    low, high = SCORES[grade]
    return low <= score < high or score == high == TOP


def tabulate(sets: Sequence[GradedSet], scores: Sequence[float], kind: str) -> Table:
    """Return a table of what each grade scores."""
    title = f"Graded sets by {kind}, each scored without its department"
    table = Table(title=title, title_justify="left")
    for heading in ("grade", "sets", "least", "middle", "most", "in range"):
        table.add_column(heading, justify="left" if heading == "grade" else "right")
    for grade in GRADES:
        pairs = zip(sets, scores, strict=True)
        found = sorted(score for graded, score in pairs if graded.grade == grade)
        if found:
            inside = sum(is_in_range(grade, score) for score in found) / len(found)
            figures = (found[0], float(np.median(found)), found[-1])
            table.add_row(
                grade, str(len(found)), *(f"{figure:.0f}" for figure in figures), f"{inside:.0%}"
            )
    return table


async def main(*, is_written: bool, is_shown: bool) -> None:
    """Fit, print and, where asked, write."""
    sets = vary_sets(read_graded_sets())
    embedded = await embed_sets(sets)
    out = console()
    knots: dict[str, Any] = {}
    belonging: dict[str, Any] = {}
    figures: dict[str, float] = {}
    for kind, vectors in (("words", None), ("meaning", embedded)):
        cases = [case for graded in sets if (case := measure_case(graded, vectors)).items]
        cases += measure_strays(sets, vectors)
        fitted = fit_scale(sets, cases, vectors)
        scores = cross_validate(sets, cases, vectors)
        out.print(tabulate(sets, scores, kind))
        inside = [is_in_range(g.grade, score) for g, score in zip(sets, scores, strict=True)]
        figures[f"in_range_{kind}"] = round(sum(inside) / len(inside), 4)
        knots[kind] = {part: list(fitted.knots[part]) for part in PARTS}
        belonging[kind] = fitted.belonging
        for graded, score in zip(sets, scores, strict=True) if is_shown else ():
            mark = " " if is_in_range(graded.grade, score) else "!"
            name = f"{graded.department.language} {graded.department.name} {graded.kind}"
            out.print(f"{mark} {graded.grade:9} {score:5.1f}  {name}", highlight=False)
    own = read_graded_sets()
    labels = json.dumps([graded.model_dump() for graded in own])
    source: dict[str, Any] = {
        "command": "python -m bench.quality_fit --write",
        "model": MODEL,
        "sets": dict(sorted(Counter(graded.grade for graded in own).items())),
        "labels": hashlib.sha256(labels.encode()).hexdigest(),
    }
    if is_written:
        document = {"source": source, "knots": knots, "belonging": belonging}
        SCALE.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print_json({**figures, **source})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.quality_fit", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the scale that is shipped")
    parser.add_argument("--show", action="store_true", help="print every set")
    asked = parser.parse_args()
    asyncio.run(main(is_written=asked.write, is_shown=asked.show))

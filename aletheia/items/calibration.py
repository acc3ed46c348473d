"""One scale of similarity for all embedding models (SPEC §4, Dedup).

A model's raw cosines are mapped to [0, 1] by straight lines between knots, which are fitted on
labelled pairs. Three places on the scale have the same meaning for every model:

    0.80  where the grey zone begins: 95 % of the duplicates reach this cosine
    0.90  where two items are the same: the cosine with the best F1
    0.97  where the grey zone ends: 10 % of the duplicates reach this cosine

In the grey zone a judge is worth asking: below it there are hardly any duplicates, above it lie the
repetitions of a model.

The labelled items were written for this project and come with it, in groups: an item, the same
point in other words (closely, then freely), and points that only look alike. Pairs come from within
a group, and from the items of different groups of one topic. No topic is in both splits.
"""

import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import combinations
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from aletheia.llm.structured import explain

log = logging.getLogger(__name__)

DUPLICATE_AT: Final = 0.90
"""Calibrated similarity, inclusive, from which two items are the same (SPEC §4, Dedup)."""

GREY_FROM: Final = 0.80
GREY_TO: Final = 0.97
"""Bounds of the grey zone on the calibrated scale; the lower one is inclusive."""

GREY_FROM_RECALL: Final = 0.95
GREY_TO_RECALL: Final = 0.10
"""Shares of the calibration split's duplicates that reach those bounds."""

Embed: TypeAlias = Callable[[Sequence[str]], Awaitable[NDArray[np.floating[Any]]]]
"""Turns `n` texts into `(n, d)` vectors of the full texts, in order."""


Split: TypeAlias = Literal["calibration", "test"]

OTHER_GROUP: Final = "group"
"""`kind` of a pair of items from different groups."""


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One item of the file."""

    topic: str  # what it is about
    group: int  # its number in the split, from 0
    text: str
    kind: str  # in what it differs from its group's point; empty if it makes that point
    is_item: bool = False  # whether it is the one its group began with


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two items, by their places in the split, and whether they make the same point.

    Others differ in their `kind`: `number`, `unit`, `negation`, `opposite`, `subject` (one text
    about two things), `scope` (who or how is another), `point` (another point about the same
    thing) or `group`.
    """

    one: int
    other: int
    is_duplicate: bool
    kind: str


@cache
def read_texts(split: Split) -> tuple[LabelledText, ...]:
    """Read the items of a split."""
    groups = enumerate(_read_groups(split))
    return tuple(text for number, group in groups for text in _read_group(number, group))


def pair_up(texts: Sequence[LabelledText]) -> list[LabelledPair]:
    """Make the pairs of a split."""
    return [
        LabelledPair(i, j, not kind, kind)
        for (i, text), (j, other) in combinations(enumerate(texts), 2)
        if (kind := _kind(text, other)) is not None
    ]


def hash_labels() -> str:
    """Return the SHA-256 of the files without their comments, 64 hexadecimal digits."""
    content = [_read_groups("calibration"), _read_groups("test")]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of a threshold over so many pairs, with so many duplicates among them."""

    pairs: int
    duplicates: int
    precision: float  # share of duplicates among the pairs called one; 1 if none was
    recall: float  # share of the duplicates that were called one; 1 if there are none
    f1: float


def measure_accuracy(called: NDArray[np.bool_], is_duplicate: NDArray[np.bool_]) -> Accuracy:
    """Return how well calls match labels, both `(n,)`."""
    hits, called_so, there = (int(x.sum()) for x in (called & is_duplicate, called, is_duplicate))
    return Accuracy(
        pairs=len(called),
        duplicates=there,
        precision=hits / called_so if called_so else 1.0,
        recall=hits / there if there else 1.0,
        f1=2 * hits / (called_so + there) if called_so + there else 1.0,
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """The scale of one embedding model.

    Its knots are pairs of raw cosine and score, which rise from 0 to 1; all else is a `ValueError`.
    Lower cosines than the first have score 0, higher ones than the last have score 1.
    """

    model: str
    knots: tuple[tuple[float, float], ...]
    labels: str = ""  # hash of the labelled items that it was fitted on
    fitted: Accuracy | None = None  # of the threshold, on its split; `None` if nothing was fitted
    tested: Accuracy | None = None  # the same on the other split

    def __post_init__(self) -> None:
        table = np.array(self.knots, np.float64)
        is_table = table.ndim == 2 and len(table) > 1 and table.shape[1] == 2  # noqa: PLR2004 - pairs
        if not is_table or not np.isfinite(table).all() or not (np.diff(table, axis=0) > 0).all():
            raise ValueError(f"the knots of {self.model!r} do not rise: {self.knots!r}")
        if table[0, 1] != 0 or table[-1, 1] != 1 or table[0, 0] < -1 or table[-1, 0] > 1:
            raise ValueError(f"the knots of {self.model!r} do not span the scale: {self.knots!r}")

    def to_score(self, cosine: float) -> float:
        """Map a raw cosine to the scale, `[0, 1]`."""
        cosines, scores = zip(*self.knots, strict=True)
        return float(np.interp(cosine, cosines, scores))

    def to_cosine(self, score: float) -> float:
        """Map a score in `[0, 1]` to the one raw cosine that has it."""
        if not 0 <= score <= 1:
            raise ValueError(f"a score must be in [0, 1], not {score!r}")
        cosines, scores = zip(*self.knots, strict=True)
        return float(np.interp(score, scores, cosines))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Calibration":
        """Return what `asdict` made of one; anything else is a `ValueError`."""
        try:
            return TypeAdapter(cls).validate_python(document)
        except ValidationError as error:
            raise ValueError(f"not a calibration: {explain(error)}") from error


def identity(model: str) -> Calibration:
    """Return the scale of a model that was not calibrated: the cosine itself, not below 0."""
    return Calibration(model, ((0.0, 0.0), (1.0, 1.0)))


def fit_calibration(
    model: str, cosines: NDArray[np.float64], is_duplicate: NDArray[np.bool_]
) -> Calibration:
    """Fit a model's scale to the raw cosines of labelled pairs, both `(n,)`.

    Raises:
        ValueError: there are not both kinds of pairs, a cosine is none, or no threshold between 0
            and 1 is any good.
    """
    if len(cosines) != len(is_duplicate) or not (np.abs(cosines) <= 1 + 1e-6).all():
        raise ValueError("every pair needs a label and a cosine")
    if is_duplicate.all() or not is_duplicate.any():
        raise ValueError("there must be duplicates and other pairs to tell apart")
    at = _best_threshold(cosines, is_duplicate)
    low, high = np.quantile(cosines[is_duplicate], [1 - GREY_FROM_RECALL, 1 - GREY_TO_RECALL])
    knots = [(0.0, 0.0)]
    for cosine, score in ((float(low), GREY_FROM), (at, DUPLICATE_AT), (float(high), GREY_TO)):
        # The threshold stands; a bound on its wrong side is left out, and the line goes on.
        is_before = score < DUPLICATE_AT and 0 < cosine < at
        if is_before or score == DUPLICATE_AT or (score > DUPLICATE_AT and at < cosine < 1):
            knots.append((round(cosine, 6), score))
    fitted = measure_accuracy(cosines >= at, is_duplicate)
    return Calibration(model, (*knots, (1.0, 1.0)), fitted=fitted)


async def calibrate(model: str, embed: Embed) -> Calibration:
    """Fit a model's scale to the labelled pairs, and test it on those that nothing is fitted on.

    Raises:
        ValueError: its vectors cannot tell the pairs apart.
    """
    fitted = fit_calibration(model, *await _measure_pairs("calibration", embed))
    cosines, is_duplicate = await _measure_pairs("test", embed)
    tested = measure_accuracy(cosines >= fitted.to_cosine(DUPLICATE_AT), is_duplicate)
    return replace(fitted, labels=hash_labels(), tested=tested)


def calibration_file(model: str) -> Traversable:
    """Return the file of a model's calibration, which need not exist; names ignore case."""
    name = re.sub(r"[^a-z0-9.-]+", "--", model.casefold())
    return files("aletheia.items").joinpath("calibrations", f"{name}.json")


@cache
def shipped_calibration(model: str) -> Calibration:
    """Return the calibration that comes with Aletheia or, with a warning, the identity."""
    source = calibration_file(model)
    if source.is_file():
        return Calibration.from_document(json.loads(source.read_text(encoding="utf-8")))
    log.warning("%s is not calibrated: its raw cosines are taken as they are", model)
    return identity(model)


async def _measure_pairs(
    split: Split, embed: Embed
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the raw cosines of a split's pairs, and their labels, both `(n,)`."""
    texts = read_texts(split)
    pairs = pair_up(texts)
    vectors = (await embed([text.text for text in texts])).astype(np.float64)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    left, right = np.array([(pair.one, pair.other) for pair in pairs]).T
    cosines = np.einsum("ij,ij->i", units[left], units[right])
    return cosines, np.array([pair.is_duplicate for pair in pairs])


def _best_threshold(cosines: NDArray[np.float64], is_duplicate: NDArray[np.bool_]) -> float:
    """Return the raw cosine with the best F1, in the middle of its gap; of equals the highest."""
    order = np.argsort(-cosines, kind="stable")
    falling, hits = cosines[order], np.cumsum(is_duplicate[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
    is_gap = np.append(falling[:-1] > falling[1:], True)
    best = int(np.argmax(np.where(is_gap, f1, -1)))
    below = falling[best + 1] if best + 1 < len(falling) else falling[best]
    at = round(float(falling[best] + below) / 2, 6)
    if not 0 < at < 1:
        raise ValueError(f"no cosine between 0 and 1 tells duplicates apart; best was {at!r}")
    return at


def _read_groups(split: Split) -> list[dict[str, Any]]:
    source = files("aletheia.items").joinpath("labelled", f"{split}.yaml")
    return yaml.safe_load(source.read_text(encoding="utf-8"))


def _kind(text: LabelledText, other: LabelledText) -> str | None:
    """Return in what two texts differ; `None` where that is not labelled."""
    if text.group == other.group:
        return None if text.kind and other.kind else text.kind or other.kind
    is_pair = text.topic == other.topic and text.is_item and other.is_item
    return OTHER_GROUP if is_pair else None


def _read_group(number: int, group: dict[str, Any]) -> Iterator[LabelledText]:
    topic = group["topic"]
    yield LabelledText(topic, number, group["item"], "", is_item=True)
    for text in group["same"]:
        yield LabelledText(topic, number, text, "")
    for other in group["other"]:
        yield LabelledText(topic, number, other["text"], other["kind"])

"""The labelled items, and the pairs that are made of them.

They were written for this project and come with it, one file a split and language, in groups: an
item, the same point in other words (closely, then freely), and points that only look alike. Pairs
come from within a group, and from the items of different groups of one topic; candidates are pairs
of an item and its nearest. No topic is in both splits.

Other files have the items of whole departments, as batches of a run bring them: some are said
again, many are close neighbours. They show how often what is met.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import yaml
from numpy.typing import NDArray

NEAREST: Final = 20
"""Items that are candidates for being repeated: so many nearest ones (SPEC §4, Dedup)."""

Split: TypeAlias = Literal["calibration", "test"]

SPLITS: Final[tuple[Split, ...]] = ("calibration", "test")
"""The one that is fitted on, and the one that it is tested on."""

Language: TypeAlias = Literal["en", "de", "es", "fr"]

LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
"""Languages of the labelled items (ISO 639-1), in the order in which a split has them."""

OTHER_GROUP: Final = "group"
"""`kind` of a pair of items from different groups."""

OTHER_POINT: Final = "point"
"""`kind` of an item of a group that is about the same thing, and says something else of it."""


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One item of a file."""

    topic: str  # what it is about
    group: int  # its number in the split, from 0
    text: str
    kind: str  # in what it differs from its group's point; empty if it makes that point
    is_item: bool = False  # whether it is the one its group began with
    is_of_department: bool = False  # whether all items of its topic are here, as a run has them
    language: Language = "en"


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two items, by their places in the split, and whether they make the same point.

    Others differ in their `kind`: `number`, `glued` (a number with letters or a sign, such as Q1,
    FY24 or -5), `unit`, `date`, `month`, `weekday`, `ordinal`, `quarter`, `version`, `comparison`,
    `negation`, `antonym` (one word of the opposite sense), `opposite` (the claim turned round),
    `role` (the same words in other places), `name`, `subject` (one text about two things), `scope`
    (who or how is another), `point` (another point about the same thing) or `group`.
    """

    one: int
    other: int
    is_duplicate: bool
    kind: str


@cache
def read_texts(split: Split) -> tuple[LabelledText, ...]:
    """Read the items of a split."""
    groups = _read_groups(split)
    texts = [text for number, group in enumerate(groups) for text in _read_group(number, group)]
    return (*texts, *_read_departments(split, len(groups)))


def pair_up(texts: Sequence[LabelledText]) -> list[LabelledPair]:
    """Make the pairs of a split."""
    return [
        LabelledPair(i, j, not kind, kind)
        for (i, text), (j, other) in combinations(enumerate(texts), 2)
        if (kind := _kind(text, other)) is not None
    ]


def hash_labels() -> str:
    """Return the SHA-256 of the files without their comments, 64 hexadecimal digits."""
    content = [_read_groups(split) for split in SPLITS]
    content += [_read_files(f"departments.{split}") for split in SPLITS]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def pair_candidates(
    texts: Sequence[LabelledText], units: NDArray[np.float64]
) -> list[LabelledPair]:
    """Pair each text of a split with its nearest, and with all of its group that repeat it.

    Args:
        texts: `n` of them.
        units: their unit vectors, `(n, d)`.

    Returns:
        Each pair once, without those that are not labelled; those of different topics make
        different points.
    """
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEAREST].tolist()
    chosen = {(min(at, other), max(at, other)) for at, row in enumerate(nearest) for other in row}
    chosen |= {(pair.one, pair.other) for pair in pair_up(texts) if pair.is_duplicate}
    return [
        LabelledPair(one, other, not kind, kind)
        for one, other in sorted(chosen)
        if (kind := _kind_of_candidates(texts[one], texts[other])) is not None
    ]


def _read_groups(split: Split) -> list[dict[str, Any]]:
    """Return a split's groups as its files have them, each with its language."""
    return _read_files(split)


def _read_files(name: str) -> list[dict[str, Any]]:
    """Return what the files of a name have, one a language, each entry with its language."""
    folder = files("aletheia.items").joinpath("labelled")
    return [
        {"language": language, **entry}
        for language in LANGUAGES
        for entry in yaml.safe_load(
            folder.joinpath(f"{name}.{language}.yaml").read_text(encoding="utf-8")
        )
    ]


def _read_departments(split: Split, first_group: int) -> Iterator[LabelledText]:
    number = first_group
    for department in _read_files(f"departments.{split}"):
        for texts in department["items"]:
            for place, text in enumerate(texts):
                yield LabelledText(
                    department["topic"],
                    number,
                    text,
                    "",
                    is_item=place == 0,
                    language=department["language"],
                    is_of_department=True,
                )
            number += 1


def _kind(text: LabelledText, other: LabelledText) -> str | None:
    """Return in what two texts differ; `None` where that is not labelled."""
    if text.group == other.group:
        return None if text.kind and other.kind else text.kind or other.kind
    is_pair = text.topic == other.topic and text.is_item and other.is_item
    return OTHER_GROUP if is_pair else None


def _read_group(number: int, group: dict[str, Any]) -> Iterator[LabelledText]:
    topic, language = group["topic"], group["language"]
    yield LabelledText(topic, number, group["item"], "", is_item=True, language=language)
    for text in group["same"]:
        yield LabelledText(topic, number, text, "", language=language)
    for other in group["other"]:
        yield LabelledText(topic, number, other["text"], other["kind"], language=language)


def _kind_of_candidates(text: LabelledText, other: LabelledText) -> str | None:
    return _kind(text, other) if text.group == other.group else OTHER_GROUP

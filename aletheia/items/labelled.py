"""Labelled pairs of items, which make the same point or do not (SPEC §4, Dedup).

The items were written for this project and come with it, in groups: an item, the same point in
other words (closely, then freely), and points that only look alike. Pairs come from within a group,
and from the items of different groups of one topic. No topic is in both splits.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations
from typing import Any, Final, Literal, TypeAlias

import yaml

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

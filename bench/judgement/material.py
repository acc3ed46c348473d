"""The material of the bench, written for it: nothing in the product is fitted on any of it."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from aletheia.items.departments import Department
from aletheia.quality.scores import QualityItem

Language = Literal["en", "de", "es", "fr"]

GRADES: Final = ("expert", "usable", "thin", "off_topic", "empty")
"""Grades of a department's items, the best first; the last two have no order between them."""


class _Material(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    language: Language


class Pair(_Material):
    """Two texts; `kind` says in what they differ, or how the second one says the same."""

    kind: str
    a: str
    b: str


class CorpusItem(BaseModel):
    """An item of a corpus; those of one `group` make one point."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str
    group: str


class Corpus(_Material):
    """What a run would hold: items of one department, and which of them repeat which."""

    topic: str
    items: tuple[CorpusItem, ...]


class ItemSet(_Material):
    """Items of a department."""

    department: str
    description: str
    items: tuple[str, ...]
    kind: str = ""


class GradedDepartment(_Material):
    """A department, with items of each of `GRADES`."""

    department: str
    description: str
    grades: dict[str, tuple[str, ...]]


class _Described(_Material):
    name: str
    description: str


class _HeldOut(BaseModel):
    """A set of a file: a department, its items, their grade or kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    department: _Described
    items: tuple[str, ...]
    grade: str = ""
    kind: str = ""

    def to_set(self) -> ItemSet:
        """Return it as a set of items."""
        about = self.department
        return ItemSet(
            language=about.language,
            department=about.name,
            description=about.description,
            items=self.items,
            kind=self.kind,
        )


class Injection(_Material):
    """A text that tries to give a judge orders."""

    place: Literal["item", "description", "title"]
    text: str


def read_minimal_pairs() -> list[Pair]:
    """Read texts that align but for a few words, and differ in meaning."""
    return [Pair.model_validate(row) for row in _load("minimal_pairs")]


def read_paraphrases() -> list[Pair]:
    """Read texts that make one point in other words."""
    return [Pair.model_validate(row) for row in _load("paraphrases")]


def read_corpora() -> list[Corpus]:
    """Read the corpora with repetitions."""
    return [Corpus.model_validate(row) for row in _load("candidates")]


def read_departments() -> list[GradedDepartment]:
    """Read the graded departments."""
    grades: dict[_Described, dict[str, tuple[str, ...]]] = {}
    for row in _read_held_out("graded"):
        grades.setdefault(row.department, {})[row.grade] = row.items
    return [
        GradedDepartment(
            language=about.language,
            department=about.name,
            description=about.description,
            grades=items,
        )
        for about, items in grades.items()
    ]


def read_sets(name: Literal["expert", "thin", "nonsense"]) -> list[ItemSet]:
    """Read the sets that experts hand over, thin ones, or nonsense."""
    return [row.to_set() for row in _read_held_out(name)]


def read_injections() -> list[Injection]:
    """Read the texts with orders to a judge."""
    return [Injection.model_validate(row) for row in _load("injections")]


def _read_held_out(name: str) -> list[_HeldOut]:
    return [_HeldOut.model_validate(row) for row in _load(name)]


def make_department(name: str, description: str) -> Department:
    """Make a department as the application would list it."""
    return Department(
        id="bench",
        slug="bench",
        name=name,
        description=description,
        gather_check=True,
        is_active=True,
    )


def make_items(texts: Sequence[str]) -> list[QualityItem]:
    """Make items as quality sees them."""
    return [QualityItem(f"item-{place}", text) for place, text in enumerate(texts, start=1)]


def _load(name: str) -> list[Any]:
    source = files("bench").joinpath("data", "judgement", f"{name}.yaml")
    return yaml.load(source.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)

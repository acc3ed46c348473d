"""The material of the bench, written for it: nothing in the product is fitted on any of it."""

from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict

from aletheia.items.departments import Department
from aletheia.quality.scores import QualityItem

Language = Literal["en", "de", "es", "fr"]

GRADES = ("good", "usable", "shallow", "off_topic", "empty")
"""Grades of a department's items, the best first; the last two have no order between them."""


_GRADES: Final = {"expert": "good", "thin": "shallow"}
_HELD_OUT: Final = {"experts": "expert", "thin": "thin", "nonsense": "nonsense"}
"""What grades and files of `bench/data/judgement` are called here, and the other way round."""


class _Material(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    language: Language


Row = TypeVar("Row", bound=_Material)


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
    """A set of `bench/data/judgement`: a department, its items, their grade or kind."""

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
    return [Pair.model_validate(row) for row in _load_held_out("minimal_pairs")]


def read_paraphrases() -> list[Pair]:
    """Read texts that make one point in other words."""
    return [Pair.model_validate(row) for row in _load_held_out("paraphrases")]


def read_corpora() -> list[Corpus]:
    """Read the corpora with repetitions."""
    return [Corpus.model_validate(row) for row in _load_held_out("candidates")]


def read_departments() -> list[GradedDepartment]:
    """Read the graded departments."""
    return [*_read("departments", GradedDepartment), *_read_graded()]


def read_sets(name: Literal["experts", "thin", "nonsense"]) -> list[ItemSet]:
    """Read the sets that experts hand over, thin ones, or nonsense."""
    return [*_read(name, ItemSet), *(row.to_set() for row in _read_held_out(_HELD_OUT[name]))]


def read_injections() -> list[Injection]:
    """Read the texts with orders to a judge."""
    more = _load_held_out("injections")
    return [*_read("injections", Injection), *map(Injection.model_validate, more)]


def _read_graded() -> list[GradedDepartment]:
    grades: dict[_Described, dict[str, tuple[str, ...]]] = {}
    for row in _read_held_out("graded"):
        grades.setdefault(row.department, {})[_GRADES.get(row.grade, row.grade)] = row.items
    return [
        GradedDepartment(
            language=about.language,
            department=about.name,
            description=about.description,
            grades=items,
        )
        for about, items in grades.items()
    ]


def _read_held_out(name: str) -> list[_HeldOut]:
    return [_HeldOut.model_validate(row) for row in _load_held_out(name)]


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


def _read(name: str, row: type[Row]) -> list[Row]:
    rows = _load(files("bench.judgement").joinpath("data", f"{name}.yaml"))
    return [row.model_validate(found) for found in rows]


def _load_held_out(name: str) -> list[Any]:
    return _load(files("bench").joinpath("data", "judgement", f"{name}.yaml"))


def _load(source: Traversable) -> list[Any]:
    return yaml.load(source.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)

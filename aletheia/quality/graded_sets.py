"""Graded sets of items: what the grades of quality mean (SPEC §4, Quality).

They were written for this project and come with it, one file a department. From the best down:

    expert      what people who know the matter would hand over
    usable      right, with gaps: aspects are missing, or specifics
    thin        few, short and right
    empty       phrases that would fit any department
    off_topic   good prose about another trade
    nonsense    made to be counted rather than read; `kind` says how

The last three have no order between them.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from aletheia.items.labelled_pairs import Language

Grade: TypeAlias = Literal["expert", "usable", "thin", "empty", "off_topic", "nonsense"]

GRADES: Final[tuple[Grade, ...]] = get_args(Grade)

SCORES: Final[Mapping[Grade, tuple[float, float]]] = {
    "expert": (80, 100),
    "usable": (60, 80),
    "thin": (30, 60),
    "empty": (0, 30),
    "off_topic": (0, 30),
    "nonsense": (0, 30),
}
"""From where, inclusive, to where a set of a grade scores, 0 to 100; 100 itself is an expert's."""

MIN_ITEMS: Final = 6
MAX_ITEMS: Final = 16
"""Of a set: what a department has after one or two batches (SPEC §4)."""

_Text: TypeAlias = Annotated[str, Field(min_length=1)]


class GradedDepartment(BaseModel):
    """The department that a set of items is about; its description names several aspects."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Text
    description: _Text
    language: Language


class GradedSet(BaseModel):
    """Items of a department and their grade; `kind` is of nonsense only, and names its making."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    department: GradedDepartment
    grade: Grade
    kind: str = ""
    items: Annotated[tuple[_Text, ...], Field(min_length=MIN_ITEMS, max_length=MAX_ITEMS)]


_SETS: Final = TypeAdapter(tuple[GradedSet, ...])


@cache
def read_graded_sets() -> tuple[GradedSet, ...]:
    """Read all sets, those of a department one behind the other.

    Raises:
        ValueError: a file is not of this form.
    """
    return tuple(graded for file in _find_files() for graded in _read_file(file))


def _find_files() -> list[Traversable]:
    folder = files("aletheia.quality").joinpath("graded")
    found = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    return sorted(found, key=lambda file: file.name)


def _read_file(file: Traversable) -> Iterator[GradedSet]:
    document: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    yield from _SETS.validate_python(document)

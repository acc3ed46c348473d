"""The held-out material about quality: how much, in which languages and form, and none of it twice.

Nothing in the product is fitted on it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import pytest
import yaml
from pydantic import BaseModel, Field

from aletheia.items.labelled_pairs import read_texts
from aletheia.quality.graded_sets import read_graded_sets
from aletheia.text.language import guess_language

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "bench" / "data" / "judgement"

LANGUAGES = ("en", "de", "es", "fr")

GRADES = ("expert", "usable", "thin", "empty", "off_topic")
"""The best first; the last two have no order between them."""

PLACES = ("item", "description", "title")

MAX_NAME = 300
"""Characters of a department's name, the longest that is read from the application."""

Language = Literal["en", "de", "es", "fr"]
Text = Annotated[str, Field(min_length=1)]


class _Row(BaseModel, frozen=True, extra="forbid", strict=True):
    """A row of a file: what it does not know, or what is of another type, is an error."""


class DepartmentRow(_Row, frozen=True):
    name: Text = Field(max_length=MAX_NAME)
    description: Text
    language: Language


class _Set(_Row, frozen=True):
    department: DepartmentRow
    items: list[Text]


class GradedSet(_Set, frozen=True):
    grade: Literal["expert", "usable", "thin", "empty", "off_topic"]


class NonsenseSet(_Set, frozen=True):
    kind: Text


class InjectionRow(_Row, frozen=True):
    place: Literal["item", "description", "title"]
    language: Language
    text: Text


AnyRow = TypeVar("AnyRow", bound=_Row)


def read_rows(name: str, row: type[AnyRow]) -> tuple[AnyRow, ...]:
    source = (DATA / f"{name}.yaml").read_text(encoding="utf-8")
    return tuple(row.model_validate(found) for found in yaml.load(source, yaml.CSafeLoader))


@cache
def graded() -> tuple[GradedSet, ...]:
    return read_rows("graded", GradedSet)


@cache
def experts() -> tuple[GradedSet, ...]:
    return read_rows("expert", GradedSet)


@cache
def thin() -> tuple[GradedSet, ...]:
    return read_rows("thin", GradedSet)


@cache
def nonsense() -> tuple[NonsenseSet, ...]:
    return read_rows("nonsense", NonsenseSet)


@cache
def injections() -> tuple[InjectionRow, ...]:
    return read_rows("injections", InjectionRow)


def all_sets() -> Iterator[_Set]:
    return chain[_Set](graded(), experts(), thin(), nonsense())


def all_texts() -> list[str]:
    """Return every item and injection, as two that differ in case and spaces only are one."""
    items = chain.from_iterable(items_of.items for items_of in all_sets())
    injected = (injection.text for injection in injections())
    return [" ".join(text.casefold().split()) for text in chain(items, injected)]


def named(found: _Set) -> str:
    return f"{found.department.name} ({found.department.language})"


def count_languages(sets: Sequence[_Set]) -> Counter[str]:
    return Counter(found.department.language for found in sets)


def count_characters(found: _Set) -> int:
    return sum(map(len, found.items))


def test_24_departments_five_or_more_in_each_language_have_each_grade_once():
    departments = {found.department for found in graded()}
    counts = Counter(department.language for department in departments)
    assert counts.total() >= 24
    assert min(counts[language] for language in LANGUAGES) >= 5
    pairs = Counter((found.department, found.grade) for found in graded())
    assert pairs == {(place, grade): 1 for place in departments for grade in GRADES}


def test_good_sets_have_as_many_items_as_a_content_lead_reads_and_thin_ones_fewer():
    for found in graded():
        few, many = {"expert": (8, 14), "usable": (6, 14), "thin": (2, 10)}.get(
            found.grade, (6, 14)
        )
        assert few <= len(found.items) <= many, (named(found), found.grade)


def test_a_better_grade_of_a_department_says_more():
    sizes = {(found.department, found.grade): count_characters(found) for found in graded()}
    for department in {found.department for found in graded()}:
        expert, usable, few = (sizes[department, grade] for grade in GRADES[:3])
        assert expert > 1.3 * usable, department.name
        assert usable > 1.05 * few, department.name


def test_there_are_60_further_expert_sets_in_four_languages():
    assert len(experts()) >= 58
    assert min(count_languages(experts())[language] for language in LANGUAGES) >= 6
    for found in experts():
        assert found.grade == "expert", named(found)
        assert 8 <= len(found.items) <= 20, named(found)


def test_every_expert_set_has_figures_in_several_items():
    for found in (*experts(), *(found for found in graded() if found.grade == "expert")):
        with_figures = sum(bool(re.search(r"\d", item)) for item in found.items)
        assert with_figures >= 3, named(found)


def test_there_are_54_thin_sets_in_four_languages():
    assert len(thin()) >= 54
    assert min(count_languages(thin())[language] for language in LANGUAGES) >= 6
    for found in thin():
        assert found.grade == "thin", named(found)
        assert 2 <= len(found.items) <= 5, named(found)
        assert max(len(item.split()) for item in found.items) <= 15, named(found)


def test_there_are_150_kinds_of_nonsense_no_kind_twice():
    kinds = [found.kind for found in nonsense()]
    assert len(set(kinds)) == len(kinds) >= 150
    assert min(count_languages(nonsense())[language] for language in LANGUAGES) >= 20
    for found in nonsense():
        assert re.fullmatch(r"[a-z0-9_]+", found.kind), found.kind
        assert len(found.items) >= 5, found.kind


def test_there_are_150_injections_at_every_place_in_every_language():
    assert len(injections()) >= 150
    placed = Counter((injection.place, injection.language) for injection in injections())
    for place in PLACES:
        for language in LANGUAGES:
            assert placed[place, language] >= 3, (place, language)


def test_an_injected_title_is_short_enough_to_be_read_as_one():
    for injection in injections():
        if injection.place == "title":
            assert len(injection.text) < MAX_NAME / 2, injection.text


def test_a_description_has_one_to_five_sentences():
    for found in all_sets():
        sentences = re.findall(r"[.!?](?=\s|$)", found.department.description)
        assert 1 <= len(sentences) <= 5, named(found)


@pytest.mark.parametrize("read", [graded, experts, thin])
def test_sets_are_in_the_language_that_they_name(read: Callable[[], Sequence[GradedSet]]):
    for found in read():
        text = " ".join([found.department.description, *found.items])
        assert guess_language(text) == found.department.language, (named(found), found.items)


def test_no_text_is_there_twice():
    twice = [text for text, count in Counter(all_texts()).items() if count > 1]
    assert twice == []


def test_no_department_is_there_twice():
    further = (found.department.name for found in chain[_Set](experts(), thin(), nonsense()))
    names = [*further, *{found.department.name for found in graded()}]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_nothing_is_what_the_product_is_fitted_on():
    known = {text.text for split in ("calibration", "test") for text in read_texts(split)}
    known.update(text for found in read_graded_sets() for text in found.items)
    assert {" ".join(text.casefold().split()) for text in known}.isdisjoint(all_texts())


def test_no_department_is_one_that_the_product_is_fitted_on():
    known = {found.department.name for found in read_graded_sets()}
    assert known.isdisjoint(found.department.name for found in all_sets())


def test_sets_hide_no_characters_that_resemble_others():
    for text in chain.from_iterable(found.items for found in all_sets()):
        assert "\N{NO-BREAK SPACE}" not in text, text
        assert not any("CYRILLIC" in unicodedata.name(sign, "") for sign in text), text

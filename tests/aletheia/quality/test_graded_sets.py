"""The graded sets: that they are what they are said to be."""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from statistics import fmean

import pytest
from pydantic import ValidationError

from aletheia.items.labelled_pairs import LANGUAGES
from aletheia.quality.graded_sets import GRADES, SCORES, Grade, GradedSet, read_graded_sets
from aletheia.text.language import guess_language
from aletheia.text.normalisation import normalise

SETS = read_graded_sets()

NOT_SENTENCES = {
    *("word_salad", "long_salad", "keyword_list", "numbers", "headings", "mixed_languages"),
}
"""Kinds of nonsense whose language nobody can tell."""


def of_grade(grade: Grade) -> list[GradedSet]:
    return [graded for graded in SETS if graded.grade == grade]


def texts_of(sets: Iterable[GradedSet]) -> list[str]:
    return [text for graded in sets for text in graded.items]


def count_words(sets: Iterable[GradedSet]) -> float:
    return fmean(len(text.split()) for text in texts_of(sets))


def test_there_are_64_sets_of_12_departments_in_four_languages():
    departments = {graded.department.name: graded.department for graded in SETS}
    assert len(SETS) >= 64
    assert len(departments) >= 12
    assert all(graded.department == departments[graded.department.name] for graded in SETS)
    counts = Counter(department.language for department in departments.values())
    assert all(counts[language] >= 3 for language in LANGUAGES)


def test_each_department_has_sets_of_each_grade():
    grades: dict[str, set[str]] = {}
    for graded in SETS:
        grades.setdefault(graded.department.name, set()).add(graded.grade)
    assert {name: found for name, found in grades.items() if found != set(GRADES)} == {}


def test_nonsense_alone_is_of_a_kind_and_of_many():
    assert {graded.grade for graded in SETS if graded.kind} == {"nonsense"}
    assert all(graded.kind for graded in of_grade("nonsense"))
    assert len({graded.kind for graded in SETS if graded.kind}) >= 10


def test_descriptions_have_two_to_five_sentences():
    for graded in SETS:
        sentences = re.findall(r"[.!?](?= |$)", graded.department.description)
        assert 2 <= len(sentences) <= 5, graded.department.name


def test_no_item_is_there_twice():
    counts = Counter(normalise(text) for text in texts_of(SETS))
    assert [text for text, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_sets_are_in_the_language_of_their_department(language: str):
    found = [
        guess_language(" ".join((graded.department.description, *graded.items)))
        for graded in SETS
        if graded.department.language == language and graded.kind not in NOT_SENTENCES
    ]
    assert set(found) == {language}


def test_what_is_better_says_more_in_an_item():
    words = [count_words(of_grade(grade)) for grade in ("expert", "usable", "thin")]
    assert all(better > 1.3 * worse for better, worse in pairwise(words))
    assert words[-1] <= 12


def test_experts_give_figures_and_phrases_have_none():
    for graded in of_grade("expert"):
        with_figure = [text for text in graded.items if re.search(r"\d", text)]
        assert len(with_figure) >= len(graded.items) / 3, graded.department.name
    assert [text for text in texts_of(of_grade("empty")) if re.search(r"\d", text)] == []


def test_length_does_not_give_the_grade_away():
    """Phrases, nonsense and what is off topic are as long as good items, and sets as large."""
    usable, thin = count_words(of_grade("usable")), count_words(of_grade("thin"))
    for grade in ("empty", "off_topic"):
        assert thin < count_words(of_grade(grade)) < 2 * usable
    longest = {grade: max(count_words([graded]) for graded in of_grade(grade)) for grade in GRADES}
    shortest_expert = min(count_words([graded]) for graded in of_grade("expert"))
    assert all(longest[grade] > 1.5 * shortest_expert for grade in ("usable", "empty", "nonsense"))
    sizes = {grade: {len(graded.items) for graded in of_grade(grade)} for grade in GRADES}
    assert all(sizes["expert"] & found for found in sizes.values())


def test_scores_of_grades_span_the_scale_without_gaps():
    assert set(SCORES) == set(GRADES)
    bands = sorted(set(SCORES.values()))
    assert (bands[0][0], bands[-1][1]) == (0, 100)
    assert all(below[1] == above[0] for below, above in pairwise(bands))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"items": ["One thing is said."] * 5}, id="too few items"),
        pytest.param({"items": ["One thing is said."] * 17}, id="too many items"),
        pytest.param({"items": [""] * 6}, id="an empty item"),
        pytest.param({"grade": "good"}, id="an unknown grade"),
        pytest.param({"score": 80}, id="an unknown field"),
    ],
)
def test_a_set_of_another_form_is_refused(change: dict[str, object]):
    document = SETS[0].model_dump() | change
    with pytest.raises(ValidationError):
        GradedSet.model_validate(document)

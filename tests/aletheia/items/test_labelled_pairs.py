"""The labelled items are what they are said to be, and so are the pairs made of them."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from aletheia.items.labelled_pairs import (
    LANGUAGES,
    NEAREST,
    OTHER_GROUP,
    SPLITS,
    LabelledText,
    Language,
    Split,
    pair_candidates,
    pair_up,
    read_texts,
)
from aletheia.text.language import guess_language
from aletheia.text.normalisation import normalise

EVERY: tuple[tuple[Split, Language], ...] = tuple(product(SPLITS, LANGUAGES))

KINDS = {
    *("number", "glued", "unit", "date", "month", "weekday", "ordinal", "quarter", "version"),
    *("comparison", "negation", "antonym", "opposite", "role", "name", "subject", "scope", "point"),
}

MINIMAL = KINDS - {"number", "negation", "opposite", "subject", "scope", "point"}
"""Of these only the word that makes the difference is another; the rest may be written anew."""

MIN_PAIRS = 2200
MIN_PAIRS_PER_LANGUAGE = 400


def read_language(split: Split, language: Language) -> list[LabelledText]:
    """Return the texts of groups with variants, without those of whole departments."""
    return [t for t in read_texts(split) if t.language == language and not t.is_of_department]


def read_departments(split: Split) -> dict[str, list[LabelledText]]:
    found: dict[str, list[LabelledText]] = {}
    for text in read_texts(split):
        if text.is_of_department:
            found.setdefault(text.topic, []).append(text)
    return found


def test_no_topic_and_no_text_is_in_both_splits():
    topics, texts = (
        [{getattr(text, name).casefold() for text in read_texts(split)} for split in SPLITS]
        for name in ("topic", "text")
    )
    assert topics[0].isdisjoint(topics[1])
    assert texts[0].isdisjoint(texts[1])


def test_a_topic_is_of_one_language():
    languages: dict[str, set[str]] = {}
    for text in (text for split in SPLITS for text in read_texts(split)):
        languages.setdefault(text.topic, set()).add(text.language)
    assert {topic: found for topic, found in languages.items() if len(found) > 1} == {}


@pytest.mark.parametrize("split", SPLITS)
def test_items_are_sentences_up_to_paragraphs_and_all_different(split: Split):
    texts = [text.text for text in read_texts(split)]
    assert all(5 <= len(text.split()) <= 120 for text in texts)
    assert len({normalise(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(("split", "language"), EVERY)
def test_items_are_of_all_lengths(split: Split, language: Language):
    words = [len(text.text.split()) for text in read_language(split, language)]
    assert sum(count <= 20 for count in words) >= 0.15 * len(words)
    assert sum(count >= 25 for count in words) >= 0.4 * len(words)


@pytest.mark.parametrize(("split", "language"), EVERY)
def test_each_group_has_other_ways_to_say_it_and_other_points(split: Split, language: Language):
    texts = read_language(split, language)
    groups = Counter((text.group, bool(text.kind)) for text in texts)
    numbers = {text.group for text in texts}
    assert {text.kind for text in texts if text.kind} <= KINDS
    assert all(2 <= groups[number, True] <= 8 for number in numbers)
    assert all(3 <= groups[number, False] <= 5 for number in numbers)
    assert all(sum(t.is_item for t in texts if t.group == number) == 1 for number in numbers)


@pytest.mark.parametrize("split", SPLITS)
def test_departments_have_repetitions_and_items_that_stand_alone_in_each_language(split: Split):
    departments = read_departments(split)
    assert {texts[0].language for texts in departments.values()} == set(LANGUAGES)
    for texts in departments.values():
        sizes = Counter(Counter(text.group for text in texts).values())
        assert sizes[1] >= 1
        assert sizes[2] + sizes[3] >= 10
        assert len(texts) > NEAREST


@pytest.mark.parametrize("split", SPLITS)
def test_a_topic_of_a_department_has_no_other_groups(split: Split):
    departments = read_departments(split)
    others = {text.topic for text in read_texts(split) if not text.is_of_department}
    assert others.isdisjoint(departments)


@pytest.mark.parametrize(("split", "language"), EVERY)
def test_each_kind_is_there_in_each_language(split: Split, language: Language):
    assert {text.kind for text in read_language(split, language)} - {""} == KINDS


@pytest.mark.parametrize(("split", "language"), EVERY)
def test_groups_are_in_the_language_of_their_file(split: Split, language: Language):
    groups: dict[int, list[str]] = {}
    for text in read_language(split, language):
        groups.setdefault(text.group, []).append(text.text)
    found = Counter(guess_language(" ".join(texts)) for texts in groups.values())
    assert set(found) <= {language, None}
    assert found[None] <= 0.2 * found.total(), "the guess is unsure of Spanish, beside Galician"


def test_there_are_as_many_pairs_as_are_promised():
    counts: Counter[tuple[Language, bool]] = Counter()
    for split in SPLITS:
        texts = read_texts(split)
        counts.update((texts[pair.one].language, pair.is_duplicate) for pair in pair_up(texts))
    assert counts.total() >= MIN_PAIRS
    for language in LANGUAGES:
        assert counts[language, True] + counts[language, False] >= MIN_PAIRS_PER_LANGUAGE
        assert counts[language, True] >= MIN_PAIRS_PER_LANGUAGE / 2


@pytest.mark.parametrize("split", SPLITS)
def test_a_minimal_pair_shares_most_words_with_a_text_of_its_group(split: Split):
    texts = read_texts(split)
    groups: dict[int, list[set[str]]] = {}
    for text in texts:
        if not text.kind:
            groups.setdefault(text.group, []).append(set(normalise(text.text).split()))
    minimal = [text for text in texts if text.kind in MINIMAL]
    for text in minimal:
        words = set(normalise(text.text).split())
        shared = max(len(words & others) / len(words) for others in groups[text.group])
        assert shared >= 0.65, text.text


@pytest.mark.parametrize("split", SPLITS)
def test_pairs_come_from_a_group_or_from_the_items_of_a_topic(split: Split):
    texts = read_texts(split)
    found = pair_up(texts)
    assert len({(pair.one, pair.other) for pair in found}) == len(found)
    for pair in found:
        one, other = texts[pair.one], texts[pair.other]
        is_group = one.group == other.group
        assert (one.topic, one.language) == (other.topic, other.language)
        assert (pair.kind == OTHER_GROUP) == (not is_group)
        assert pair.is_duplicate == (is_group and not one.kind and not other.kind)
        assert not (one.kind and other.kind)


def test_candidates_are_each_items_nearest_and_all_that_repeat_it():
    texts = [
        LabelledText("bells", 0, "a", "", is_item=True),
        LabelledText("bells", 0, "b", ""),
        LabelledText("bells", 0, "c", "number"),
        LabelledText("bells", 0, "d", "unit"),
        *(LabelledText("gates", 1 + at, str(at), "", is_item=True) for at in range(NEAREST + 5)),
    ]
    units = np.zeros((len(texts), 2))
    degrees = np.radians([0, 90, *np.linspace(1, 40, len(texts) - 2)])
    units[:, 0], units[:, 1] = np.cos(degrees), np.sin(degrees)
    found = {(pair.one, pair.other): pair for pair in pair_candidates(texts, units)}
    assert found[0, 1].is_duplicate, "it is far, and repeats it all the same"
    assert found[0, 2].kind == "number"
    assert (2, 3) not in found, "whether two other points are one is not labelled"
    assert found[0, 4].kind == OTHER_GROUP
    assert (0, len(texts) - 1) not in found, "others are nearer"

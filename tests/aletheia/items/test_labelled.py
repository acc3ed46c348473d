"""The labelled items: that they are what they are said to be."""

from collections import Counter

import pytest

from aletheia.items.labelled import Split, pair_up, read_texts
from aletheia.text.normalisation import normalise

SPLITS: tuple[Split, ...] = ("calibration", "test")
KINDS = {"number", "unit", "negation", "opposite", "subject", "scope", "point"}


def test_no_topic_and_no_text_is_in_both_splits():
    topics, texts = (
        [{getattr(text, name) for text in read_texts(split)} for split in SPLITS]
        for name in ("topic", "text")
    )
    assert topics[0].isdisjoint(topics[1])
    assert texts[0].isdisjoint(texts[1])


@pytest.mark.parametrize("split", SPLITS)
def test_items_are_paragraphs_and_all_different(split: Split):
    texts = [text.text for text in read_texts(split)]
    assert all(30 <= len(text.split()) <= 120 for text in texts)
    assert len({normalise(text) for text in texts}) == len(texts)


@pytest.mark.parametrize("split", SPLITS)
def test_each_group_has_three_more_ways_to_say_it_and_two_other_points(split: Split):
    groups = Counter((text.group, bool(text.kind)) for text in read_texts(split))
    assert {size for (_, is_other), size in groups.items() if is_other} == {2}
    assert {size for (_, is_other), size in groups.items() if not is_other} == {4}
    assert {text.kind for text in read_texts(split) if text.kind} <= KINDS


@pytest.mark.parametrize(
    ("split", "pairs", "duplicates"), [("calibration", 496, 192), ("test", 372, 144)]
)
def test_pairs_come_from_a_group_or_from_the_items_of_a_topic(
    split: Split, pairs: int, duplicates: int
):
    texts = read_texts(split)
    found = pair_up(texts)
    assert (len(found), sum(pair.is_duplicate for pair in found)) == (pairs, duplicates)
    for pair in found:
        one, other = texts[pair.one], texts[pair.other]
        assert one.topic == other.topic
        assert pair.is_duplicate == (one.group == other.group and not one.kind and not other.kind)
        assert not (one.kind and other.kind)

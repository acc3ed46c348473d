"""Extractive summaries: which sentences stand for a text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.text.extracts import (
    choose_candidates,
    choose_central,
    is_candidate,
    lexical_vectors,
    order_sentences,
    take_chars,
    take_fitting,
)
from aletheia.text.spans import Span, split_spans
from tests.fakes.samples import sentences


def spans_of(*texts: str) -> list[Span]:
    return split_spans("\n\n".join(texts))


TOPICS = spans_of(
    "The harbour stores grain in nine large silos near the river bank.",
    "Grain from the nine silos of the harbour is stored near the river.",
    "All silos of the harbour hold grain that is stored for the winter.",
    "Rail cars carry the grain from the harbour to the mills at dawn.",
    "Cars on the rail bring harbour grain to all mills before dawn.",
    "A museum about whales opened its doors in the old customs house.",
)


def test_one_sentence_of_each_matter_comes_before_a_second_of_any():
    order = order_sentences(lexical_vectors(TOPICS), TOPICS, 6)
    matters = [0 if place < 3 else 1 if place < 5 else 2 for place in order]
    assert sorted(matters[:3]) == [0, 1, 2]


def test_the_matter_with_most_sentences_comes_first():
    order = order_sentences(lexical_vectors(TOPICS), TOPICS, 1)
    assert order[0] < 3


def test_what_is_said_twice_is_taken_once():
    twice = [*TOPICS[:1], *TOPICS[:1], *TOPICS[5:]]
    vectors = lexical_vectors(twice)
    assert len(order_sentences(vectors, twice, 3)) == 2


@given(st.integers(1, 30), st.integers(0, 10**6))
def test_a_shorter_order_is_the_beginning_of_a_longer_one(limit: int, seed: int):
    vectors = np.random.default_rng(seed).normal(size=(40, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    spans = split_spans(sentences(40))
    longer = order_sentences(vectors, spans, 40)
    assert order_sentences(vectors, spans, limit) == longer[:limit]
    assert len(set(longer)) == len(longer)


def test_headings_stand_in_a_summary_only_where_little_else_does():
    headings = spans_of("The harbour and its nine silos", "What the river does in winter")
    whole = split_spans(sentences(4))
    assert choose_candidates([*headings, *whole]) == whole
    assert choose_candidates([*headings, *whole[:2]]) == [*headings, *whole[:2]]
    short = spans_of("Contents", "Page 1")
    assert choose_candidates(short) == short
    assert choose_candidates([]) == []


def test_nothing_stands_for_nothing():
    assert order_sentences(np.zeros((0, 4)), [], 5) == []
    assert choose_central([], 5) == []


@given(st.lists(st.integers(5, 200), min_size=1, max_size=20), st.integers(1, 2000))
def test_a_larger_limit_only_adds(lengths: list[int], limit: int):
    spans = [Span("x" * length, 0, length) for length in lengths]
    order = list(range(len(spans)))
    short, long = take_chars(order, spans, limit), take_chars(order, spans, 2 * limit)
    assert set(short) <= set(long)
    assert len(short) >= 1
    assert len(short) == 1 or sum(lengths[at] + 1 for at in short) - 1 <= limit


def test_of_a_long_text_every_part_is_chosen_from():
    spans = split_spans(sentences(2000))
    chosen = choose_central(spans, 100)
    assert len(chosen) == 100
    assert chosen == sorted(set(chosen))
    assert all(any(low <= at < low + 200 for at in chosen) for low in range(0, 2000, 200))
    assert choose_central(spans[:50], 100) == list(range(50))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("The harbour stores grain in nine silos.", True),
        ("Contents", False),
        ("Page 3 of 17", False),
        ("12 | 13 | 14 | 15 | 16 | 17 | 18", False),
        ("word " * 200, False),
        ("\u6e2f\u306b\u306f\u7a40\u7269\u5009\u5eab\u304c\u3042\u308b\u3002", True),
    ],
)
def test_headings_and_tables_are_no_sentences_of_a_summary(text: str, is_one: bool):
    assert is_candidate(Span(text, 0, len(text))) is is_one


def test_a_sentence_that_is_too_long_is_represented_and_not_returned():
    order = order_sentences(lexical_vectors(TOPICS), TOPICS, 6, max_chars=64)
    assert order
    assert all(len(TOPICS[place].shown) <= 64 for place in order)
    assert len(order) < len(TOPICS)
    assert order_sentences(lexical_vectors(TOPICS), TOPICS, 6, max_chars=5) == []


def test_what_does_not_fit_any_more_is_passed_over():
    spans = spans_of("A first sentence.", "A second sentence that is longer.", "A third.")
    assert take_fitting([0, 1, 2], spans, 26) == [0, 2]
    assert take_fitting([1, 0], spans, 5) == []
    assert take_fitting([2, 1, 0], spans, 1000) == [0, 1, 2]


def test_of_a_short_text_what_comes_first_counts_more():
    spans = split_spans(sentences(25))
    vectors = lexical_vectors(spans)
    early = order_sentences(vectors, spans, 3, is_short=True)
    assert sum(early) < sum(order_sentences(vectors, spans, 3))
    assert max(early) < 10

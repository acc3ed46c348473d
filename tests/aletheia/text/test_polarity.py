"""Polarity by a lexicon."""

import numpy as np
import pytest

from aletheia.text.polarity import (
    FEATURES,
    MAX_CHARS,
    measure_polarity,
    score_compound,
    spell_emoji,
)


def feature(name: str, text: str) -> float:
    return float(measure_polarity(text)[FEATURES.index(name)])


def test_praise_is_positive_and_turns_with_a_negation():
    assert feature("compound", "The food is good.") > 0.3
    assert feature("compound", "The food is not good.") < -0.3
    assert feature("is_positive", "The food is good.") == 1.0
    assert feature("compound", "The food is good.") == score_compound("The food is good.")


@pytest.mark.parametrize(
    "text", ["", " ", "12 34", "\ud800", "\x00", "ÄÖÜ", "مرحبا", "😀" * 5000, "!" * 100_000]
)
def test_every_text_has_all_numbers_and_each_is_finite(text: str):
    values = measure_polarity(text)
    assert values.shape == (len(FEATURES),)
    assert np.isfinite(values).all()
    assert np.abs(values).max() <= 4


def test_no_text_has_no_polarity():
    assert not measure_polarity("").any()


def test_informal_marks_are_seen():
    assert feature("emoticon", "Fine :)") == 1.0
    assert feature("emoticon", "A ratio of 2:1.") == 0.0
    assert feature("stretched", "sooo nice") == 1.0
    assert feature("stretched", "room 1000") == 0.0


def test_what_is_too_long_is_read_at_its_beginning():
    text = "Good. " * 1000
    assert np.array_equal(measure_polarity(text), measure_polarity(text[:MAX_CHARS]))


def test_emoji_are_spelled_in_words():
    assert spell_emoji("so sad 😢") == "so sad  crying face "
    assert spell_emoji("plain") == "plain"
    assert spell_emoji("ünïcode") == "ünïcode"

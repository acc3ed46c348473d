"""How long a text takes to read, and how hard it is."""

import pytest

from aletheia.text.readability import WORDS_PER_MINUTE, measure_readability
from aletheia.text.spans import split_spans


def test_figures_are_those_that_one_counts_by_hand():
    found = measure_readability(split_spans("The cat sat. Unbelievable circumstances happened."))
    assert (found.words, found.sentences) == (6, 2)
    assert found.words_per_sentence == 3.0
    assert found.long_words == 0.5
    assert found.lix == 53.0
    assert found.minutes == round(6 / WORDS_PER_MINUTE, 2)


def test_long_sentences_of_long_words_are_harder():
    easy = measure_readability(split_spans("The dog ran. The cat hid. We all sat in the sun."))
    hard = measure_readability(
        split_spans(
            "Notwithstanding considerable administrative complications, representatives of "
            "participating organisations unanimously recommended comprehensive restructuring."
        )
    )
    assert easy.lix is not None
    assert hard.lix is not None
    assert easy.lix < 30
    assert hard.lix > 60


@pytest.mark.parametrize("text", ["", "... !!!"])
def test_a_text_without_words_has_no_figures(text: str):
    found = measure_readability(split_spans(text))
    assert (found.words, found.sentences, found.lix, found.minutes) == (0, 0, None, 0.0)


def test_scripts_without_blanks_have_words_but_no_lix():
    found = measure_readability(
        split_spans("\u6e2f\u306b\u306f\u5009\u5eab\u304c\u3042\u308b\u3002" * 4)
    )
    assert found.lix is None
    assert found.words == 16

import numpy as np
import pytest

from aletheia.quality.halves import MIN_SENTENCES, measure_joined, split_in_half


def test_a_sentence_is_split_before_the_words_that_lead_to_its_second_half() -> None:
    text = "The porter opens the gate at six. Done."
    assert split_in_half(text, "en") == ("The porter opens", "the gate at six .")


@pytest.mark.parametrize("text", ["", "The gate.", "Open it.", "…"])
def test_a_text_with_few_words_has_no_halves(text: str) -> None:
    assert split_in_half(text, "en") is None


def test_halves_that_go_together_are_joined_and_exchanged_ones_are_not() -> None:
    left = np.eye(8)
    right = 0.8 * np.eye(8) + 0.1
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    assert measure_joined(left, right) > 2
    assert measure_joined(left, np.roll(right, 3, axis=0)) < 0.1


def test_too_few_sentences_and_those_without_a_vector_show_nothing() -> None:
    few = np.eye(MIN_SENTENCES - 1)
    assert np.isnan(measure_joined(few, few))
    unknown = np.eye(MIN_SENTENCES)
    unknown[0] = np.nan
    assert np.isnan(measure_joined(unknown, np.eye(MIN_SENTENCES)))

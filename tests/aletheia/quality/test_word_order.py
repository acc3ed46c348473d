import random

import pytest

from aletheia.quality.grammar import grammar_of
from aletheia.quality.sentences import split_sentences
from aletheia.quality.word_order import (
    EDGE,
    MAX_RATIO,
    USUAL_ORDER,
    count_order,
    measure_order,
    read_tags,
)

SENTENCES = {
    "en": "The porter opens the side gate at six and writes each van into the book.",
    "de": "Der Pförtner öffnet um sechs das Seitentor und schreibt jeden Wagen ins Buch.",
    "es": "El portero abre la puerta lateral a las seis y anota cada furgoneta en el libro.",
    "fr": "Le portier ouvre la porte latérale à six heures et note chaque fourgon dans le livre.",
}


def order(text: str, language: str) -> float:
    grammar = grammar_of(language)
    return measure_order(split_sentences(text, grammar), grammar)


@pytest.mark.parametrize(("language", "text"), SENTENCES.items())
def test_words_backwards_and_shuffled_are_in_a_less_usual_order(language: str, text: str) -> None:
    words = text.rstrip(".").split()
    backwards = " ".join(reversed(words)) + "."
    draw = random.Random(7)
    shuffled = [order(" ".join(draw.sample(words, len(words))) + ".", language) for _ in range(9)]
    usual = order(text, language)
    assert usual > -0.4
    assert order(backwards, language) < usual - 0.5
    assert sorted(shuffled)[4] < usual - 0.4


def test_a_language_that_is_not_read_is_in_a_usual_order() -> None:
    assert measure_order(split_sentences("Vrátný otvírá bránu v šest.", None), None) == USUAL_ORDER


def test_no_text_is_beyond_the_bound() -> None:
    for text in ("", "of of of of of of of of of", "zzz " * 50, "the the , , . . a"):
        assert -MAX_RATIO <= order(text, "en") <= MAX_RATIO


def test_content_words_count_by_their_ending_and_function_words_by_themselves() -> None:
    grammar = grammar_of("en")
    assert grammar is not None
    (sentence,) = split_sentences("The porters opened 3 gates, quickly.", grammar)
    assert read_tags(sentence, grammar) == [
        *(EDGE, "the", "*rs", "*ed", "0", "*es", ",", "*ly", EDGE),
    ]


def test_a_pair_that_was_met_once_counts_by_its_class_only() -> None:
    counted = count_order([[EDGE, "the", "*rs", EDGE], [EDGE, "the", "*ed", EDGE]])
    assert counted.pairs == {f"{EDGE} the": 2}
    assert counted.classes["the *"] == 2
    assert counted.before == {EDGE: 2, "the": 2, "*rs": 1, "*ed": 1}

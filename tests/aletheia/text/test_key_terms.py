"""Key terms."""

from aletheia.text.key_terms import find_key_terms
from aletheia.text.spans import split_spans
from tests.fakes.samples import sentences

REPORT = (
    "Heat pumps move heat. A heat pump with a ground source needs a borehole. "
    "The borehole of the heat pump is drilled in two days. Heat pumps with a ground source "
    "are quiet. Neighbours seldom hear a heat pump. A ground source costs more than air."
)


def terms(text: str, limit: int = 10) -> list[str]:
    return [term.term for term in find_key_terms(split_spans(text), limit)]


def test_phrases_that_a_text_repeats_come_first():
    found = terms(REPORT)
    assert found[0].lower() in {"heat pump", "heat pumps"}
    assert "ground source" in found
    assert "borehole" in found


def test_a_phrase_and_a_part_of_it_are_not_both_named():
    found = [term.lower() for term in terms(REPORT)]
    assert not {"heat", "pump", "pumps", "source", "ground"} & set(found)


def test_words_without_a_meaning_of_their_own_are_none():
    assert terms("It is what it is, and that is that. It was what it was, and that was that.") == []
    assert terms("") == []


def test_weights_fall_from_one_and_counts_are_those_of_the_text():
    found = find_key_terms(split_spans(sentences(100)), 5)
    assert [term.weight for term in found] == sorted((t.weight for t in found), reverse=True)
    assert found[0].weight == 1.0
    assert all(term.count >= 2 for term in found)
    assert len(found) <= 5


def test_plural_and_case_are_one_term_as_it_is_written_most():
    text = "Silos rust. The silos are old. SILOS leak. A silo burns."
    (first, *_) = find_key_terms(split_spans(text))
    assert (first.term.lower(), first.count) == ("silos", 4)


def test_of_a_long_text_a_part_is_counted():
    assert terms(sentences(8_000), 3)

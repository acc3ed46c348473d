"""What makes two items contradict each other."""

import pytest

from aletheia.quality.contradictions import contradicts, find_contradictions
from aletheia.quality.reading import Statement, read_text

PAID = "The clerk pays invoices of suppliers within ten days."
DENIED = "The clerk never pays invoices of suppliers within ten days."


def statement(text: str) -> Statement:
    (found,) = read_text(text, "en").statements
    return found


@pytest.mark.parametrize(
    ("other", "is_contradiction"),
    [
        ("The clerk never pays invoices of suppliers within ten days.", True),
        (PAID, False),
        ("The clerk never greets visitors.", False),
        ("The gardener never waters roses at noon.", False),
        ("It is forbidden that the clerk pays invoices of suppliers within ten days.", True),
    ],
)
def test_two_sentences_contradict_where_one_denies_what_the_other_says_of_the_same(
    other: str, is_contradiction: bool
) -> None:
    one, two = statement(PAID), statement(other)
    assert contradicts(one, two) is is_contradiction
    assert contradicts(two, one) is is_contradiction


def test_each_of_both_names_the_other_and_nobody_else() -> None:
    items = [(statement(text),) for text in (PAID, "The porter opens the gate.", DENIED)]
    assert find_contradictions(items) == {0: 2, 2: 0}
    assert find_contradictions([]) == {}


def test_items_that_give_one_thing_two_amounts_contradict_each_other() -> None:
    other = statement("The clerk pays invoices of suppliers within 30 days.")
    longer = statement("The clerk pays invoices of foreign suppliers by cheque within 30 days.")
    mine = statement(PAID)
    assert find_contradictions([(mine,), (other,)]) == {0: 1, 1: 0}
    assert find_contradictions([(mine,), (longer,)]) == {}
    assert find_contradictions([(mine,), (other, longer)]) == {}

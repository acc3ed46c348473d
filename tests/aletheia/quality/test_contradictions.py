"""What makes two items contradict each other."""

import pytest

from aletheia.quality.contradictions import contradicts
from aletheia.quality.reading import Statement, read_text

PAID = "The clerk pays invoices of suppliers within ten days."


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
    ],
)
def test_two_sentences_contradict_where_one_denies_what_the_other_says_of_the_same(
    other: str, is_contradiction: bool
) -> None:
    one, two = statement(PAID), statement(other)
    assert contradicts(one, two) is is_contradiction
    assert contradicts(two, one) is is_contradiction

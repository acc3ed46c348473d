"""How much of a text's words another one has, part by part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.text.word_parts import measure_parts


def test_parts_of_compounds_are_found():
    one, other = "Treppenhausfenster putzen", "Fenster im Treppenhaus putzen"
    assert min(measure_parts(one, other)) > 0.6
    assert max(measure_parts(one, "Rechnungen werden bezahlt")) < 0.3


def test_the_share_is_of_either_text_by_itself():
    share, other = measure_parts("verify invoices", "verify invoices before every payment")
    assert share == 1
    assert 0 < other < 1


def test_a_text_without_words_has_none():
    assert measure_parts("", "Pay the invoice") == (0.0, 0.0)


@given(st.text(max_size=60), st.text(max_size=60))
def test_shares_are_mutual(one: str, other: str):
    left, right = measure_parts(one, other)
    assert measure_parts(other, one) == (right, left)
    assert 0 <= left <= 1
    same = measure_parts(one, one)[0]
    assert same == 0 or same == pytest.approx(1)

"""Texts that say the same in other words, and those that do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.text.differences import align_texts
from aletheia.text.rewording import count_common, find_language, is_form, unify
from aletheia.text.wording import read_wording


def difference(one: str, other: str) -> str | None:
    return align_texts(one, other).difference


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            "The yearly audit of the doors is done by Smith.",
            "The annual audit of the doors is done by Smith.",
            id="synonym",
        ),
        pytest.param(
            "Each lift is checked once a month.",
            "Every lift is verified monthly.",
            id="frequency in several words",
        ),
        pytest.param("Keys must be kept in the safe.", "Keys are retained in the safe.", id="must"),
        pytest.param(
            "After the audit, the report is written.",
            "The report is written after the audit.",
            id="fronted",
        ),
        pytest.param(
            "Das Treppenhaus wird jede Woche geputzt.",
            "Das Treppenhaus wird wöchentlich gereinigt.",
            id="German",
        ),
        pytest.param(
            "Los cables se cambian cada diez años.",
            "Cada diez años se cambian los cables.",
            id="Spanish",
        ),
        pytest.param(
            "Tous les six mois, on remplace les freins.",
            "Les freins sont remplacés tous les six mois.",
            id="French",
        ),
    ],
)
def test_the_same_in_other_words_makes_no_difference(one: str, other: str):
    assert difference(one, other) is None
    assert difference(other, one) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            "Clean the filter, then replace the seal.",
            "Replace the seal, then clean the filter.",
            id="steps",
        ),
        pytest.param(
            "Wenn die Bank die Firma informiert, wird das notiert.",
            "Wenn die Firma die Bank informiert, wird das notiert.",
            id="roles side by side",
        ),
        pytest.param(
            "Each nurse calls the doctor.", "The doctor calls each nurse.", id="roles, each"
        ),
        pytest.param(
            "Der Vater informiert die Söhne.",
            "Die Söhne informieren den Vater.",
            id="roles, another number",
        ),
        pytest.param(
            "Dos médicos llaman al enfermero.",
            "El enfermero llama a dos médicos.",
            id="roles, counted",
        ),
        pytest.param(
            "The auditor assesses the manager.",
            "The auditor is assessed by the manager.",
            id="roles, passive",
        ),
        pytest.param(
            "From Rome the goods go to Paris.", "From Paris the goods go to Rome.", id="places"
        ),
        pytest.param(
            "Before the audit, the report is written.",
            "The report is written after the audit.",
            id="before and after",
        ),
        pytest.param(
            "Every 2 weeks the buyer pays the seller.",
            "The seller pays the buyer every 2 weeks.",
            id="roles, fronted",
        ),
        pytest.param("We pay our invoices on time.", "We pay their invoices on time.", id="whose"),
        pytest.param("Only admins read the log.", "Admins read only the log.", id="only"),
        pytest.param(
            "Reviewers must reject the change.", "Reviewers may reject the change.", id="must, may"
        ),
        pytest.param(
            "The lift is checked every month.", "The lift is checked every year.", id="how often"
        ),
        pytest.param(
            "El libro se guarda en el plazo.", "El libro se guarda en la plaza.", id="o and a"
        ),
    ],
)
def test_what_words_of_one_meaning_do_not_explain_stays_a_difference(one: str, other: str):
    assert difference(one, other) is not None
    assert difference(other, one) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            "The supplier delivers goods to the shop.",
            "The shop sends goods back to the supplier.",
            id="roles",
        ),
        pytest.param(
            "Old keys are deleted first.", "First of all, new keys are erased.", id="opposites"
        ),
        pytest.param(
            "Vor jeder Schicht wird die Waage geprüft.",
            "Nach jeder Schicht wird die Waage kontrolliert.",
            id="German",
        ),
        pytest.param(
            "Se borran las claves más antiguas.",
            "Las claves más nuevas se eliminan.",
            id="Spanish",
        ),
        pytest.param(
            "On efface les clés les plus anciennes.",
            "Les clés les plus récentes sont effacées.",
            id="French",
        ),
    ],
)
def test_a_difference_in_other_words_stays_one(one: str, other: str):
    assert difference(one, other) is not None
    assert difference(other, one) is not None


def test_texts_that_are_worded_anew_are_no_minimal_pair():
    one = "Invoices that arrive on paper are scanned on the day of their arrival."
    other = "On the day they come in, paper invoices get digitised by the clerk."
    assert difference(one, other) is None


def test_words_of_an_unknown_language_are_taken_as_they_are():
    one, two = read_wording("Zamki zmienia się rocznie"), read_wording("Zamki zmienia się annual")
    assert find_language(one, two) == ""
    assert unify(one, two) == (one.sequence, two.sequence)


@pytest.mark.parametrize(
    ("word", "other", "language", "expected"),
    [
        ("bewertet", "bewerten", "de", True),
        ("geputzt", "putzen", "de", True),
        ("prüfer", "prüfen", "de", False),
        ("appelle", "appellent", "fr", True),
        ("plazo", "plaza", "es", False),
        ("cerrado", "cerrada", "es", True),
        ("employer", "employee", "en", False),
    ],
)
def test_forms_of_a_word_differ_in_an_ending(word: str, other: str, language: str, expected: bool):
    assert is_form(word, other, language) is expected
    assert is_form(other, word, language) is expected


@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
def test_common_words_in_order_are_counted(left: list[str], right: list[str]):
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for row, word in enumerate(left):
        for column, other in enumerate(right):
            longer = max(table[row][column + 1], table[row + 1][column])
            table[row + 1][column + 1] = table[row][column] + 1 if word == other else longer
    assert count_common(left, right) == table[-1][-1]

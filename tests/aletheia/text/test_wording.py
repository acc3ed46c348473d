"""How the words of a text are read."""

# ruff: noqa: RUF001 - ambiguous characters are the case

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.text.wording import read_wording, stem_word


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("invoice", "invoices", id="plural"),
        pytest.param("policy", "policies", id="ies"),
        pytest.param("store", "storing", id="ing"),
        pytest.param("plan", "planned", id="doubled"),
        pytest.param("kunde", "kunden", id="German plural"),
        pytest.param("process", "processes", id="es"),
    ],
)
def test_endings_make_no_other_word(one: str, other: str):
    assert stem_word(one) == stem_word(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("employer", "employee", id="employer, employee"),
        pytest.param("internal", "international", id="internal, international"),
        pytest.param("licensor", "licensee", id="licensor, licensee"),
        pytest.param("approved", "unapproved", id="prefix"),
        pytest.param("string", "strong", id="no ending"),
    ],
)
def test_words_that_only_begin_alike_stay_two(one: str, other: str):
    assert stem_word(one) != stem_word(other)


def test_articles_are_left_out_and_words_that_give_roles_stay():
    wording = read_wording("The buyer is paid by the seller.")
    assert wording.sequence == ("buyer", "paid", "by", "seller")
    assert wording.content == ("buyer", "paid", "seller")


def test_german_articles_that_show_the_case_stay():
    one = read_wording("Der Käufer zahlt dem Verkäufer.")
    other = read_wording("Dem Käufer zahlt der Verkäufer.")
    assert one.content == other.content
    assert one.sequence != other.sequence


@pytest.mark.parametrize(
    ("text", "number"),
    [("1,000 parts", "#1000"), ("thirty parts", "#30"), ("-5 degrees", "#-5"), ("– 5 °C", "#-5")],
)
def test_numbers_stand_by_their_value(text: str, number: str):
    assert number in read_wording(text).content


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("status != 200", "≠"),
        ("status<>200", "≠"),
        ("x >= 5", "≥"),
        ("x ≤ 5", "≤"),
        ("a == b", "="),
        ("x <-5", "<"),
    ],
)
def test_signs_are_read_however_they_are_written(text: str, sign: str):
    assert sign in read_wording(text).signs


def test_an_arrow_is_no_sign():
    assert read_wording("draft -> review => done <- back").signs == frozenset()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("on Monday", "am Montag"),
        ("in March, we close on 3 March", "en marzo"),
        ("the first quarter", "le premier trimestre"),
        ("weekly", "wöchentlich"),
    ],
)
def test_a_date_is_one_in_every_language(one: str, other: str):
    assert read_wording(one).calendar >= read_wording(other).calendar != frozenset()


def test_a_verb_is_no_month():
    assert read_wording("You may march on.").calendar == frozenset()
    assert read_wording("We meet in May.").calendar == {"month 5"}


def test_names_are_capitalised_within_sentences():
    assert read_wording("Ship to Lyon. Then call Paris.").names == {"lyon", "paris"}
    assert read_wording("Alle Kunden erhalten eine Rechnung vom Lieferanten.").names == frozenset()


def test_codes_have_letters_and_numbers_in_one():
    assert read_wording("Since v1.2 and Q3 of FY24, phase II").codes == {"v1.2", "q3", "fy24", "ii"}


@pytest.mark.parametrize(
    "text",
    [
        "It is not paid.",
        "Es wird nicht bezahlt.",
        "Ce n'est jamais payé.",
        "No se paga nunca.",
        "Non si paga.",
        "Não se paga.",
        "Het wordt niet betaald.",
    ],
)
def test_negations_are_counted_in_each_language(text: str):
    assert read_wording(text).negations >= 1


def test_an_elided_article_hides_no_word():
    assert "utilisateur" in read_wording("L’utilisateur s'inscrit.").content


def test_letters_of_scripts_without_blanks_are_words_of_their_own():
    assert len(read_wording("每周一备份数据库").content) == 8
    assert not read_wording("每周一备份数据库").is_latin
    assert read_wording("Backup every Monday").is_latin


@given(st.text())
def test_every_text_is_read(text: str):
    wording = read_wording(text)
    assert len(wording.content) <= len(wording.sequence)
    assert set(wording.forms) <= set(wording.content)

"""Which writings of a text are the same."""

# ruff: noqa: RUF001 - ambiguous characters are the case

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.text.normalisation import content_hash, normalise


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Stop the line!", "  stop\tTHE\n line ", id="case, spaces, punctuation"),
        pytest.param("ﬁne ＡＢＣ", "fine abc", id="compatibility forms"),
        pytest.param("Caf\u00e9", "Cafe\u0301", id="composed and decomposed"),
        pytest.param("STRASSE", "Straße", id="folded case"),
        pytest.param("don’t", "DON'T", id="apostrophes"),
        pytest.param("“Well”, he said – twice.", "'Well' he said: twice", id="quotes, dashes"),
        pytest.param("zero\u200bwidth co\u00adoperate", "zerowidth cooperate", id="invisible"),
        pytest.param("5kg at 20 ° C, €50", "5 kg at 20°C, € 50", id="spaces around units"),
        pytest.param("١٢ items", "12 items", id="digits of another script"),
        pytest.param("10–15 days", "10-15 days", id="ranges"),
        pytest.param("a != 200", "a ≠ 200", id="unequal"),
        pytest.param("a ‒5 °C frost", "a −5 °C frost", id="dashes for a minus"),
        pytest.param("− 5 °C", "-5 °C", id="minus before a space"),
        pytest.param("100 Mb/s", "100 Mbit/s", id="bits"),
    ],
)
def test_two_writings_of_one_text_are_the_same(one: str, other: str):
    assert normalise(one) == normalise(other)
    assert content_hash(one) == content_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("1,000 parts", "1 000 parts", id="grouped digits"),
        pytest.param("3.5 bar", "35 bar", id="decimal point"),
        pytest.param("10² parts", "102 parts", id="power"),
        pytest.param("1½ hours", "11/2 hours", id="mixed number"),
        pytest.param("-5 °C", "5 °C", id="sign"),
        pytest.param("5 %", "5", id="percent"),
        pytest.param("C# code", "C code", id="name with a sign"),
        pytest.param("C++ code", "C code", id="name with two signs"),
        pytest.param("m/s", "ms", id="quotient of units"),
        pytest.param("!!!", "???", id="nothing but punctuation"),
        pytest.param("status != 200", "status = 200", id="unequal"),
        pytest.param("status !== 200", "status == 200", id="strictly unequal"),
        pytest.param("a <> b", "a = b", id="unequal of databases"),
        pytest.param("a < 5", "a > 5", id="less"),
        pytest.param("a <= 5", "a < 5", id="less or equal"),
        pytest.param("‑5 °C", "5 °C", id="another dash for a minus"),
        pytest.param("− 5 °C", "5 °C", id="minus before a space"),
        pytest.param("if (!ready)", "if (ready)", id="negation of programs"),
        pytest.param("5′ wide", "5″ wide", id="feet, inches"),
        pytest.param("5 MW", "5 mW", id="mega, milli"),
        pytest.param("100 Mb/s", "100 MB/s", id="bits, bytes"),
        pytest.param("100 MBps", "100 Mbps", id="bytes, bits a second"),
        pytest.param("5 ‱", "5", id="one in ten thousand"),
        pytest.param("2*3 parts", "2 3 parts", id="times"),
        pytest.param("में", "म", id="vowel signs"),
    ],
)
def test_what_carries_meaning_stays(one: str, other: str):
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    ("text", "hashed"),
    [
        (
            "Stop the line! Then call us: 10–15 min, 5 % of €1,000.",
            "stop the line then call us 10-15 min 5 % of € 1,000",
        ),
        (
            "Use <b>bold</b> type, e.g. 'a = b'; don't shout!",
            "use <b>bold< b> type e g a = b dont shout",
        ),
        (
            "A 5 MW plant, 20 mA, 3 MB & 100 kB/s — 7:30 a.m.",
            "a 5 mw plant 20 ma 3 mb & 100 kb/s 7:30 a m",
        ),
        ("¡Hola! ¿Qué tal? «Bien»", "hola qué tal bien"),
        ("**Bold** - item\n- item 2 * 3", "bold item item 2 3"),
    ],
)
def test_the_form_of_ordinary_texts_stays_as_it_was(text: str, hashed: str):
    # Ids of saved items are made of it.
    assert normalise(text) == hashed


def test_an_empty_text_is_empty():
    assert normalise(" \t\n") == ""


@given(st.text())
def test_what_is_normalised_stays_as_it_is(text: str):
    once = normalise(text)
    assert normalise(once) == once


@given(st.text(alphabet=st.characters(codec="latin-1")))
def test_composed_and_decomposed_texts_are_the_same(text: str):
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(text)


@given(st.text(st.characters(categories=["Cs", "L", "P"])))
def test_every_text_has_a_hash(text: str):
    assert len(content_hash(text)) == 64

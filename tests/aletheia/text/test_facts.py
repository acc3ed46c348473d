"""What two texts contradict each other in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.text.facts import find_difference, read_facts


def difference(one: str, other: str) -> str | None:
    return find_difference(read_facts(one), read_facts(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("We pay 50 euros.", "We pay 500 euros.", id="digits"),
        pytest.param("Hire three cooks.", "Hire four cooks.", id="words"),
        pytest.param("Hire twenty-four cooks.", "Hire twenty-five cooks.", id="compound words"),
        pytest.param("Hire two hundred extras.", "Hire two thousand extras.", id="magnitudes"),
        pytest.param("Store it at -5 °C.", "Store it at 5 °C.", id="sign"),
        pytest.param("Pay 1.5 percent.", "Pay 15 percent.", id="decimal point"),
        pytest.param("Wir zahlen 1.000 Euro.", "Wir zahlen 10.000 Euro.", id="German digits"),
        pytest.param("Wir zahlen 1,5 Prozent.", "Wir zahlen 15 Prozent.", id="German decimals"),
        pytest.param("Drei Schichten am Tag.", "Vier Schichten am Tag.", id="German words"),
        pytest.param(
            "Nach vierundzwanzig Tagen.", "Nach vierunddreißig Tagen.", id="German compounds"
        ),
        pytest.param("Payez 12 francs.", "Payez 21 francs.", id="French"),
    ],
)
def test_another_number_is_a_contradiction(one: str, other: str):
    assert difference(one, other) == "number"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("1,000 parts", "1000 parts", id="comma, none"),
        pytest.param("1.000 Teile", "1000 Teile", id="point, none"),
        pytest.param("1.000 Teile", "1,000 parts", id="point, comma"),
        pytest.param("11 000 euros", "11,000 euros", id="space, comma"),
        pytest.param("1'000 Franken", "1000 Franken", id="Swiss"),
        pytest.param("1,5 Liter", "1.5 litres", id="decimal comma, decimal point"),
        pytest.param("1.234,5 kg", "1,234.5 kg", id="both signs"),
        pytest.param("50 percent", "50%", id="percent"),
        pytest.param("per cent of 12", "12 percent", id="two words"),
        pytest.param("€50", "50 euros", id="currency before and after"),
        pytest.param("90 minutes", "1.5 hours", id="minutes, hours"),
        pytest.param("12 months", "1 year", id="months, a year"),
        pytest.param("two weeks", "14 days", id="weeks, days"),
        pytest.param("an 8-hour shift", "a shift of eight hours", id="digits, words"),
        pytest.param("two working days", "2 days", id="a word between"),
        pytest.param("2,5 kg", "2500 Gramm", id="kilos, grams"),
        pytest.param("200 and 300 grams", "200 g and 300 g", id="unit left out"),
        pytest.param("3 million dollars", "3,000,000 dollars", id="magnitude"),
        pytest.param("10-15 days", "10 to 15 days", id="range"),
        pytest.param("vierundzwanzig Stunden", "24 Stunden", id="German word"),
        pytest.param("1½ hours", "90 minutes", id="mixed number"),
        pytest.param("minus 27 LUFS", "-27 LUFS", id="minus"),
        pytest.param("½ litre", "0.5 l", id="fraction"),
        pytest.param("version 1.2.3 costs 1.5 euros", "version 1.2.3 costs 1,5 €", id="version"),
        pytest.param("10:30 a.m.", "10:30 am", id="half of the day"),
    ],
)
def test_two_writings_of_one_amount_are_none(one: str, other: str):
    assert difference(one, other) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("within 5 days", "within 5 weeks", id="days, weeks"),
        pytest.param("in two working days", "in two weeks", id="a word between"),
        pytest.param("a wall of 12 metres", "a wall of 12 feet", id="metres, feet"),
        pytest.param("up to 50 euros", "up to 50 percent", id="money, share"),
        pytest.param("40 Euro Kaffee", "40 Dollar Kaffee", id="currencies"),
        pytest.param("at 65 °C", "at 65 °F", id="degrees"),
        pytest.param("in 3 Tagen", "in 3 Wochen", id="German"),
        pytest.param("at 8 am", "at 8 pm", id="halves of the day"),
    ],
)
def test_another_unit_is_a_contradiction(one: str, other: str):
    assert difference(one, other) == "unit"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Returns are refunded.", "Returns are not refunded.", id="not"),
        pytest.param("The overtime is paid.", "The overtime isn't paid.", id="contracted"),
        pytest.param("We ship on Sundays.", "We don't ship on Sundays.", id="do not"),
        pytest.param("Always lock the door.", "Never lock the door.", id="always, never"),
        pytest.param("Everybody may enter.", "Nobody may enter.", id="everybody, nobody"),
        pytest.param("Tea with sugar.", "Tea without sugar.", id="with, without"),
        pytest.param("Prices are always stable.", "Prices are always unstable.", id="prefix"),
        pytest.param("Wir liefern sonntags.", "Wir liefern sonntags nicht.", id="German, after"),
        pytest.param("Es gibt Rabatt.", "Es gibt keinen Rabatt.", id="German, before"),
        pytest.param("Nous livrons.", "Nous ne livrons pas.", id="French"),
        pytest.param("El pago tiene plazo.", "El pago no tiene plazo.", id="Spanish"),
        pytest.param(
            "Day rates are shown in the advert.",
            "Day rates are never shown in the advert.",
            id="never",
        ),
    ],
)
def test_a_statement_and_its_negation_are_a_contradiction(one: str, other: str):
    assert difference(one, other) == "negation"
    assert difference(other, one) == "negation"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Never ship on Sundays.", "Do not ship on Sundays.", id="both negate"),
        pytest.param(
            "Ship by Friday at the latest.", "Ship no later than Friday.", id="other words"
        ),
        pytest.param(
            "Approve it without asking a lead.", "No lead has to approve it.", id="turned round"
        ),
    ],
)
def test_a_negation_in_other_surroundings_is_none(one: str, other: str):
    assert difference(one, other) is None


def test_a_number_that_only_one_text_gives_is_no_contradiction():
    assert difference("Ship within 5 days.", "Ship soon.") is None


def test_a_number_is_plainer_than_a_negation():
    assert difference("Ship 5 parts.", "Do not ship 6 parts.") == "number"


@given(st.text())
def test_no_text_contradicts_itself(text: str):
    assert difference(text, text) is None


_WORDS = st.sampled_from(
    ["not", "no", "ship", "safe", "unsafe", "5", "6", "kg", "g", "%", "1,000", "1.000", "three"]
)


@given(st.lists(_WORDS).map(" ".join), st.lists(_WORDS).map(" ".join))
def test_a_contradiction_is_mutual(one: str, other: str):
    assert (difference(one, other) is None) == (difference(other, one) is None)

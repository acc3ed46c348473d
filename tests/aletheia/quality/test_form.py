import pytest

from aletheia.quality.form import BROKEN_OFF, NO_PROSE, VERBLESS, measure_form
from aletheia.quality.grammar import grammar_of
from aletheia.quality.sentences import split_sentences


def measure(text: str, language: str = "en") -> float:
    grammar = grammar_of(language)
    return measure_form(text, split_sentences(text, grammar), grammar)


@pytest.mark.parametrize(
    "text",
    [
        "The clerk sets max_connections to 200 and restarts the server before noon.",
        "If the pressure falls below 2 bar (see the card), close the valve; call the engineer.",
        "Weigh the flour, then the water [both to the gram] and note the sum",
        "Who signs? The head of purchasing signs orders above 5,000 euros within two days.",
        "- Close the tap\n- Empty the hose\n- Note the meter",
        "Pay $120 or <5 % of the sum, whichever is lower.",
    ],
)
def test_prose_of_people_keeps_its_build(text: str) -> None:
    assert measure(text) == 1


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("def check_valve(p): if p >= 2: return valve.close()", NO_PROSE),
        ('{"department": "valves", "status": "open"}; {"id": 4, "next": null};', NO_PROSE),
        ("The [name of the unit] is checked by [person] every [period].", NO_PROSE),
        ("Valves are closed by ____ at TBD.", NO_PROSE),
        ("Miller, A. (2011): Valves and pumps. Vol. 3, pp. 12-40.", NO_PROSE),
        ("Who closes the valve? When is it closed? How hard?", BROKEN_OFF),
        (
            "The valve is closed at noon. Then the engineer goes to the pump and opens the",
            BROKEN_OFF,
        ),
        ("The engineer closes the valve and then\u2026", BROKEN_OFF),
        (
            "A valve is what valves are, and valves that are valves are valves by valve work.",
            BROKEN_OFF,
        ),
        ("O valve so round / you make no sound / the pump is drowned", BROKEN_OFF),
        ("Valves of the northern plant, with pumps", VERBLESS),
        ("Valves of the northern plant, with 12 pumps", 1.0),
    ],
)
def test_what_is_no_prose_loses_its_build(text: str, left: float) -> None:
    assert measure(text) == left


def test_nothing_has_no_build() -> None:
    assert measure("") == 0
    assert measure("?!") == 0

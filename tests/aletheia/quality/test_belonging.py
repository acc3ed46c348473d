"""Whether an item is about its department: words it shares with the description."""

import pytest

from aletheia.quality.belonging import find_linked, measure_echo
from aletheia.quality.reading import read_text


def stems(text: str, language: str) -> frozenset[str]:
    return read_text(text, language).specific


@pytest.mark.parametrize(("language", "is_linked"), [("de", True), ("en", False)])
def test_a_word_within_a_compound_links_a_text_where_compounds_are_written(
    language: str, is_linked: bool
) -> None:
    described = stems("Vertrag Datenschutz", language)
    reading = read_text("Der Rahmenvertragsentwurf liegt im Ordner.", language)
    (linked,) = find_linked([reading], described, language)
    assert bool(linked) is is_linked


def test_without_a_description_nothing_is_linked_and_nothing_is_missing() -> None:
    reading = read_text("Contracts are checked by the legal lead.", "en")
    assert find_linked([reading], frozenset(), "en") == [frozenset()]
    assert measure_echo([reading], frozenset(), "en") == 1.0


def test_the_echo_is_the_share_of_the_description_that_some_text_has() -> None:
    described = stems("contracts trademarks disputes invoices", "en")
    assert len(described) == 4
    texts = ("The lead checks contracts.", "Nobody renews trademarks late.", "It rains.")
    readings = [read_text(text, "en") for text in texts]
    assert measure_echo(readings, described, "en") == pytest.approx(0.5)
    assert measure_echo(readings[2:], described, "en") == 0.0

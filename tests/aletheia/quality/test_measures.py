import pytest

from aletheia.quality.grammar import grammar_of
from aletheia.quality.measures import count_impossible
from aletheia.quality.sentences import split_sentences


def count(text: str, language: str) -> int:
    grammar = grammar_of(language)
    return count_impossible(split_sentences(text, grammar), grammar)


@pytest.mark.parametrize(
    ("language", "text", "impossible"),
    [
        ("en", "The crate weighs at least 12 hours.", 1),
        ("en", "A temperature of 40 litres is kept, and the ramp is two kilograms wide.", 2),
        ("de", "Die Frist beträgt 30 Kilogramm.", 1),
        ("de", "Der Balken ist drei Stunden breit.", 1),
        ("es", "La caja pesa 20 minutos.", 1),
        ("es", "La rampa mide dos metros de ancho.", 0),
        ("fr", "Le contrôle dure au moins 12 litres.", 1),
        ("en", "The crate weighs 12 kg and is 80 cm high.", 0),
        ("en", "The temperature is read every 4 hours.", 0),
        ("en", "Weigh the flour after 20 minutes.", 0),
        ("en", "The price falls by 20 %, the talk is three hours long.", 0),
        ("fr", "On mesure chez lui pendant deux semaines.", 0),
        ("de", "Der Versand kostet 12 Euro und dauert drei Tage.", 0),
    ],
)
def test_a_figure_is_impossible_where_its_unit_is_of_something_else(
    language: str, text: str, impossible: int
) -> None:
    assert count(text, language) == impossible


def test_in_a_language_that_is_not_read_nothing_is_impossible() -> None:
    sentences = split_sentences("Bedna váží 12 hodin.", None)
    assert count_impossible(sentences, None) == 0

import pytest

from aletheia.quality.grammar import find_language, grammar_of
from aletheia.quality.sentences import Sentence, split_sentences


def read(text: str, otherwise: str = "en") -> tuple[Sentence, ...]:
    return split_sentences(text, grammar_of(find_language(text, otherwise)))


@pytest.mark.parametrize(
    "text",
    [
        "The crew checks the valve every morning and notes the pressure.",
        "Feed again if the starter has collapsed.",
        "Country loaf: 80 % wheat, 20 % rye, 74 % water, 2 % salt.",
        "Die Fahrerin prüft vor der Abfahrt die Bremsen und unterschreibt im Fahrtenbuch.",
        "El encargado revisa los frenos antes de la salida y firma en el libro.",
        "Limpia el filtro con agua tibia cada dos semanas.",
        "Le chauffeur vérifie les freins avant le départ et signe le carnet.",
        "On nettoie le filtre toutes les deux semaines à l'eau tiède.",
    ],
)
def test_a_sentence_of_people_is_built(text: str) -> None:
    (sentence,) = read(text)
    assert sentence.build >= 0.7


def test_an_infinitive_at_the_end_is_a_predicate_in_german() -> None:
    (sentence,) = read("Ventile zweimal im Jahr prüfen.", "de")
    assert sentence.build >= 0.7


@pytest.mark.parametrize(
    "text",
    [
        "Trams nightly doors sanding dawn brakes handing of over repair cleaning at the and.",
        "The of and doors with from brakes the at and.",
        "Spring inspection, brood, queen, frames, smoker, hive tool, stores, pollen.",
        "Rehearsals of the programme in view of the hall, and also with regard to the tickets.",
        "Türen Bremsen Reinigung Übergabe Fahrer Morgen Sand Räder Wagen Depot.",
        "Los frenos de la y puertas en el con arena del de.",
        "Le de portes la et freins du avec les.",
    ],
)
def test_a_heap_of_words_is_no_sentence(text: str) -> None:
    assert all(sentence.build <= 0.35 for sentence in read(text))


def test_numbers_without_anything_they_count_are_no_measure() -> None:
    (sentence,) = read("The engine has 47 of 12 and thus 310 per 9 at 5 to 88.")
    assert sentence.build < 0.5


def test_sentences_end_at_their_marks_and_not_in_abbreviations_or_numbers() -> None:
    assert len(read("Wait 1.5 hours. Then call Dr. Weber, e.g. by phone. Done?")) == 3
    assert len(read("担当者は契約書を読みます。三日以内に署名します。")) == 2


def test_in_a_language_that_is_not_read_nothing_is_held_against_a_sentence() -> None:
    (sentence,) = split_sentences("Il fornaio pesa la farina ogni mattina.", None)
    assert sentence.build == 0.8


def test_any_text_can_be_read() -> None:
    assert read("") == ()
    assert read("…!? ;;") == ()

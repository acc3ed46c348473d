import pytest

from aletheia.quality.grammar import LANGUAGES, find_language, fold, grammar_of


def test_four_languages_are_read() -> None:
    assert set(LANGUAGES) == {"en", "de", "es", "fr"}
    assert grammar_of("it") is None
    assert grammar_of(None) is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The clerk signs it before the end of the day.", "en"),
        ("Die Leiterin prüft es nach der Pause und unterschreibt.", "de"),
        ("La encargada lo revisa antes de la pausa y lo firma.", "es"),
        ("La responsable le vérifie avant la pause et le signe.", "fr"),
        ("Berlin, Paris, Madrid", None),
        ("", None),
    ],
)
def test_a_language_is_known_by_its_function_words(text: str, language: str | None) -> None:
    assert find_language(text) == language


def test_where_a_text_does_not_show_its_language_the_given_one_holds() -> None:
    assert find_language("Weigh flour.", "en") == "en"


@pytest.mark.parametrize(
    ("language", "forms"),
    [
        ("en", "checks checked carries carried stopped fixes bakes"),
        ("de", "prüft geprüft prüften ablegt abgelegt abzulegen"),
        ("es", "limpia limpian limpie busquen pruebe encienden seguirán"),
        ("fr", "vérifie vérifient finissent nettoie mangeait"),
    ],
)
def test_forms_of_common_verbs_are_known(language: str, forms: str) -> None:
    grammar = grammar_of(language)
    assert grammar is not None
    assert {form for form in forms.split() if fold(form) not in grammar.verbs} == set()

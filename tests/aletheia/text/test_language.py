import pytest

from aletheia.text.language import guess_language, identify_language, may_be_english

TEXTS = {
    "en": "The team checks every open contract on the first Monday of the month and writes down "
    "what is missing.",
    "de": "Das Team prüft jeden offenen Vertrag am ersten Montag des Monats und schreibt auf, was "
    "noch fehlt.",
    "fr": "L'équipe vérifie chaque contrat ouvert le premier lundi du mois et note ce qui manque "
    "encore.",
    "es": "El equipo revisa cada contrato abierto el primer lunes del mes y anota lo que todavía "
    "falta.",
    "ru": "Команда проверяет каждый открытый договор в первый понедельник месяца и записывает, "
    "чего не хватает.",
    "ja": "チームは毎月第一月曜日にすべての未処理の契約を確認し、まだ足りないものを書き留めます。"
    "担当者は結果を一覧表にまとめ、翌日の会議で全員に説明し、必要な対応を決めて記録に残します。",
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence_has_a_language(language: str) -> None:
    assert guess_language(TEXTS[language]) == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Legal",
        "OK, Berlin 2026.",
        "1234 5678 9012 3456 7890 " * 20,
        "SAP S/4HANA, SEO, KPI, CRM, ERP, AWS, API, SLA, HR, IT, PR, QA, R&D",
    ],
)
def test_what_could_be_any_language_has_none(text: str) -> None:
    assert guess_language(text) is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Todos os seres humanos nascem livres e iguais em dignidade.", "pt"),
        ("O contrato foi assinado ontem.", "pt"),
        ("We need more time for the contract.", "en"),
        ("Der Vertrag wurde gestern unterschrieben.", "de"),
    ],
)
def test_a_short_sentence_is_identified(text: str, language: str) -> None:
    assert identify_language(text) == language


@pytest.mark.parametrize(
    "text", ["", "Olá", "12345 67890 " * 20, "😀" * 100, "OK 1", "\ud800" * 80]
)
def test_what_has_no_words_has_no_language(text: str) -> None:
    assert identify_language(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "Fine", "😀", "Great!", "SAP S/4HANA, SEO, KPI, CRM, ERP, AWS, API, SLA", TEXTS["en"]],
)
def test_what_may_be_english(text: str) -> None:
    assert may_be_english(text)


@pytest.mark.parametrize("text", [*(TEXTS[name] for name in TEXTS if name != "en"), "Очень плохо!"])
def test_what_is_clearly_another_language_is_not(text: str) -> None:
    assert not may_be_english(text)

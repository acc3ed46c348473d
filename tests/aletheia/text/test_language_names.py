"""Names of languages and their codes."""

import pytest

from aletheia.text.language_names import CODES, code_of


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("english", "en"),
        ("English", "en"),
        ("en", "en"),
        ("EN-us", "en"),
        ("pt_BR", "pt"),
        ("haitian", None),
        ("", None),
        ("x" * 1000, None),
    ],
)
def test_a_language_is_known_by_its_name_or_its_code(said: str, code: str | None):
    assert code_of(said) == code


def test_each_name_has_a_code_of_its_own():
    assert len(set(CODES.values())) == len(CODES) > 90

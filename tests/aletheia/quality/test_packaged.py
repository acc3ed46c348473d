import pytest

from aletheia.quality.grammar import LANGUAGES
from aletheia.quality.packaged import OTHER_LANGUAGE, find_texts, read_packaged
from aletheia.quality.registers import Examples

NAME = "registers.yaml"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_its_own_texts(language: str):
    found = find_texts(NAME, Examples, language)
    assert list(found.practice) == read_packaged(NAME)[language]["practice"]
    assert list(found.orders) == read_packaged(NAME)[language]["orders"]


@pytest.mark.parametrize("language", [None, "", "fi", "no language"])
def test_others_have_those_of_another_one(language: str | None):
    assert find_texts(NAME, Examples, language) == find_texts(NAME, Examples, OTHER_LANGUAGE)


def test_what_is_read_once_is_not_read_again():
    assert find_texts(NAME, Examples, "de") is find_texts(NAME, Examples, "de")


def test_a_file_that_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError):
        read_packaged("no_such_file.yaml")

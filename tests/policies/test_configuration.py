"""The documentation of what can be configured is what can be configured."""

import re

import pytest
from pydantic import ValidationError

from aletheia.settings import LogSettings
from deployments.configuration import DOCUMENT, EXAMPLE, sections, write_document, write_example

NAMES = [variable.name for section in sections() for variable in section.variables]


def test_the_table_equals_the_settings_and_the_blocks():
    assert DOCUMENT.read_text() == write_document(), "run `make configuration`"


def test_the_example_equals_the_settings_and_the_blocks():
    assert EXAMPLE.read_text() == write_example(), "run `make configuration`"


def test_every_variable_is_listed_once():
    assert len(NAMES) == len(set(NAMES))


def test_the_example_holds_every_variable_once():
    assert re.findall(r"^# ([A-Z][A-Z0-9_]+)=", EXAMPLE.read_text(), re.MULTILINE) == NAMES


def test_every_variable_has_one_line_that_explains_it():
    for section in sections():
        for variable in section.variables:
            assert re.fullmatch(r"[^\n]{10,}\.", variable.meaning), variable.name
            assert variable.values, variable.name


def test_no_secret_has_a_default():
    for section in sections():
        for variable in section.variables:
            if variable.values == "secret":
                assert variable.default == "", variable.name


@pytest.mark.parametrize("level", ["debug", "Warning", "ERROR"])
def test_a_log_level_is_taken_in_either_case(level: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOG_LEVEL", level)
    assert LogSettings().log_level == level.upper()


@pytest.mark.parametrize("level", ["loud", "debugg", "10"])
def test_another_log_level_is_refused(level: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOG_LEVEL", level)
    with pytest.raises(ValidationError, match="log_level"):
        LogSettings()

"""Inputs are read by a type's model, and what is wrong has a code that names the field."""

from typing import Any

import pytest
from pydantic import BaseModel, Field

from aletheia.analysis.inputs import check_readable, check_text, read_input
from aletheia.errors import InvalidTask


class Form(BaseModel):
    text: str
    max_length: int = Field(default=150, ge=1)
    parts: list[str] = Field(default_factory=list[str])


def test_an_input_is_read_and_further_fields_are_left_out():
    read = read_input(Form, {"text": "a", "colour": "red"})
    assert read == Form(text="a", max_length=150)


@pytest.mark.parametrize(
    ("task_input", "code"),
    [
        ({}, "missing_text"),
        ({"text": None}, "missing_text"),
        ({"text": 7}, "invalid_text"),
        ({"text": "a", "max_length": 0}, "invalid_max_length"),
        ({"text": "a", "max_length": None}, "missing_max_length"),
        ({"text": "a", "max_length": "many"}, "invalid_max_length"),
        ({"text": "a", "parts": ["b", 3]}, "invalid_parts"),
    ],
)
def test_what_is_wrong_has_a_code_that_names_the_field(task_input: dict[str, Any], code: str):
    with pytest.raises(InvalidTask) as raised:
        read_input(Form, task_input)
    assert raised.value.code == code


def test_an_error_repeats_nothing_of_the_input():
    with pytest.raises(InvalidTask) as raised:
        read_input(Form, {"text": "a", "max_length": "s3cret"})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "code"), [("", "empty_text"), (" \n", "empty_text"), ("ä" * 6, "input_too_long")]
)
def test_a_text_has_something_in_it_and_a_bound(text: str, code: str):
    with pytest.raises(InvalidTask) as raised:
        check_text(text, max_bytes=10)
    assert raised.value.code == code
    check_text("ä" * 5, max_bytes=10)


@pytest.mark.parametrize("text", ["a", "\x00" * 2000 + "a", "😀", "."])
def test_a_text_with_something_visible_is_one(text: str):
    check_readable(text)


@pytest.mark.parametrize("text", ["", "\x00", "\u200b" * 5000])
def test_a_text_of_invisible_characters_is_empty(text: str):
    with pytest.raises(InvalidTask) as refused:
        check_readable(text)
    assert refused.value.code == "empty_text"


def test_half_of_a_surrogate_pair_is_no_text():
    with pytest.raises(InvalidTask) as refused:
        check_readable("fine \ud800 not")
    assert refused.value.code == "invalid_text"

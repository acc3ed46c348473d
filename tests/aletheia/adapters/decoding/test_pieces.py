"""Heads, pages and parts."""

import tempfile

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.adapters.decoding.pieces import (
    MAX_METADATA,
    MAX_METADATA_CHARS,
    PART_CHARS,
    clean,
    make_head,
    read_all,
    split_parts,
)
from aletheia.errors import InvalidTask


def test_metadata_is_short_text_without_what_is_empty():
    head = make_head(
        3, {"title": "a\n b\0", "author": None, "subject": " ", "pages": 3, "x": "y" * 5000}
    )
    assert head["page_count"] == 3
    metadata = head["metadata"]
    assert metadata == {"title": "a b", "pages": "3", "x": "y" * MAX_METADATA_CHARS}
    assert len(make_head(1, {f"n{n}": "v" for n in range(999)})["metadata"]) == MAX_METADATA


@given(st.text(max_size=200))
def test_a_clean_text_can_be_saved_anywhere(text: str):
    cleaned = clean(text)
    assert orjson.loads(orjson.dumps(cleaned)) == cleaned
    assert "\0" not in cleaned
    assert "\r" not in cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\r\nb\rc\x0cd", "a\nb\nc\nd"),
        ("so\u00adft", "soft"),
        ("\ufeffa\x07\x9b", "a"),
        ("half \ud83d pair", "half ? pair"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_what_is_no_text_leaves_it(text: str, cleaned: str):
    assert clean(text) == cleaned


def test_parts_are_long_enough_and_numbered():
    blocks = ["x" * 3000] * 20
    parts = list(split_parts(blocks, 10**6))
    assert [part["number"] for part in parts] == [1, 2, 3]
    assert all(len(part["text"]) >= PART_CHARS for part in parts[:-1])
    assert list(split_parts(blocks, 10**6, first=2)) == parts[1:]
    assert list(split_parts(["", " \n "], 10)) == []


def test_what_is_left_out_is_said():
    parts = list(split_parts(["a" * 60, "b" * 60, "c" * 60], 100))
    assert [part["text"] for part in parts] == ["a" * 60 + "\n\n" + "b" * 40]
    assert parts[0]["is_cut"]


def test_a_file_that_is_too_long_is_not_read():
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 100)
        file.flush()
        assert read_all(file.fileno(), 100) == b"x" * 100
        with pytest.raises(InvalidTask) as refused:
            read_all(file.fileno(), 99)
    assert refused.value.code == "too_large"

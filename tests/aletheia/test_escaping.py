"""What others wrote stays text."""

import json

import pytest

from aletheia.escaping import (
    drop_controls,
    escape_json,
    escape_markdown,
    show_controls,
    unescape_markdown,
)

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\rover\x7f\u202egnp.exe\ud800"


def test_a_control_character_is_shown_as_one_sign_of_the_same_width():
    shown = show_controls(HOSTILE)
    assert shown == "␛]0;owned␇␛[2J�31m␍over␡�gnp.exe�"
    assert len(shown) == len(HOSTILE)
    shown.encode()


def test_a_control_character_can_be_left_out():
    assert drop_controls(HOSTILE) == "]0;owned[2J31movergnp.exe"


@pytest.mark.parametrize("text", ["", "a\tb\nc", "né — 日本語 👩‍🔬", "می‌خواهم"])
def test_what_people_write_is_left_as_it_is(text: str):
    assert show_controls(text) == drop_controls(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("![x](https://e.example/p.png)", r"!\[x\](https\://e.example/p.png)"),
        ("<img src=x>", r"\<img src=x\>"),
        ("www.e.example and a@e.example", r"www\.e.example and a\@e.example"),
        ("a | b\n\n# c", r"a \| b # c"),
        ("# head", r"\# head"),
        ("12. twelfth", r"12\. twelfth"),
        ("12.5 s", "12.5 s"),
        ("_no_ unknown_type", r"\_no\_ unknown_type"),
        ("- point", r"\- point"),
        ("3 items, 0.5 s, gpt-4.1-mini: 12 + 3 - 4", "3 items, 0.5 s, gpt-4.1-mini: 12 + 3 - 4"),
        ("&lt;b&gt; \\", r"\&lt;b\&gt; \\"),
        ("\x1b[1m", r"␛\[1m"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, escaped: str):
    assert escape_markdown(text) == escaped
    assert unescape_markdown(escaped) == " ".join(show_controls(text).split())


def test_json_says_the_same_without_control_characters():
    written = json.dumps([HOSTILE, "né"], ensure_ascii=False)
    escaped = escape_json(written)
    assert escaped.isprintable()
    assert json.loads(escaped) == [HOSTILE, "né"]

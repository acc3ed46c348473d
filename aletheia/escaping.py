"""Texts of outsiders, made safe for terminals, lines of logs and markdown.

What others wrote (tasks, documents, names of models, answers of servers) stays text wherever a
person reads it: it moves no cursor, paints nothing, sets no title of a window, turns no line round,
and loads nothing.
"""

import re
from typing import Final

_CONTROLS: Final = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters but for tab and end of line, what turns the direction of lines
(https://trojansource.codes), and half surrogates, which no file takes."""

CONTROL: Final = re.compile(f"[{_CONTROLS}]")

_PICTURES: Final = 0x2400
"""Unicode's pictures of the control characters begin there."""

_DELETE: Final = 0x7F

_MARKDOWN: Final = re.compile(
    r"[\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)"  # what marks a span, a link, an entity, a cell
    r"|^[#+-]|^\d+(?=[.)](?:\s|$))"  # what begins a heading or a list
    r"|:(?=//)|@|(?<=www)\.",  # what makes a link of an address
    re.IGNORECASE,
)

_ESCAPED: Final = re.compile(r"\\([!-/:-@\[-`{-~])")


def show_controls(text: str) -> str:
    """Return a text with a visible sign of the same width for each control character in it."""
    return CONTROL.sub(_draw, text)


def drop_controls(text: str) -> str:
    """Return a text without the control characters in it."""
    return CONTROL.sub("", text)


def escape_json(written: str) -> str:
    """Return JSON with control characters by their escapes; it says the same."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def escape_markdown(text: str) -> str:
    """Escape a text so that markdown shows it as it is, on one line, and loads nothing."""
    return _MARKDOWN.sub(_escape, show_controls(" ".join(text.split())))


def unescape_markdown(escaped: str) -> str:
    """Return what `escape_markdown` was given, but for white space and control characters."""
    return _ESCAPED.sub(r"\1", escaped)


def _escape(found: re.Match[str]) -> str:
    # The number of a list is escaped at the sign behind it.
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def _draw(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < ord(" "):
        return chr(_PICTURES + code)
    return "␡" if code == _DELETE else "�"

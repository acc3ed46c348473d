"""Pages of pending tasks, however odd their entries are."""

import json
import re
from contextlib import suppress
from typing import Final, cast

import orjson

from aletheia.adapters.http_answers import check_values, is_web_page

ENVELOPES: Final = ("data", "tasks", "items", "docs")
"""Names under which an upstream may wrap its page."""

MAX_DEPTH: Final = 200
"""Levels of nesting in a page that are read; Python's parser gives up at about a thousand."""

MAX_DIGITS: Final = 400
"""Digits of an integer that is read as one."""

_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""Possessive, and a string need not end: to try again from each quote would be quadratic."""


def read_page(body: bytes) -> list[object]:
    """Read one page of tasks: a bare list, or one in an envelope or two; or raise `ValueError`.

    A value that strict JSON does not allow (a lone surrogate, `NaN`, bytes that are not UTF-8)
    costs only the entry it stands in: it is let through, and what checks the entries refuses it.
    So does nesting too deep to read, which ends at `MAX_DEPTH` levels with a `null`.
    """
    check_values(body)
    page = _find_page(read_tolerantly(body), envelopes=2)
    if page is None:
        raise ValueError("not a page of tasks")
    return page


def read_tolerantly(body: bytes) -> object:
    """Read JSON, also with values that strict JSON does not allow; see `read_page`."""
    with suppress(orjson.JSONDecodeError):
        return orjson.loads(body)
    try:
        text = body.decode("utf-8-sig", "surrogateescape")
        try:
            return json.loads(text, strict=False, parse_int=read_int)
        except RecursionError:
            return json.loads(_cut_depths(text), strict=False, parse_int=read_int)
    except ValueError:
        said = "a web page in place of JSON" if is_web_page(body) else "not JSON"
        raise ValueError(said) from None


def _cut_depths(text: str) -> str:
    """Replace by `null` whatever is nested deeper than `MAX_DEPTH`."""
    pieces: list[str] = []
    depth = start = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        bracket = token.group()
        if bracket in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                pieces += (text[start : token.start()], "null")
        elif bracket in ("]", "}"):
            if depth == MAX_DEPTH + 1:
                start = token.end()
            depth -= 1
    if depth:
        raise ValueError("brackets do not match")
    return "".join([*pieces, text[start:]])


def read_int(digits: str) -> float:
    """Read an integer, however long."""
    # Python refuses to read an int of more than 4300 digits, which would cost the page.
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _find_page(answer: object, *, envelopes: int) -> list[object] | None:
    """Find the list in an answer, at most `envelopes` names deep."""
    if isinstance(answer, list):
        return cast("list[object]", answer)
    if isinstance(answer, dict) and envelopes > 0:
        wrapped = cast("dict[str, object]", answer)
        for name in ENVELOPES:
            page = _find_page(wrapped.get(name), envelopes=envelopes - 1)
            if page is not None:
                return page
    return None

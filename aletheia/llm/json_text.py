"""JSON within a text, as far as it has one meaning."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from pydantic_core import from_json

from aletheia.errors import ComputeFailed

MAX_DEPTH: Final = 32
"""Levels of nesting that are read; pydantic's parser ends at 200."""

MAX_TRIES: Final = 64
"""Brackets at which the beginning of a JSON value is looked for."""

MAX_SCANS: Final = 8
"""Times that a text is read to its end, in search of that of a value."""

_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"?'
"""A string, or the part of one that does not end, so that no character is scanned twice."""

_TOKEN: Final = re.compile(_STRING + r"|[\[\]{}]", re.DOTALL)
BRACKET: Final = re.compile(r"[\[{]")
_TRAILING_COMMA: Final = re.compile(rf"({_STRING})|,(?=\s*[\]}}])", re.DOTALL)
_CLOSING: Final = re.compile(r",?\s*[\]}]")


class UnreadableAnswer(ComputeFailed):
    """An answer without a usable value; another answer may have one.

    `code`: `refused`, `no_room`, `empty_answer`, `cut_thought`, `answer_too_large`, `not_json`,
    `half_json`, `ambiguous_json`, `json_too_deep` or `wrong_shape`.
    """


@dataclass(frozen=True, slots=True)
class FoundJson:
    """A JSON value in an answer."""

    value: object
    is_cut: bool = False  # the answer ends before the value does; what was complete is there


def scan_json(text: str) -> Iterator[FoundJson | UnreadableAnswer]:
    """Yield the lists and objects in a text that are not part of another one."""
    place = scans = 0
    extents: dict[int, _Extent] = {}
    for _ in range(MAX_TRIES):
        bracket = BRACKET.search(text, place)
        if bracket is None or scans > MAX_SCANS:
            return
        start = bracket.start()
        if start not in extents:  # else it is within a value that was measured
            extents = _measure(text, start)
            scans += extents[start].end is None
        extent = extents[start]
        end = extent.end
        place = len(text) if end is None else end
        if extent.depth > MAX_DEPTH:
            yield UnreadableAnswer("json_too_deep", f"the JSON has more than {MAX_DEPTH} levels")
            continue
        try:
            if end is None:
                yield FoundJson(_load_part(text[start:], extent.closed(text, start)), is_cut=True)
            else:
                yield FoundJson(load_whole(text[start:end]))
        except ValueError as error:
            yield UnreadableAnswer("not_json", f"the JSON cannot be read: {error}")
            place = start + 1


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where a value ends that begins at a bracket."""

    end: int | None  # `None` if it does not
    depth: int  # levels of nesting
    ends: str = ""  # of a value without an end, what closes it behind its last closing bracket
    last: int = 0  # where that is

    def closed(self, text: str, start: int) -> str:
        """Return what comes of a value without an end before its last closing bracket, closed."""
        return text[start : self.last] + self.ends


def _measure(text: str, start: int) -> dict[int, _Extent]:
    """Measure the value that begins at a bracket, and those in it, by where they begin."""
    measured: dict[int, _Extent] = {}
    opened: list[tuple[int, int]] = []  # where, and the levels of nesting so far
    last = left = 0
    for token in _TOKEN.finditer(text, start):
        bracket = token.group()
        if bracket in ("[", "{"):
            opened.append((token.start(), 1))
        elif bracket in ("]", "}"):
            begin, depth = opened.pop()
            last, left = token.end(), len(opened)
            measured[begin] = _Extent(last, depth)
            if not opened:
                return measured
            around, deepest = opened[-1]
            opened[-1] = around, max(deepest, depth + 1)
    depth, ends = 0, ""
    for place in reversed(range(len(opened))):
        begin, deepest = opened[place]
        depth = max(deepest, depth + 1)
        if place < left:
            ends += "]" if text[begin] == "[" else "}"
        measured[begin] = _Extent(None, depth, ends, last if place < left else 0)
    return measured


def _load_part(written: str, closed: str) -> object:
    """Read what is complete of a value that was cut, or else what of it can be mended."""
    try:
        return parse_json(written, allow_partial=True)
    except ValueError:
        with suppress(ValueError):
            return load_whole(closed)
        raise


def load_whole(written: str) -> object:
    """Read a value, mending what has only one reading: commas at an end, raw line breaks.

    NaN and infinities are null. Raises `ValueError`: it is none.
    """
    try:
        return parse_json(written)
    except ValueError as error:
        try:
            try:
                return _load_tolerantly(written)
            except json.JSONDecodeError as fault:
                if not _CLOSING.match(written, fault.pos):
                    raise
                mended = _TRAILING_COMMA.sub(lambda match: match.group(1) or "", written)
                return _load_tolerantly(mended)
        except (ValueError, RecursionError):
            raise error from None


def _load_tolerantly(written: str) -> object:
    # It reads lone surrogates, too: the part that has one is refused where it is validated.
    return cast("object", json.loads(written, strict=False, parse_constant=lambda _: None))


def parse_json(written: str, *, allow_partial: bool = False) -> object:
    """Parse JSON; of a part, what of it is complete. Raises `ValueError`: it is none."""
    try:
        return from_json(written, allow_inf_nan=False, allow_partial=allow_partial)
    except TypeError as error:
        # pydantic's parser takes a text with a lone surrogate for no text at all.
        raise ValueError("it has half a surrogate") from error


def end_of_json(text: str, start: int) -> int | None:
    """Return the index behind the JSON value that begins at a bracket; `None` if none does."""
    end = _measure(text, start)[start].end
    if end is not None:
        try:
            load_whole(text[start:end])
        except ValueError:
            return None
    return end

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

_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"?'
"""A string, or the part of one that does not end, so that no character is scanned twice."""

_TOKEN: Final = re.compile(_STRING + r"|[\[\]{}]", re.DOTALL)
BRACKET: Final = re.compile(r"[\[{]")
_TRAILING_COMMA: Final = re.compile(rf"({_STRING})|,(?=\s*[\]}}])", re.DOTALL)


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
    place = 0
    for _ in range(MAX_TRIES):
        bracket = BRACKET.search(text, place)
        if bracket is None:
            return
        start = bracket.start()
        end, depth, closed = _measure(text, start)
        place = len(text) if end is None else end
        if depth > MAX_DEPTH:
            yield UnreadableAnswer("json_too_deep", f"the JSON has more than {MAX_DEPTH} levels")
            continue
        try:
            if end is None:
                yield FoundJson(_load_part(text[start:], closed), is_cut=True)
            else:
                yield FoundJson(load_whole(text[start:end]))
        except ValueError as error:
            yield UnreadableAnswer("not_json", f"the JSON cannot be read: {error}")
            place = start + 1


def _measure(text: str, start: int) -> tuple[int | None, int, str]:
    """Find the end of the value that begins at a bracket, and its levels of nesting.

    Of a value without an end, the third is what comes before its last closing bracket, closed.
    """
    ends: list[str] = []
    deepest = closed = left = 0
    for token in _TOKEN.finditer(text, start):
        bracket = token.group()
        if bracket in ("[", "{"):
            ends.append("]" if bracket == "[" else "}")
            deepest = max(deepest, len(ends))
        elif bracket in ("]", "}"):
            ends.pop()
            closed, left = token.end(), len(ends)
            if not ends:
                return closed, deepest, ""
    return None, deepest, text[start:closed] + "".join(reversed(ends[:left]))


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
        mended = _TRAILING_COMMA.sub(lambda match: match.group(1) or "", written)
        try:
            # It reads lone surrogates, too: the part that has one is refused where it is validated.
            return cast("object", json.loads(mended, strict=False, parse_constant=lambda _: None))
        except (ValueError, RecursionError):
            raise error from None


def parse_json(written: str, *, allow_partial: bool = False) -> object:
    """Parse JSON; of a part, what of it is complete. Raises `ValueError`: it is none."""
    try:
        return from_json(written, allow_inf_nan=False, allow_partial=allow_partial)
    except TypeError as error:
        # pydantic's parser takes a text with a lone surrogate for no text at all.
        raise ValueError("it has half a surrogate") from error


def end_of_json(text: str, start: int) -> int | None:
    """Return the index behind the JSON value that begins at a bracket; `None` if none does."""
    end, *_ = _measure(text, start)
    if end is not None:
        try:
            load_whole(text[start:end])
        except ValueError:
            return None
    return end

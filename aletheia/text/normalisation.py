"""One form for texts that differ only in spelling of characters (SPEC §4, Dedup and MongoDB).

An item's `_id` is made from this form: a change here gives saved items new ids.
"""

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Final

_SUPERSCRIPTS: Final = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_POWER: Final = re.compile(rf"(?<=\d)(?=[{_SUPERSCRIPTS}])")
_MIXED_NUMBER: Final = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞↉])")

_SAME: Final = str.maketrans(
    {
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{MODIFIER LETTER APOSTROPHE}": "'",
        "\N{FRACTION SLASH}": "/",
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
    }
)
"""Writings of one character; `NFKC` leaves them apart."""

_MEANINGFUL: Final = frozenset(".,:'/-#%‰&@§^+")
"""Punctuation that belongs to a number or a name in some places, such as 1,000 and C#."""

_MARK: Final = re.compile(r"[.,:'^/#-]")
_NUMBER_THEN_NAME: Final = re.compile(r"(\d)([^\W\d_]|[%‰°€$£¥])")
_SIGN_THEN_NUMBER: Final = re.compile(r"([€$£¥])(\d)")
_DEGREES: Final = re.compile(r"°\s+(?=[cf]\b)")


class _Table(dict[int, str | int | None]):
    """Maps punctuation, separators and control characters to a space, as it meets them."""

    def __missing__(self, code: int) -> str | int | None:
        character = chr(code)
        category = unicodedata.category(character)
        value: str | int | None = code
        if category == "Nd":
            value = str(unicodedata.decimal(character))
        elif category == "Cf":
            value = None
        elif character not in _MEANINGFUL and (category[0] in "PZC" or category == "Sk"):
            value = " "
        self[code] = value
        return value


_TABLE: Final = _Table()


@lru_cache(maxsize=512)  # a batch's texts are asked for again in every step
def normalise(text: str) -> str:
    """Return a text in one form: `NFKC`, case folded, single spaces, no punctuation.

    Punctuation stays where it is part of a number, a unit or a name: 1,000 and 1.5, -5, 10-15,
    1/2, 5 %, km/h, C#, C++. Digits of all scripts become ASCII. What has only punctuation keeps it.
    """
    spelled = text if text.isascii() else _MIXED_NUMBER.sub(" ", _POWER.sub("^", text))
    # Folding case can take a text out of NFKC.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", spelled).casefold())
    plain = _MARK.sub(_replace_mark, folded.translate(_SAME).translate(_TABLE))
    spaced = _SIGN_THEN_NUMBER.sub(r"\1 \2", _NUMBER_THEN_NAME.sub(r"\1 \2", plain))
    joined = " ".join(spaced.split())
    return _DEGREES.sub("°", joined) or " ".join(folded.split())


def _replace_mark(found: re.Match[str]) -> str:
    """Return a mark that is part of a number, a unit or a name, else a space or nothing."""
    at, mark, text = found.start(), found[0], found.string
    before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if mark == "-":
        is_part = after.isdecimal() and not before.isalpha()
    elif mark == "/":
        is_part = before.isalnum() and after.isalnum()
    elif mark == "#":
        is_part = before.isalnum() or after.isdecimal()
    elif mark == "'" and before.isalpha() and after.isalpha():
        return ""
    else:
        is_part = before.isdecimal() and after.isdecimal()
    return mark if is_part else " "


def content_hash(text: str) -> str:
    """Return the SHA-256 of the normalised text, 64 hexadecimal digits."""
    return hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()

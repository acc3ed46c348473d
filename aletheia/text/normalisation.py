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

_SAME: Final[dict[int, str | int | None]] = str.maketrans(
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

_MEANINGFUL: Final = frozenset(".,:'/-#%‰‱&@§^+*!\N{PRIME}")
"""Punctuation that belongs to a number or a name in some places, such as 1,000 and C#."""

_MARK: Final = re.compile("[.,:'^/#*!\N{PRIME}-]")
_OPENING: Final = frozenset(("", " ", "(", "[", "=", "&", "|", "<", ">", "≠"))
"""What stands before a `!` that negates what follows, as programs write it."""

_NUMBER_THEN_NAME: Final = re.compile(r"(\d)([^\W\d_]|[%‰°€$£¥])")
_SIGN_THEN_NUMBER: Final = re.compile(r"([€$£¥])(\d)")
_DEGREES: Final = re.compile(r"°\s+(?=[cf]\b)")


_NOT_EQUAL: Final = re.compile(r"!==?|=/=|<>")
_MINUS: Final = re.compile(r"(?<!\w)[\u2010-\u2012](?=\d)|\u2212\s+(?=\d)")
_CASED_UNIT: Final = re.compile(r"(?<=\d)\s*(?:([KMGT])b|([kKMGT]B)ps|mW)\b")
"""Units that differ from others by their case alone: bits, not bytes; milliwatts, not megawatts."""


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


_TABLE: Final = _Table(_SAME)


@lru_cache(maxsize=512)  # a batch's texts are asked for again in every step
def normalise(text: str) -> str:
    """Return a text in one form: `NFKC`, case folded, single spaces, no punctuation.

    Punctuation stays where it is part of a number, a unit or a name: 1,000 and 1.5, -5, 10-15,
    1/2, 5 %, km/h, C#, C++; or a sign: != and ≠ are one, and not =. Digits of all scripts become
    ASCII. What has only punctuation keeps it.
    """
    spelled = _spell_out(text)
    # Folding case can take a text out of NFKC.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", spelled).casefold())
    plain = _MARK.sub(_replace_mark, folded.translate(_TABLE))
    spaced = _SIGN_THEN_NUMBER.sub(r"\1 \2", _NUMBER_THEN_NAME.sub(r"\1 \2", plain))
    joined = " ".join(spaced.split())
    return _DEGREES.sub("°", joined) or " ".join(folded.split())


def _spell_out(text: str) -> str:
    """Write signs and units that the rest of normalisation would make another one of."""
    if "=" in text or "<>" in text:
        text = _NOT_EQUAL.sub("≠", text)
    text = _CASED_UNIT.sub(_name_unit, text)
    if text.isascii():
        return text
    return _MIXED_NUMBER.sub(" ", _POWER.sub("^", _MINUS.sub("-", text)))


def _name_unit(found: re.Match[str]) -> str:
    """Return a unit in a form that does not hang on its case, such as `Mbit`."""
    bits, bytes_per_s = found.groups()
    return f" {bits}bit" if bits else f" {bytes_per_s}/s" if bytes_per_s else " milliW"


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
    elif mark == "\N{PRIME}":
        is_part = before.isdecimal() or before == mark
    elif mark == "!":
        is_part = before in _OPENING and after.isalnum()
    elif mark == "'" and before.isalpha() and after.isalpha():
        return ""
    else:
        is_part = before.isdecimal() and after.isdecimal()
    return mark if is_part else " "


def content_hash(text: str) -> str:
    """Return the SHA-256 of the normalised text, 64 hexadecimal digits."""
    return hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()

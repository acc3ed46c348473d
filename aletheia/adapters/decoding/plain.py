"""Reads plain text, in whatever encoding it is written."""

import codecs
import re
from collections.abc import Iterator, Sequence
from typing import Final

from charset_normalizer import from_bytes

from aletheia.adapters.decoding.pieces import Piece, make_head, read_all, split_parts
from aletheia.errors import InvalidTask

MAX_TEXT_BYTES: Final = 100_000_000

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES: Final = 65_536
_WESTERN: Final = "cp1252"
_FIRST_HIGH: Final = 0x80
_MAX_HIGH: Final = 0.3
"""Share of bytes beyond ASCII in a text of a Latin script, at most; Greek and Russian have 0.7."""

_MAX_CONTROLS: Final = 0.05
"""Share of control characters, or of such that could not be decoded, up to which it is a text."""

_PARAGRAPH: Final = re.compile(r"\n[ \t]*\n+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]")
_MAX_BLOCK: Final = 20_000
_BREAKS: Final = ("\n", ". ", " ")


def read_plain(files: Sequence[int], *, first_page: int, max_chars: int) -> Iterator[Piece]:
    """Yield the head of a text, then its parts from `first_page` on.

    Raises:
        InvalidTask: `unreadable_document` if it is no text, `too_large`.
    """
    text = decode_text(read_all(files[0], MAX_TEXT_BYTES))
    yield make_head(None, {})
    yield from split_parts(split_paragraphs(text), max_chars, first_page)


def decode_text(data: bytes, named: str | None = None) -> str:
    """Decode a text: by its byte order mark, the encoding that it `named`, as UTF-8, or by guess.

    Raises:
        InvalidTask: `unreadable_document`; it is no text.
    """
    text = _decode(data, named).replace("\r\n", "\n").replace("\r", "\n")
    if len(_CONTROL.findall(text[:_SAMPLE_BYTES])) > _MAX_CONTROLS * len(text[:_SAMPLE_BYTES]):
        raise InvalidTask("unreadable_document", "the document is no text in a known encoding")
    return text


def split_paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a text; one without end is cut, between sentences where possible."""
    begin = 0
    for found in _PARAGRAPH.finditer(text):
        yield from _cut(text, begin, found.start())
        begin = found.end()
    yield from _cut(text, begin, len(text))


def _cut(text: str, begin: int, end: int) -> Iterator[str]:
    while end - begin > _MAX_BLOCK:
        half = begin + _MAX_BLOCK // 2
        places = (text.rfind(mark, half, begin + _MAX_BLOCK) for mark in _BREAKS)
        place = next((found + 1 for found in places if found >= 0), begin + _MAX_BLOCK)
        yield text[begin:place]
        begin = place
    yield text[begin:end]


def _decode(data: bytes, named: str | None) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    for encoding in filter(None, (named, "utf-8")):
        try:
            return data.decode(encoding)
        except (UnicodeError, LookupError):
            continue
    sample = data[:_SAMPLE_BYTES]
    if sum(byte >= _FIRST_HIGH for byte in sample) <= _MAX_HIGH * len(sample):
        # A guess from so few letters with accents is worse than the commonest encoding.
        return data.decode(_WESTERN, "replace")
    best = from_bytes(sample).best()
    return data.decode(best.encoding if best else _WESTERN, "replace")

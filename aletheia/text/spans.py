"""Sentences of a text with the places they stand at, so that what is quoted can be found again.

Made for texts of documents: lines may be broken within sentences, headings have no full stop, and
lists have none between their entries.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_SENTENCE: Final = 1200
"""Characters of a sentence; what is longer is cut, as it is a table or no sentence at all."""

_ABBREVIATIONS: Final = (
    *("Dr", "Mr", "Ms", "St", "Nr", "No", "Sr", "Mrs", "Sra", "Mme", "Art", "Prof", "Abs", "Abb"),
    *("Fig", "Figs", "Tab", "Eq", "Sec", "Vol", "Bd", "vs", "etc", "bzw", "ca", "cf", "al", "pp"),
    *("Inc", "Ltd", "Co", "Corp", "Jr", "approx", "resp", "usw", "vgl", "Jan", "Feb", "Mar", "Apr"),
    *("Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Okt", "Nov", "Dec", "Dez"),
)
_NO_END: Final = "".join(rf"(?<!\b{word})" for word in _ABBREVIATIONS)

_END: Final = re.compile(
    # Of a longer row of marks its end is one: without a bound each of them is tried to the last.
    rf"(?<![\s.(]\w)(?<!^\w){_NO_END}[.!?\u2026\u061f\u06d4]{{1,20}}[\"'\u201d\u00bb\u2019)\]]*"
    r"(?=\s+[^a-z\s]|\s*$)"  # what goes on in small letters is the same sentence
    r"|[\u3002\uff01\uff1f\uff61\u0964\u0965]+[\u300d\u300f\u201d)]*"
)
_BLOCK: Final = re.compile(
    # Tried at the first of some blanks alone, or a long row of them takes the square of its length.
    r"(?<![ \t])[ \t]*(?:\n[ \t]*\n\s*|\n(?=[ \t]*(?:[-*+\u2022\u25cf\u2013]|\d+[.)])[ \t]))"
)
_HEADING_BREAK: Final = re.compile(r"\n+")
_MAX_HEADING: Final = 80
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Span:
    """A sentence of a text: `text` is exactly what stands from `start` to `end`, in characters."""

    text: str
    start: int
    end: int

    @property
    def shown(self) -> str:
        """The sentence on one line."""
        return " ".join(self.text.split())


def split_spans(text: str) -> list[Span]:
    """Split a text into its sentences, in order; what has no word in it is left out."""
    return list(iterate_spans(text))


def iterate_spans(text: str) -> Iterator[Span]:
    """Yield the sentences of a text, in order; see `split_spans`."""
    begin = 0
    for found in _BLOCK.finditer(text):
        yield from _split_block(text, begin, found.start())
        begin = found.end()
    yield from _split_block(text, begin, len(text))


def _split_block(text: str, begin: int, end: int) -> Iterator[Span]:
    """Yield the sentences of a paragraph, whose lines may be broken anywhere."""
    for part_begin, part_end in _split_headings(text, begin, end):
        at = part_begin
        for found in _END.finditer(text, part_begin, part_end):
            yield from _make(text, at, found.end())
            at = found.end()
        yield from _make(text, at, part_end)


def _split_headings(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield a paragraph without its first line, and that line, where it reads as a heading."""
    first = _HEADING_BREAK.search(text, begin, end)
    if first and first.start() - begin <= _MAX_HEADING:
        line, after = text[begin : first.start()].rstrip(), text[first.end() : first.end() + 1]
        is_open = line[-1:].isalnum() or line.endswith(")")
        # A line of a paragraph is nearly as long as its next one.
        next_end = _HEADING_BREAK.search(text, first.end(), end)
        next_length = (next_end.start() if next_end else end) - first.end()
        if is_open and after[:1].isupper() and 2 * len(line) < next_length:
            yield begin, first.start()
            yield first.end(), end
            return
    yield begin, end


def _make(text: str, begin: int, end: int) -> Iterator[Span]:
    while begin < end and text[begin].isspace():
        begin += 1
    while end > begin and text[end - 1].isspace():
        end -= 1
    while end - begin > MAX_SENTENCE:
        cut = text.rfind(" ", begin + MAX_SENTENCE // 2, begin + MAX_SENTENCE)
        cut = cut if cut > 0 else begin + MAX_SENTENCE
        yield Span(text[begin:cut], begin, cut)
        begin = cut + 1 if text[cut : cut + 1] == " " else cut
    if begin < end and _WORD.search(text, begin, end):
        yield Span(text[begin:end], begin, end)

"""Excerpts of two long texts: the parts in which they differ."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Final

EXCERPT_CHARS: Final = 500
"""Characters of each excerpt, about (SPEC §4, Dedup)."""

_GAP: Final = " … "
_CONTEXT_WORDS: Final = 6
_MIN_PART: Final = 60
_MAX_WORDS: Final = 2000
"""Words of each text that are aligned, behind the common beginning; the effort is quadratic."""


def excerpt_pair(text: str, other: str, *, chars: int = EXCERPT_CHARS) -> tuple[str, str]:
    """Return the parts in which two texts differ, each at most `chars` characters.

    A text that is short enough stays whole.
    """
    left, right = text.split(), other.split()
    common = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    )
    start = max(0, common - _CONTEXT_WORDS)
    ours, theirs = left[start : start + _MAX_WORDS], right[start : start + _MAX_WORDS]
    codes = (
        [code for code in SequenceMatcher(None, ours, theirs).get_opcodes() if code[0] != "equal"]
        if max(len(text), len(other)) > chars
        else []
    )
    return (
        _excerpt(text, ours, [(i1, i2) for _, i1, i2, _, _ in codes], chars),
        _excerpt(other, theirs, [(j1, j2) for _, _, _, j1, j2 in codes], chars),
    )


def _excerpt(text: str, words: Sequence[str], spans: Sequence[tuple[int, int]], chars: int) -> str:
    if len(text) <= chars:
        return text
    parts = [" ".join(words[first:last]) for first, last in _widen(spans, len(words))]
    left_chars, taken = chars, list[str]()
    for left, part in zip(range(len(parts), 0, -1), parts, strict=True):
        if left_chars < _MIN_PART:
            break
        share = max(_MIN_PART, left_chars // left) - len(_GAP)
        taken.append(part[:share].strip())
        left_chars -= len(taken[-1]) + len(_GAP)
    return _GAP.join(taken)[:chars] if taken else text[:chars]


def _widen(spans: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Yield spans of words with some context; those that meet are joined."""
    first = last = -1
    for begin, end in spans:
        if last >= 0 and begin - _CONTEXT_WORDS <= last:
            last = min(size, end + _CONTEXT_WORDS)
            continue
        if last >= 0:
            yield first, last
        first, last = max(0, begin - _CONTEXT_WORDS), min(size, end + _CONTEXT_WORDS)
    if last >= 0:
        yield first, last

"""Excerpts of two long texts: the parts in which they differ."""

from collections.abc import Sequence
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
    is_short = max(len(text), len(other)) <= chars
    matcher = SequenceMatcher(None, ours, theirs)
    groups = [] if is_short else list(matcher.get_grouped_opcodes(_CONTEXT_WORDS))
    return (
        _excerpt(text, [ours[group[0][1] : group[-1][2]] for group in groups], chars),
        _excerpt(other, [theirs[group[0][3] : group[-1][4]] for group in groups], chars),
    )


def _excerpt(text: str, parts: Sequence[Sequence[str]], chars: int) -> str:
    if len(text) <= chars:
        return text
    left_chars, taken = chars, list[str]()
    for left, words in zip(range(len(parts), 0, -1), parts, strict=True):
        if left_chars < _MIN_PART:
            break
        share = max(_MIN_PART, left_chars // left) - len(_GAP)
        taken.append(" ".join(words)[:share].strip())
        left_chars -= len(taken[-1]) + len(_GAP)
    return _GAP.join(taken)[:chars] if taken else text[:chars]

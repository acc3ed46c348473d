"""Texts that address whoever judges them: they count for nothing (SPEC §4, Prompts).

They are found by what they speak of, in English, German, Spanish and French: instructions that are
to be ignored, a score that is to be given, the form of an answer, roles and marks of a prompt.
What is found is left out; what is not found is still only quoted data in every prompt.
"""

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Final, NamedTuple

from aletheia.quality.packaged import read_packaged

_MAX_CHARS: Final = 20_000
"""Of a text are searched; a longer one is no item of a person."""

MIN_JUDGING: Final = 2
"""Kinds of words of judging, from which a text is about judging."""

WEAK: Final = "weak_"
"""Begin of the names of kinds that work speaks of, too."""

EVIDENCE: Final[Mapping[str, float]] = {
    "claim": 3.9,
    "demand": 2.5,
    "gate": 1.8,
    "instruction": 4.1,
    "judge": 2.9,
    "model": 2.5,
    "order": 3.8,
    "output": 3.0,
    "pair": 1.1,
    "parts": 4.4,
    "rubric": 2.4,
    "score": 2.9,
    "self": 5.0,
    "system": 2.5,
    "whole": 4.9,
    "weak_answer": 1.2,
    "weak_judging": 3.5,
    "weak_machine": 1.3,
    "weak_pass": 1.9,
    "weak_plea": 3.0,
    "weak_points": 1.7,
    "weak_reader": 3.0,
    "weak_reward": 1.3,
    "weak_rules": 3.2,
    "weak_same": 1.0,
    "weak_you": 2.4,
}
"""Logarithm of how much more often orders to a judge have a kind of word than work does: in some
150 orders and 3,600 statements of the labelled and graded texts."""

MIN_EVIDENCE: Final = 5.0
"""Of all kinds together, from which a text is an order: two of a thousand statements have it."""

MAX_WHOLE: Final = 3
"""Letters of a word of judging that must stand alone."""

_MIXED_SCRIPTS: Final = re.compile(
    r"[a-z][\u0370-\u03ff\u0400-\u04ff]+[a-z]|[\u0400-\u04ff][a-z]+[\u0400-\u04ff]", re.IGNORECASE
)
"""Letters of another script within a word, which look like those that belong there."""

_WORD: Final = re.compile(r"\w+")
_KEY: Final = 2

_HIDDEN: Final = re.compile(
    "[\u202d\u202e]|(?<![\U0001f3f4\U000e0000-\U000e007f])[\U000e0000-\U000e007f]"
    r"|(?:[a-z]\u200b){3,}|(?:(?<!\w)[^\W\d_] ){6,}",
    re.IGNORECASE,
)
"""Writing against the direction, characters that nobody sees, words in single letters."""

_OPENING: Final = " \t([{<\"'\u00ab\u201e\u201c:;,/|\u2013\u2014-"
"""What stands before an order in a name, and belongs to neither."""

_SENTENCE: Final = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+|\n+")


def addresses_judge(text: str, about: str = "") -> bool:
    """Return whether a text speaks to whoever judges it, or hides what it says.

    `about`: the description of its department, whose own words of judging are no sign: a dog show
    has judges.
    """
    is_order, judging = _read_orders(text[:_MAX_CHARS])
    if is_order:
        return True
    kinds = judging - _find_judging(about[:_MAX_CHARS])
    strong = sum(not kind.startswith(WEAK) for kind in kinds)
    return strong >= MIN_JUDGING or weigh_judging(kinds) >= MIN_EVIDENCE


def find_judging(text: str) -> frozenset[str]:
    """Return which kinds of words of judging a text has; those that work has, too, are `weak_…`."""
    return _find_judging(_uncover(text[:_MAX_CHARS]))


def weigh_judging(kinds: frozenset[str]) -> float:
    """Return how much kinds of words of judging tell orders from work, see `EVIDENCE`."""
    return sum(EVIDENCE.get(kind, 0.0) for kind in kinds)


@lru_cache(maxsize=16_384)
def _read_orders(text: str) -> tuple[bool, frozenset[str]]:
    """Return whether a text gives orders or hides something, and its kinds of words of judging."""
    plain = _uncover(text)
    if _HIDDEN.search(text):
        return True, frozenset()
    if _MIXED_SCRIPTS.search(plain) or _pattern().search(plain):
        return True, frozenset()
    return False, _find_judging(plain)


def _uncover(text: str) -> str:
    """Return a text in plain characters: full width, invisible and stacked ones are undone."""
    if text.isascii():
        return text  # nothing of it is full width, invisible or stacked
    composed = unicodedata.normalize("NFKC", text)
    return "".join(c for c in composed if unicodedata.category(c) not in {"Cf", "Mn", "Me"})


@lru_cache(maxsize=1024)
def _find_judging(text: str) -> frozenset[str]:
    """Return which kinds of words of judging a text has."""
    return frozenset(_locate_judging(text))


def _locate_judging(text: str) -> dict[str, int]:
    """Return the kinds of words of judging that a text has, and where each begins first."""
    low = text.casefold()
    found: dict[str, int] = {}
    for word in _WORD.finditer(low):
        for kind in _kinds_of(word[0]):
            found.setdefault(kind, word.start())
    for phrase, kind in _judging().phrases:
        place = low.find(phrase)
        while place > 0 and low[place - 1].isalnum():
            place = low.find(phrase, place + 1)
        if place >= 0:
            found[kind] = min(place, found.get(kind, place))
    return found


@lru_cache(maxsize=65_536)
def _kinds_of(word: str) -> frozenset[str]:
    """Return the kinds of a word of judging; a short one stands alone, a longer one has endings."""
    known = _judging().words.get(word[:_KEY], ())
    return frozenset(
        kind
        for begin, kind in known
        if word == begin or (len(begin) > MAX_WHOLE and word.startswith(begin))
    )


@lru_cache(maxsize=1024)
def drop_orders(text: str) -> str:
    """Return a text without the sentences that speak to whoever judges it."""
    if not addresses_judge(text):
        return text
    return " ".join(part for part in _SENTENCE.split(text) if not addresses_judge(part))


@lru_cache(maxsize=1024)
def drop_named_orders(name: str) -> str:
    """Return a name up to where it begins to speak to whoever judges it."""
    plain = _uncover(name[:_MAX_CHARS])
    while plain and addresses_judge(plain):
        plain = plain[: _find_beginning(plain)].rstrip(_OPENING)
    return plain


def _find_beginning(text: str) -> int:
    """Return where the first sign of an order in a text begins."""
    located = _locate_judging(text)
    strong = [place for kind, place in located.items() if not kind.startswith(WEAK)]
    matches = (_pattern().search(text), _MIXED_SCRIPTS.search(text))
    signs = [*strong, *(found.start() for found in matches if found is not None)]
    return min(signs or located.values(), default=0)


@cache
def _pattern() -> re.Pattern[str]:
    pieces: Mapping[str, Sequence[str]] = read_packaged("orders.yaml")
    rules = {name: "".join(parts) for name, parts in pieces.items()}
    begin, top = rules.pop("begin"), rules.pop("top")
    filled = (rule.replace("{begin}", begin).replace("{top}", top) for rule in rules.values())
    return re.compile("|".join(f"(?:{rule})" for rule in filled), re.IGNORECASE)


class _Judging(NamedTuple):
    """Words of judging with their kinds: those of one word by their first letters, and others."""

    words: Mapping[str, Sequence[tuple[str, str]]]
    phrases: Sequence[tuple[str, str]]


@cache
def _judging() -> _Judging:
    lists: Mapping[str, str] = read_packaged("judging_words.yaml")
    words: dict[str, list[tuple[str, str]]] = {}
    phrases: list[tuple[str, str]] = []
    for kind, listed in lists.items():
        for begin in shlex.split(listed):
            if _WORD.fullmatch(begin):
                words.setdefault(begin[:_KEY], []).append((begin, kind))
            else:
                phrases.append((begin, kind))
    return _Judging(words, phrases)

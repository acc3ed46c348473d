"""Whether figures have units that what they measure can have: nothing weighs two hours."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from aletheia.quality.grammar import Grammar
from aletheia.quality.packaged import read_packaged
from aletheia.quality.sentences import Sentence, Token

MAX_BETWEEN: Final = 3
"""Words between the one that wants a measure and the number, such as `at least`."""

_SKIPPED: Final = frozenset({"de", "d"})
"""Words between a unit and what it measures: `dos metros de ancho`."""

_DEGREE: Final = "°"


def count_impossible(sentences: Sequence[Sentence], grammar: Grammar | None) -> int:
    """Count the figures of a text whose unit cannot be that of what they measure.

    Only where both are known by `measures.yaml`; a share of something may be of anything.
    """
    if grammar is None:
        return 0
    return sum(
        _is_impossible(sentence.tokens, place)
        for sentence in sentences
        for place, token in enumerate(sentence.tokens)
        if token.kind == "number" or token.low in grammar.numbers
    )


def _is_impossible(tokens: Sequence[Token], place: int) -> bool:
    lists = _read_lists()
    unit, after = _read_unit(tokens, place + 1)
    measured = lists["units"].get(unit)
    if measured is None:
        return False
    wanted = _find_before(tokens, place) or lists["after"].get(_low(tokens, after))
    return wanted is not None and measured.isdisjoint(wanted)


def _read_unit(tokens: Sequence[Token], place: int) -> tuple[str, int]:
    """Return the unit that begins at a place, and the place of the first word behind it."""
    unit = _low(tokens, place)
    after = place + 1
    if unit == _DEGREE:
        unit, after = unit + _low(tokens, after), after + 1
    while _low(tokens, after) in _SKIPPED:
        after += 1
    return unit, after


def _find_before(tokens: Sequence[Token], place: int) -> frozenset[str] | None:
    """Return the measures that the word before a number wants, `None` if it wants none."""
    lists = _read_lists()
    wanting = lists["before"]
    for before in range(place - 1, max(-1, place - 2 - MAX_BETWEEN), -1):
        low = tokens[before].low
        if low in wanting:
            return wanting[low]
        if low not in lists["between"]:
            return None
    return None


def _low(tokens: Sequence[Token], place: int) -> str:
    return tokens[place].low if place < len(tokens) else ""


@cache
def _read_lists() -> Mapping[str, Mapping[str, frozenset[str]]]:
    """Return, of each list, the measures of each word."""
    read: Mapping[str, Mapping[str, str]] = read_packaged("measures.yaml")
    found: dict[str, dict[str, frozenset[str]]] = {}
    for name, lists in read.items():
        words = found.setdefault(name, {})
        for measures, text in lists.items():
            for word in text.split():
                words[word] = words.get(word, frozenset()).union(measures.split())
    return found

"""In what two texts differ that a similarity does not see (SPEC §4, Dedup).

Where two texts align but for few content words, the difference is the message, whatever it is: a
number, a unit, a date, a sign, a `not`, an opposite, a name, or who does what to whom. Where words
and their order differ in several places, a text is worded anew, and other words alone are none
(`rewording`). Texts in other words differ where each gives a number, date, code or name that the
other has not, one negates what the other states, or each has the opposite of a word of the other.
"""

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from aletheia.text.facts import (
    Difference,
    classify_difference,
    find_opposite,
    find_unsaid,
    read_facts,
)
from aletheia.text.rewording import is_reworded
from aletheia.text.wording import Wording, read_wording

FEW_WORDS: Final = 2
FEW_SHARE: Final = 0.15
"""Of `n` content words of the longer text, `FEW_WORDS + FEW_SHARE * n` are few. Of the labelled
rewordings, hardly any shares so many of its words (docs/decisions/0013-similarity.md)."""

MIN_BLOCK: Final = 2
"""Words of a clause that may stand before or behind the rest of its sentence."""


DIFFERENCES: Final[Mapping[Difference, str]] = {
    "number": "they differ in a number",
    "unit": "they differ in a unit",
    "negation": "one negates what the other says",
    "date": "they differ in a date",
    "version": "they differ in a version",
    "sign": "they differ in a comparison sign",
    "opposite": "one has the opposite of a word of the other",
    "name": "they differ in a name",
    "word": "they differ in few words, which may be what matters",
    "order": "they have the same words in another order",
}
"""In what two texts differ, in words."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """How two texts align, word by word."""

    difference: Difference | None  # in what they differ in meaning, as far as words show it
    is_close: bool  # whether they align but for few content words
    missing: int  # content words of the one that the other has not
    added: int  # content words of the other that the one has not
    common_numbers: float  # share of the numbers of both that both give; 0 without numbers


@lru_cache(maxsize=16384)
def align_texts(text: str, other: str) -> Alignment:
    """Align two texts and return in what they differ."""
    one, two = read_wording(text), read_wording(other)
    missing, added = _count_unmatched(one, two)
    longer = max(len(one.content), len(two.content))
    few = FEW_WORDS + FEW_SHARE * longer
    is_close = max(missing, added) <= min(few, longer - max(missing, added))
    facts, others = read_facts(text), read_facts(other)
    unsaid = find_unsaid(facts, others), find_unsaid(others, facts)
    difference = _find_contradiction(one, two, classify_difference(facts, others, *unsaid))
    if difference is None and is_close:
        difference = _find_small_difference(one, two)
    numbers = len(facts.quantities) + len(others.quantities)
    share = 1 - sum(map(len, unsaid)) / numbers if numbers else 0.0
    return Alignment(difference, is_close, missing, added, share)


def _count_unmatched(one: Wording, two: Wording) -> tuple[int, int]:
    left, right = Counter(one.content), Counter(two.content)
    return (left - right).total(), (right - left).total()


def _find_contradiction(
    one: Wording, two: Wording, difference: Difference | None
) -> Difference | None:
    """Return in what two texts contradict each other, in whatever words.

    `difference` is the one of their facts.
    """
    is_version = any(code.startswith("v") for code in one.codes ^ two.codes)
    found: tuple[tuple[bool, Difference | None], ...] = (
        (_differ(one.codes, two.codes), "version" if is_version else "number"),
        (difference in {"number", "unit"}, difference),
        (_differ(one.calendar, two.calendar), "date"),
        (_differ(one.signs, two.signs), "sign"),
        (difference is not None, difference),
        (_are_opposed(one, two), "opposite"),
        (_differ(one.names, two.names), "name"),
    )
    return next((what for differs, what in found if differs), None)


def _are_opposed(one: Wording, two: Wording) -> bool:
    """Return whether one has the opposite of a word of the other, neither having both."""
    added = two.poles - one.poles
    return any((pair, 1 - side) in added for pair, side in one.poles - two.poles)


def _differ(left: AbstractSet[str], right: AbstractSet[str]) -> bool:
    """Return whether each has what the other has not."""
    return bool(left - right) and bool(right - left)


def _find_small_difference(one: Wording, two: Wording) -> Difference | None:
    """Return in what two texts differ that align but for few words."""
    if one.signs != two.signs:
        return "sign"
    if one.sequence == two.sequence:
        return None
    left, right = Counter(one.content), Counter(two.content)
    changed = (left - right) + (right - left)
    found: tuple[tuple[bool, Difference], ...] = (
        (_count_negations(one, two) != _count_negations(two, one), "negation"),
        (one.calendar != two.calendar, "date"),
        (any(stem.startswith("#") for stem in changed), "number"),
        (bool(changed) and one.names != two.names, "name"),
        (bool(changed), "word"),
    )
    difference: Difference | None = next((what for differs, what in found if differs), None)
    if difference is None and not _is_turned(one, two):
        difference = "order"
    return None if difference in {"word", "order"} and is_reworded(one, two) else difference


def _count_negations(text: Wording, other: Wording) -> int:
    """Return how many words negate; `unknown` does where the other text has `known`."""
    there = frozenset(other.content)
    opposites = (find_opposite(stem) for stem in frozenset(text.content) - there)
    return text.negations + sum(opposite in there for opposite in opposites)


def _is_turned(one: Wording, two: Wording) -> bool:
    """Return whether texts have the same words, but a clause of the one's end begins the other.

    One of the two parts has to begin with a word such as `if`: of two steps, the order counts.
    """
    words, turned = one.sequence, two.sequence
    if len(words) != len(turned):
        return False
    content = frozenset(one.content)
    return any(
        words[at:] + words[:at] == turned and not {words[at], words[0]} <= content
        for at in range(MIN_BLOCK, len(words) - MIN_BLOCK + 1)
    )

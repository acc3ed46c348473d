"""Whether one text is another one worded anew, not a variant of it (SPEC §4, Dedup).

A variant has one thing in the place of another, and is word for word the same elsewhere. Who words
a text anew has other words and parts in another order in several places. What lists show to be
another message all the same is none of it: `all` for `some`, `may` for `must`, numbers or words
that have changed places.
"""

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import combinations
from typing import Final

from aletheia.text.wording import Wording

MIN_PLACES: Final = 2
MIN_CHANGED: Final = 4
MIN_CHANGED_SHARE: Final = 0.15
"""Texts differ in so many places, in so many words, which are such a share of the longer one's
(docs/decisions/0013-similarity.md)."""

SINGLE_WORDS: Final = frozenset({(1, 1), (0, 1), (1, 0)})
"""New words of either text that are a thing in the place of another, or that narrow one down."""

MIN_PLACES_OF_SINGLE_WORDS: Final = 4
"""The same where no more is new: a part that stands elsewhere makes two, and the word another."""

_COMMON: Final = 5
"""Letters that forms of one word begin with, where both have as many."""

MIN_WORDS: Final = 8
"""Words of the longer text that have a meaning of their own: in a shorter one, each counts."""

MIN_KNOWN_SHARE: Final = 0.25
"""Share of words of a text that have no meaning of their own, such as `the`, by the lists of all
languages; with fewer it may be in a language that has no lists."""

MAX_APART: Final = 4
"""Words that both texts have, of which three may have changed places: neighbours, but for some."""

MAX_DIFFERING: Final = 2
"""Words of either that the other has not, where the same words in another order are a message."""

_BY: Final = frozenset(("by", "von", "vom", "durch", "par", "por", "da", "door"))
"""Stand before the one who does what a verb in the passive says."""


def is_reworded(one: Wording, two: Wording) -> bool:
    """Return whether texts that align but for few words are worded anew; the same in either order.

    It says nothing of what else they may contradict each other in, as `differences` does.
    """
    is_short = max(len(one.content), len(two.content)) < MIN_WORDS
    is_known = min(one.known_share, two.known_share) >= MIN_KNOWN_SHARE
    if is_short or not is_known or not _hold_alike(one, two):
        return False
    one, two = sorted((one, two), key=lambda text: text.sequence)
    new = _count_new(one, two), _count_new(two, one)
    if not any(new) and one.negations:
        return False
    places = MIN_PLACES_OF_SINGLE_WORDS if new in SINGLE_WORDS else MIN_PLACES
    return _differ_in_places(one, two, places) and not _are_exchanged(one, two)


def _count_new(text: Wording, other: Wording) -> int:
    """Return how many words the other text has not, but for forms of words that stand in either."""
    there = frozenset(other.content)
    every = there.union(text.content)
    new = frozenset(text.content) - there
    return sum(not any(_is_form(word, known) for known in every - {word}) for word in new)


def _is_form(word: str, other: str) -> bool:
    return word[0] != "#" and word[:_COMMON] == other[:_COMMON] and len(word) >= _COMMON - 1


def _differ_in_places(one: Wording, two: Wording, min_places: int) -> bool:
    """Return whether two texts differ in several places, none of which has what another had."""
    left, right = one.sequence, two.sequence
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    longer = max(len(left), len(right))
    changed = longer - sum(block.size for block in matcher.get_matching_blocks())
    places = [
        (left[at:end], right[start:stop])
        for kind, at, end, start, stop in matcher.get_opcodes()
        if kind != "equal"
    ]
    if len(places) < min_places or changed < max(MIN_CHANGED, MIN_CHANGED_SHARE * longer):
        return False
    return not _have_changed_places(places, frozenset((*one.content, *two.content)))


def _hold_alike(one: Wording, two: Wording) -> bool:
    """Return whether two texts hold of as many, as surely, and give their numbers in one order."""
    if one.scopes != two.scopes or _list_numbers(one) != _list_numbers(two):
        return False
    return all(
        left <= right or right <= left
        for left, right in zip(one.either_scopes, two.either_scopes, strict=True)
    )


def _list_numbers(text: Wording) -> list[str]:
    return [word for word in text.sequence if word.startswith("#")]


def _have_changed_places(
    places: Sequence[tuple[Sequence[str], Sequence[str]]], content: frozenset[str]
) -> bool:
    """Return whether one place has a word of another, and that a word of the one."""
    parts = [(content.intersection(old), content.intersection(new)) for old, new in places]
    return any(
        old & later_new and new & later_old
        for (old, new), (later_old, later_new) in combinations(parts, 2)
    )


def _are_exchanged(one: Wording, two: Wording) -> bool:
    """Return whether words that both texts have may belong to others in the one.

    A word stands on the other side of a number, where there are several; or, where hardly any word
    differs, of three that are near each other the last one comes first and the first one last, and
    not since one text names by whom it is done.
    """
    places = {word: two.content.index(word) for word in two.content}
    common = [word for word in dict.fromkeys(one.content) if word in places]
    if len(set(_list_numbers(one))) > 1 and any(
        _count_before(one, word) != _count_before(two, word) for word in common
    ):
        return True
    differing = (Counter(one.content) - Counter(two.content)).total()
    differing += (Counter(two.content) - Counter(one.content)).total()
    if differing > MAX_DIFFERING or _count_agents(one) != _count_agents(two):
        return False
    return any(
        _is_reversed([places[word] for word in common[at : at + MAX_APART]])
        for at in range(len(common))
    )


def _is_reversed(places: Sequence[int]) -> bool:
    """Return whether three of some places fall, of which the first one is the first."""
    return any(places[0] > middle > last for middle, last in combinations(places[1:], 2))


def _count_before(text: Wording, word: str) -> int:
    """Return how many numbers stand before a word, other than itself."""
    before = text.content[: text.content.index(word)]
    return sum(other.startswith("#") for other in before)


def _count_agents(text: Wording) -> int:
    return sum(word in _BY for word in text.sequence)

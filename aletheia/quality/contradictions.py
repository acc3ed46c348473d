"""Which items deny what others state."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from aletheia.quality.reading import Statement

SAME_SUBJECT: Final = 0.5
"""Share of the content words that two sentences have in common, from which one may deny the
other."""

SAME_THING: Final = 0.75
"""Share of the content words of the shorter of two sentences, from which on they are about the same
thing, so that it cannot have two amounts of one kind."""

MAX_OWN: Final = 1
"""Content words that either of the two may have beside: more say of what else the amount is."""

_MAX_COMPARED: Final = 40
_MIN_COMMON: Final = 2

_Index: TypeAlias = dict[str, list[tuple[int, Statement]]]
"""Sentences with the places of their items, by stems."""


def find_contradictions(items: Sequence[Sequence[Statement]]) -> dict[int, int]:
    """Return the places of items that deny what another states, or state what it denies.

    `items`: sentences of each item, oldest first; of one that nobody is compared with, none.
    Returned is, for each of both, the place of the other, the first one that was found.
    """
    found: dict[int, int] = {}
    stating: _Index = {}
    denying: _Index = {}
    for place, statements in enumerate(items):
        for statement in statements:
            known = [entry for stem in statement.stated for entry in denying.get(stem, ())]
            known += [entry for stem in statement.denied for entry in stating.get(stem, ())]
            others = [other for other, said in known if contradicts(statement, said)]
            if len(statements) == 1 and statement.figures:
                others += _find_other_amounts(statement, stating, items)
            for other in others:
                found.setdefault(place, other)
                found.setdefault(other, place)
        for statement in statements:
            _note(place, statement.stated, statement, stating)
            _note(place, statement.denied, statement, denying)
    return found


def contradicts(one: Statement, other: Statement) -> bool:
    """Return whether one sentence denies what another one states about the same things."""
    left, right = one.stated | one.denied, other.stated | other.denied
    common = len(left & right)
    if common < _MIN_COMMON or common < SAME_SUBJECT * len(left | right):
        return False
    return not one.denied.isdisjoint(other.stated) or not other.denied.isdisjoint(one.stated)


def _find_other_amounts(
    statement: Statement, stating: _Index, items: Sequence[Sequence[Statement]]
) -> list[int]:
    """Return the places of items that say nothing but another amount of the same thing.

    Of longer ones a sentence may only be said again beside something else.
    """
    known = [entry for stem in statement.stated for entry in stating.get(stem, ())]
    return [
        other
        for other, said in known
        if len(items[other]) == 1 and _differs_in_amount(statement, said)
    ]


def _differs_in_amount(one: Statement, other: Statement) -> bool:
    """Return whether two sentences give different amounts of one kind for the same thing."""
    left, right = one.stated | one.denied, other.stated | other.denied
    common = left & right
    if len(common) < max(_MIN_COMMON, SAME_THING * min(len(left), len(right))):
        return False
    if max(len(left), len(right)) - len(common) > MAX_OWN:
        return False
    amounts = dict(other.figures)
    return any(values.isdisjoint(amounts.get(kind, values)) for kind, values in one.figures)


def _note(place: int, stems: frozenset[str], statement: Statement, index: _Index) -> None:
    for stem in stems:
        entries = index.setdefault(stem, [])
        if len(entries) < _MAX_COMPARED:
            entries.append((place, statement))

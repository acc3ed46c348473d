"""What of a department and its items is compared: without orders to a judge, in one language."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from aletheia.items.departments import Department
from aletheia.quality.aspects import Aspect, find_aspects
from aletheia.quality.grammar import find_language
from aletheia.quality.meaning import Meaning, list_texts, measure_meaning
from aletheia.quality.orders import (
    addresses_judge,
    drop_named_orders,
    drop_orders,
    find_judging,
    weigh_judging,
)
from aletheia.quality.rating import QualityItem
from aletheia.quality.reading import find_specific
from aletheia.quality.registers import TextVectors
from aletheia.text.language import guess_language

MAX_ITEMS: Final = 1000
"""The newest ones are scored; twice what a run of 50 batches of 10 items makes (SPEC §4)."""

JUDGING_WEIGHT: Final = 0.15
"""What a unit of evidence of judging, see `weigh_judging`, adds to how an item sounds."""

ORDERS_FROM: Final = 0.75
"""Sum of both, from which an item is an order to a judge: four of a thousand statements of the
graded sets have it."""

MIN_WORDED: Final = 1.0
"""Evidence of judging, below which no sound makes an order."""

_LANGUAGE_CHARS: Final = 4000


@dataclass(frozen=True, slots=True)
class Comparison:
    """A department and its items, as they are compared."""

    items: Sequence[QualityItem]  # the newest, without those that address the judge
    orders: Sequence[str]  # ids of those that do
    language: str | None
    aspects: Sequence[Aspect]
    described: frozenset[str]  # stems of the description
    meaning: Meaning | None


def list_compared(department: Department, items: Sequence[QualityItem]) -> list[str]:
    """List the texts whose vectors `compare` uses, each once."""
    scored, language = _choose(department, items)
    names = [aspect.name for aspect in find_aspects(department)[:-1]]
    return list_texts(department, names, [item.content for item in scored], language)


def compare(
    department: Department, items: Sequence[QualityItem], vectors: TextVectors | None
) -> Comparison:
    """Read a department and its items, oldest first; `vectors` are those of `list_compared`."""
    scored, language = _choose(department, items)
    aspects = find_aspects(department)
    said = drop_orders(department.description)
    named = f"{drop_named_orders(department.name)}. {said}" if said.strip() else said
    read = Comparison(scored, (), language, aspects, find_specific(named), None)
    if vectors is not None:
        read = _measure(read, department, vectors)
        heard = _hear_orders(read, department)
        if len(heard) < len(read.items):
            read = _measure(replace(read, items=heard), department, vectors)
    counted = {item.id for item in read.items}
    orders = [item.id for item in items[-MAX_ITEMS:] if item.id not in counted]
    return replace(read, orders=orders)


def _measure(read: Comparison, department: Department, vectors: TextVectors) -> Comparison:
    names = [aspect.name for aspect in read.aspects[:-1]]
    contents = [item.content for item in read.items]
    found = measure_meaning(department, names, contents, read.language, vectors)
    return replace(read, meaning=found)


def _hear_orders(read: Comparison, department: Department) -> list[QualityItem]:
    """Return the items without those that sound like orders to a judge and have words of it."""
    if read.meaning is None:
        return list(read.items)
    usual = find_judging(department.description)
    ordering = np.nan_to_num(read.meaning.ordering).tolist()
    kept: list[QualityItem] = []
    for item, sound in zip(read.items, ordering, strict=True):
        worded = weigh_judging(find_judging(item.content) - usual)
        if worded < MIN_WORDED or sound + JUDGING_WEIGHT * worded <= ORDERS_FROM:
            kept.append(item)
    return kept


def _choose(
    department: Department, items: Sequence[QualityItem]
) -> tuple[list[QualityItem], str | None]:
    """Return the items that are scored, and the language that they are in."""
    about = department.description
    scored = [item for item in items[-MAX_ITEMS:] if not addresses_judge(item.content, about)]
    text = " ".join([*(item.content for item in scored), department.description])
    text = text[:_LANGUAGE_CHARS]
    return scored, find_language(text) or guess_language(text)

"""A department and its items as they are compared: without orders to a judge, in one language."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aletheia.items.departments import Department
from aletheia.quality.aspects import WHOLE, Aspect, find_aspects
from aletheia.quality.grammar import find_language
from aletheia.quality.meaning import Meaning, list_texts, measure_meaning, own_text
from aletheia.quality.orders import addresses_judge, drop_orders, split_parts
from aletheia.quality.rating import QualityItem
from aletheia.quality.reading import read_text
from aletheia.quality.registers import TextVectors, find_orders, join_vectors
from aletheia.text.language import guess_language

MAX_ITEMS: Final = 1000
"""The newest ones are scored; twice what a run of 50 batches of 10 items makes (SPEC §4)."""

ORDERS_FROM: Final = 0.8
"""How far a text sounds like an order to a judge, -1 to 1, from which it is one."""

_LANGUAGE_CHARS: Final = 4000
_SHOWN_CHARS: Final = 1000


@dataclass(frozen=True, slots=True)
class Comparison:
    """A department and its items, as they are compared."""

    items: Sequence[QualityItem]  # the newest, without those that address the judge
    orders: Sequence[str]  # ids of those that do
    language: str | None  # of the items
    foreign: str  # language of the description, if it is another one; empty if it is not
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
    """Read a department and its items, oldest first; `vectors` are those of `list_compared`.

    Where items are in another language than the description, none of its words can be found in
    them: they are read as if it said nothing.
    """
    newest = items[-MAX_ITEMS:]
    scored, language = _choose(department, items)
    known = find_aspects(department)
    if vectors is not None:
        scored, department, vectors = _leave_out_orders(department, scored, language, vectors)
    counted = {item.id for item in scored}
    orders = [item.id for item in newest if item.id not in counted]
    foreign = _find_foreign(department, scored)
    if foreign:
        whole = Aspect(WHOLE, frozenset())
        return Comparison(scored, orders, language, foreign, (whole,), frozenset(), None)
    # Without its orders a description may have further aspects, which have no vectors.
    aspects = [aspect for aspect in find_aspects(department) if aspect in known]
    meaning = None
    if vectors is not None:
        names = [aspect.name for aspect in aspects[:-1]]
        contents = [item.content for item in scored]
        meaning = measure_meaning(department, names, contents, language, vectors)
    said = drop_orders(department.description)
    named = f"{drop_orders(department.name)}. {said}" if said.strip() else said
    described = read_text(named, language).specific
    return Comparison(scored, orders, language, "", aspects, described, meaning)


def _choose(
    department: Department, items: Sequence[QualityItem]
) -> tuple[list[QualityItem], str | None]:
    """Return the items that are scored, and the language that they are in."""
    about = department.description
    scored = [item for item in items[-MAX_ITEMS:] if not addresses_judge(item.content, about)]
    text = " ".join([*(item.content for item in scored), department.description])
    text = text[:_LANGUAGE_CHARS]
    return scored, find_language(text) or guess_language(text)


def _find_foreign(department: Department, items: Sequence[QualityItem]) -> str:
    """Return the language of the description, if most items show that they are in another one."""
    own = find_language(department.description)
    if own is None:
        return ""
    found = [find_language(item.content[:_SHOWN_CHARS]) for item in items]
    others = sum(language not in {None, own} for language in found)
    return own if others > len(found) / 2 and own not in found else ""


def _leave_out_orders(
    department: Department,
    items: Sequence[QualityItem],
    language: str | None,
    vectors: TextVectors,
) -> tuple[list[QualityItem], Department, TextVectors]:
    """Leave out what sounds like an order to a judge: items, and sentences of the department's."""
    name, said = split_parts(department.name), split_parts(department.description)
    texts = [*(item.content for item in items), *name, *said]
    orders = find_orders(texts, language, vectors, ORDERS_FROM)
    kept = [item for item in items if item.content not in orders]
    if orders.isdisjoint([*name, *said]):
        return kept, department, vectors
    name, said = ([part for part in parts if part not in orders] for parts in (name, said))
    update = {"name": " ".join(name), "description": " ".join(said)}
    changed = department.model_copy(update=update)
    own = join_vectors([*name, *said], vectors)
    return kept, changed, vectors if own is None else {**vectors, own_text(changed): own}

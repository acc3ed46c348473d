"""A department's context: what of it fits into a number of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from aletheia.brain.ports import MAX_PREVIOUS, DepartmentContext, EarlierDepartment, KnownItem
from aletheia.items.content import SavedItem
from aletheia.llm.messages import estimate_tokens

EARLIER_ITEMS: Final = 5
"""Newest items of an earlier department that its summary is made of."""

_OWN_SHARE: Final = 0.6
_EARLIER_SHARE: Final = 0.9
"""Shares of a context that are full before the next kind gets its turn: no kind is crowded out."""


def sum_up(name: str, newest: Sequence[KnownItem | SavedItem]) -> str:
    """Return some sentences about what a department, by its name and newest items, has come to."""
    points = [item.summary or item.content for item in newest[:EARLIER_ITEMS]]
    return " ".join([f"{name}:", *points])


def choose_previous(slugs: Sequence[str]) -> list[str]:
    """Return the earlier departments that count: the last `MAX_PREVIOUS`, each of them once."""
    return list(dict.fromkeys(slugs))[-MAX_PREVIOUS:]


def fit_context(context: DepartmentContext, max_tokens: int) -> DepartmentContext:
    """Return as much of a context as fits into `max_tokens`, in its order.

    Own items, newest first, may fill 60 %; earlier departments then get up to 90 %, gaps the rest;
    what these leave is the own items' again. All texts and ids count; what does not fit is passed
    over.
    """
    budget = _Budget(max_tokens)
    budget.take_items(context.items, _OWN_SHARE)
    previous: list[EarlierDepartment] = []
    for earlier in context.previous:
        if budget.take((earlier.department, earlier.summary), _EARLIER_SHARE):
            items = [item for item in earlier.items if budget.take(_texts_of(item), _EARLIER_SHARE)]
            previous.append(replace(earlier, items=tuple(items)))
    gaps = [gap for gap in context.gaps if budget.take((gap,))]
    budget.take_items(context.items, 1.0)
    items = [item for item in context.items if item.id in budget.taken]
    return replace(context, items=tuple(items), previous=tuple(previous), gaps=tuple(gaps))


@dataclass(slots=True)
class _Budget:
    """The tokens of a context."""

    max_tokens: int
    used: int = 0
    taken: set[str] = field(default_factory=set[str])  # ids of the own items that are in it

    def take(self, texts: Sequence[str], share: float = 1.0, *, is_first: bool = False) -> bool:
        """Take texts in if all of them fit; the first of all may fill the whole context."""
        tokens = sum(estimate_tokens(text) for text in texts if text)
        if self.used + tokens > self.max_tokens * (1.0 if is_first else share):
            return False
        self.used += tokens
        return True

    def take_items(self, items: Sequence[KnownItem], share: float) -> None:
        for item in items:
            is_new = item.id not in self.taken
            if is_new and self.take(_texts_of(item), share, is_first=not self.used):
                self.taken.add(item.id)


def _texts_of(item: KnownItem) -> tuple[str, ...]:
    return item.id, item.content, item.summary, item.context

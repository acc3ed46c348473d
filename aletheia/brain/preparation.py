"""Items made ready to be written to a backend: checked, embedded, of unit length."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aletheia.brain.graph import GraphItem
from aletheia.brain.ports import BrainItem
from aletheia.brain.texts import escape_text, fingerprint_of, is_id
from aletheia.brain.vectors import check_length, make_unit
from aletheia.errors import ComputeFailed, InvalidTask
from aletheia.items.calibration import Embed


async def prepare_items(
    items: Sequence[BrainItem],
    embed: Embed,
    dimensions: int,
    next_order: Callable[[], int],
    failed: dict[str, str],
) -> list[GraphItem]:
    """Return the items that can be written; of no two the id is the same.

    `failed` is given the codes of all other items, by their ids; `next_order` makes the numbers
    that items are ordered by.
    """
    failed |= {item.id: code for item in items if (code := _find_fault(item))}
    usable = [item for item in items if item.id not in failed]
    embedded = await _embed_each([item for item in usable if item.vector is None], embed, failed)
    ready: list[GraphItem] = []
    for item in usable:
        if item.id in failed:
            continue
        try:
            vector = make_unit(embedded[item.id] if item.vector is None else item.vector)
            check_length(vector, dimensions)
        except InvalidTask as fault:
            failed[item.id] = fault.code
            continue
        ready.append(
            GraphItem(
                id=item.id,
                content=escape_text(item.content),
                summary=escape_text(item.summary),
                context=escape_text(item.context),
                vector=vector,
                fingerprint=fingerprint_of(item),
                order=next_order(),
            )
        )
    return ready


def _find_fault(item: BrainItem) -> str:
    """Return the code of what is wrong with an item, its vector aside; empty for nothing."""
    if not is_id(item.id):
        return "invalid_id"
    return "" if item.content.strip() else "empty_text"


async def _embed_each(
    items: Sequence[BrainItem], embed: Embed, failed: dict[str, str]
) -> dict[str, NDArray[np.floating[Any]]]:
    """Embed items; where some of them cannot be, their halves, down to the one that cannot."""
    if not items:
        return {}
    try:
        vectors = await embed([escape_text(item.content) for item in items])
        return {item.id: vector for item, vector in zip(items, vectors, strict=True)}
    except (InvalidTask, ComputeFailed) as fault:
        if len(items) == 1:
            failed[items[0].id] = fault.code
            return {}
    half = len(items) // 2
    embedded = await _embed_each(items[:half], embed, failed)
    return embedded | await _embed_each(items[half:], embed, failed)

"""Deletes what is past its use: all of it, some at a time."""

from typing import Final

from aletheia.documents import Documents, Where

MAX_AT_ONCE: Final = 10_000
"""Documents that one call of the store deletes, so that others come in between."""


async def purge_all(documents: Documents, collection: str, where: Where) -> int:
    """Delete the documents for which `where` holds; return how many there were."""
    gone = 0
    while deleted := await documents.delete(collection, where, limit=MAX_AT_ONCE):
        gone += deleted
        if deleted < MAX_AT_ONCE:
            break
    return gone

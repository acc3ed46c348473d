"""The platform's collections in the embedded store, as the demo fills them.

Moments in them are ISO 8601 in UTC. `make demo` saves the example data set of docs/platform.md.
"""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from aletheia.documents import Documents
from aletheia.reasoning.ports import Query

_ID = "_id"


class EmbeddedPlatform:
    """A `PlatformData` over a document store."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def has(self, collection: str) -> bool:
        """Return whether there is anything in a collection."""
        return bool(await self._documents.find(collection, {}, limit=1))

    async def count(self, query: Query) -> int:
        """Count documents."""
        where: dict[str, Any] = {
            field: {"$in": list(values)} for field, values in query.equals.items()
        }
        if query.since is not None:
            where[query.time] = {"$gte": query.since.astimezone(UTC).isoformat()}
        return await self._documents.count(query.collection, where)

    async def read(
        self, collection: str, fields: Sequence[str], *, best_by: str = "", limit: int
    ) -> list[dict[str, Any]]:
        """Read some fields of documents, all without any named."""
        found = await self._documents.find(
            collection, {}, sort=best_by or None, descending=bool(best_by), limit=limit
        )
        return [
            {name: value for name, value in row.items() if name in fields or not fields}
            for row in found
        ]

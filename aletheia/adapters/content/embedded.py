"""A project's items in files, where there is no application to share them with."""

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.documents.worker import fetch
from aletheia.items.content import COLLECTION, SavedItem, read_document, to_document
from aletheia.store.project_id import check_project_id

_RUN, _DEPARTMENT = "run_id", "department"
_SHORT: Final = 8


class EmbeddedContent(EmbeddedDocuments):
    """The items of one project, and our collections beside them, in a directory of its own.

    `directory`: of all data; each project has one below `gather`. Raises as `directory_of`.
    """

    def __init__(self, directory: Path, project_id: str) -> None:
        super().__init__(directory_of(directory, project_id))

    async def open(self) -> None:
        """Create the files if there are none, and connect. Idempotent."""
        await super().open()
        await self.ensure_index(COLLECTION, [_RUN])

    async def mark(self) -> int:
        """Return the key of the newest document: counting them takes as long as there are many."""
        table = await self._table(COLLECTION)
        newest = f"SELECT coalesce(max(key), 0) FROM {table.documents}"  # noqa: S608 - our own name
        ((key,),) = await self.reader.ask(fetch, newest)
        return int(key)

    async def list_ids(self) -> AsyncGenerator[Sequence[str]]:
        """Return the ids of all documents."""
        yield [document["_id"] for document in await self.find(COLLECTION, {})]

    async def list_page(
        self, after: str, limit: int, *, department: str | None = None
    ) -> list[str]:
        """Return the next ids after one, in their order."""
        where = {} if department is None else {_DEPARTMENT: department}
        following = {**where, "_id": {"$gt": after}}
        found = await self.find(COLLECTION, following, sort="_id", limit=limit)
        return [document["_id"] for document in found]

    async def read_items(self, ids: Sequence[str]) -> dict[str, SavedItem]:
        """Read documents by id."""
        found = await self.get(COLLECTION, ids, with_payload=True)
        items = {id_: read_document(id_, _unpack(row["payload"])) for id_, row in found.items()}
        return {id_: item for id_, item in items.items() if item is not None}

    async def insert_items(self, items: Sequence[SavedItem]) -> set[str]:
        """Save new items, and return the ids of those that were not there."""
        documents = [
            {
                "_id": item.id,
                _RUN: None if item.automation is None else item.automation.run_id,
                _DEPARTMENT: item.department,
                "payload": orjson.dumps(to_document(item)),
            }
            for item in items
        ]
        return await self.insert(COLLECTION, documents)

    async def delete_item(self, item: SavedItem) -> bool:
        """Delete an item of ours, unless it was changed; return whether it is gone."""
        found = (await self.read_items([item.id])).get(item.id)
        if found is not None and found == item and item.automation is not None:
            await self.delete(COLLECTION, {"_id": item.id})
            return True
        return found is None

    async def count_created(self, run_id: str) -> dict[str, int]:
        """Count the items of a run, by department."""
        made = await self.find(COLLECTION, {_RUN: run_id})
        return dict(Counter(item[_DEPARTMENT] for item in made))

    async def list_department(self, slug: str) -> list[str]:
        """Return the ids of a department's own items."""
        return [item["_id"] for item in await self.find(COLLECTION, {_DEPARTMENT: slug})]


def directory_of(directory: Path, project_id: str) -> Path:
    """Return where a project's files are, apart also from ids that differ in case only.

    Raises:
        InvalidTask: `invalid_project_id`.
    """
    name = check_project_id(project_id).lower()
    if name != project_id:
        name += f".{hashlib.sha256(project_id.encode()).hexdigest()[:_SHORT]}"
    return directory / "gather" / name


def _unpack(payload: bytes) -> dict[str, Any]:
    document = orjson.loads(payload)
    if document["created_at"] is not None:
        document["created_at"] = datetime.fromisoformat(document["created_at"])
    return document

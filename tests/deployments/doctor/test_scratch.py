"""The operations that a store is tried for."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.documents.mongodb import MongoDocuments
from aletheia.documents import Document, Update, Where
from deployments.doctor.results import CheckFailed
from deployments.doctor.scratch import COLLECTION, OPERATIONS, check_operations
from tests.services.fixtures import mongodb_uri

__all__ = ["mongodb_uri"]


class Lacking(EmbeddedDocuments):
    """A store of which some operations fail, or do nothing without saying so."""

    lack = ""

    async def insert(
        self, collection: str, documents: Sequence[Document], **options: Any
    ) -> set[str]:
        if self.lack == "unique ids":
            await self.delete(collection, {"_id": {"$in": [row["_id"] for row in documents]}})
        return await super().insert(collection, documents, **options)

    async def update(self, collection: str, updates: Sequence[Update]) -> list[bool]:
        if self.lack == "conditional updates":
            updates = [Update(update.id, update.change) for update in updates]
        if self.lack == "updates of one document at once" and "owner" in updates[0].where:
            updates = [Update(update.id, update.change) for update in updates]
        if self.lack == "nested lists" and any("nested" in it.change.set for it in updates):
            raise ValueError("nested arrays are not supported")
        return await super().update(collection, updates)

    async def upsert(self, collection: str, updates: Sequence[Update]) -> None:
        if self.lack != "upserts":
            await super().upsert(collection, updates)

    async def take(self, *args: Any, **options: Any) -> Document | None:
        taken = await super().take(*args, **options)
        if self.lack == "findAndModify at once" and taken and "turn" in taken:
            return taken | {"_id": "the same for everybody"}
        return None if self.lack == "findAndModify with a projection" else taken

    async def find(self, *args: Any, **options: Any) -> list[Document]:
        is_whole = self.lack == "projections"
        return await super().find(*args, **options | ({"with_payload": True} if is_whole else {}))

    async def count_by(self, collection: str, name: str, where: Where) -> dict[str, int]:
        counted = await super().count_by(collection, name, where)
        return {} if self.lack == "counts by group" else counted


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Lacking]:
    store = Lacking(tmp_path)
    await store.open()
    yield store
    await store.close()


async def test_a_store_that_can_do_everything_passes_and_is_left_as_it_was(store: Lacking):
    await store.insert(COLLECTION, [{"_id": "another run", "run": "other"}])
    await check_operations(store)
    assert [row["_id"] for row in await store.find(COLLECTION, {})] == ["another run"]


async def test_a_server_that_speaks_mongodbs_protocol_passes(mongodb_uri: str):
    store = MongoDocuments(mongodb_uri, f"aletheia_test_{uuid.uuid4().hex}")
    await store.open()
    await check_operations(store)
    assert await store.count(COLLECTION, {}) == 0
    await store.close()


@pytest.mark.parametrize("lack", OPERATIONS)
async def test_what_a_store_lacks_is_named_although_it_says_nothing(store: Lacking, lack: str):
    store.lack = lack
    with pytest.raises(CheckFailed) as failure:
        await check_operations(store)
    assert lack in failure.value.found
    assert "MongoDB" in failure.value.advice
    assert await store.count(COLLECTION, {}) == 0


async def test_a_library_error_in_one_operation_is_named_and_the_others_are_tried(
    store: Lacking, monkeypatch: pytest.MonkeyPatch
):
    async def broken(*_: object, **__: object) -> None:
        raise ValueError("KeyError: 'nModified'")

    monkeypatch.setattr(store, "upsert", broken)
    store.lack = "counts by group"
    with pytest.raises(CheckFailed, match="nModified") as failure:
        await check_operations(store)
    assert "counts by group" in failure.value.found

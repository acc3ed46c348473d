import asyncio

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Where
from aletheia.errors import Unavailable
from aletheia.series import NOTHING, Counts
from aletheia.service import purging
from aletheia.service import upkeep as module
from aletheia.service.refusal_counts import REFUSALS
from aletheia.service.tickets import TICKETS
from tests.fakes.service import FakeService, calling, make_service


async def test_refusals_are_saved_while_it_runs_and_at_the_end(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SAVE_EVERY_S", 0.05)
    async with calling(service) as client:
        client.headers = {}
        assert (await client.get("/api/v1/workers"))[0] == 401
        async with asyncio.timeout(5):
            while not await service.store.count(REFUSALS, {}):
                await asyncio.sleep(0.02)
        monkeypatch.setattr(module, "SAVE_EVERY_S", 60)
        await asyncio.sleep(0.1)
        assert (await client.get("/api/v1/workers"))[0] == 401
    (found,) = await service.store.find(REFUSALS, {})
    assert (found["code"], found["count"]) == ("missing_token", 2)


async def test_what_is_past_its_use_is_deleted(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SAVE_EVERY_S", 0.05)
    # More at once than the store is asked to delete in one call.
    monkeypatch.setattr(purging, "MAX_AT_ONCE", 2)
    old = [{"_id": f"old-{number}", "good_until": 1.0} for number in range(7)]
    await service.store.insert(TICKETS, old)
    async with calling(service), asyncio.timeout(5):
        while await service.store.count(TICKETS, {}):
            await asyncio.sleep(0.02)


class AwayDocuments(EmbeddedDocuments):
    """A store whose deletions fail."""

    tried = 0

    async def delete(
        self,
        collection: str,
        where: Where,
        *,
        limit: int | None = None,
        counts: Counts = NOTHING,
    ) -> int:
        """Fail."""
        del collection, where, limit, counts
        self.tried += 1
        raise Unavailable("store", "made to be away")


async def test_a_store_that_is_away_ends_nothing(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SAVE_EVERY_S", 0.05)
    monkeypatch.setattr(module, "PURGE_EVERY_S", 0.0)
    store = AwayDocuments(service.directory / "away")
    await store.open()
    async with calling(make_service(service.directory, store)) as client:
        await asyncio.sleep(0.3)
        assert (await client.get("/health"))[0] == 200
    assert store.tried > 1
    await store.close()

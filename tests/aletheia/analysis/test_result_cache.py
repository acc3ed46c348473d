"""What processors made is found again by what it was made from, for a while, on every store."""

from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.analysis.result_cache import CACHE, MAX_VALUE_BYTES, ResultCache
from aletheia.documents import Documents
from aletheia.errors import Unavailable
from aletheia.store.clock import Clock


class Away(EmbeddedDocuments):
    """A store that cannot be reached."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"get", "upsert"}:
            raise Unavailable("store", "away")
        return super().__getattribute__(name)


class Time:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def cache(documents: Documents, time: Time) -> ResultCache:
    return ResultCache(documents, scope="t 1", ttl_s=100, clock=Clock(time, time))


async def test_a_value_is_found_by_everything_it_was_made_from(cache: ResultCache):
    await cache.prepare()
    await cache.put({"words": 3}, "hash", {"b": 1, "a": [2]})
    assert await cache.get("hash", {"a": [2], "b": 1}) == {"words": 3}
    assert await cache.get("hash", {"a": [2], "b": 2}) is None
    assert await cache.get("hash") is None


async def test_another_type_or_version_sees_nothing_of_it(cache: ResultCache):
    await cache.put(1, "hash")
    assert await cache.scoped("t 2").get("hash") is None
    assert await cache.scoped("t 1").get("hash") == 1


async def test_a_value_is_forgotten_in_time_and_deleted(
    cache: ResultCache, documents: Documents, time: Time
):
    await cache.put(1, "old")
    time.now += 101
    assert await cache.get("old") is None
    await cache.put(2, "new")
    assert await documents.count(CACHE, {}) == 1


async def test_what_is_too_long_is_left_out(cache: ResultCache):
    await cache.put("x" * MAX_VALUE_BYTES, "long")
    assert await cache.get("long") is None


async def test_without_a_time_nothing_is_saved(documents: Documents):
    cache = ResultCache(documents, scope="", ttl_s=0)
    await cache.put(1, "hash")
    assert await documents.count(CACHE, {}) == 0
    assert await cache.get("hash") is None


async def test_a_store_that_is_away_costs_no_task(tmp_path: Path):
    cache = ResultCache(Away(tmp_path), scope="", ttl_s=100)
    await cache.put(1, "hash")
    assert await cache.get("hash") is None

"""The platform's collections on a server that speaks MongoDB's protocol."""

import uuid
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from aletheia.adapters.platform.mongodb import MongoPlatform, PlatformOnMongo
from aletheia.reasoning.collecting import collect_snapshot
from aletheia.reasoning.platform import Platform, PlatformSettings
from deployments.examples import platform as example
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import AT
from tests.services.fixtures import mongodb_uri

__all__ = ["mongodb_uri"]


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncGenerator[tuple[MongoPlatform, Any]]:
    """A database of its own, opened by us and by the platform."""
    name = f"platform_test_{uuid.uuid4().hex}"
    platform = MongoPlatform(mongodb_uri, name)
    await platform.open()
    async with AsyncMongoClient[dict[str, Any]](mongodb_uri) as client:
        yield platform, client[name]
        await client.drop_database(name)
    await platform.close()


@pytest.mark.parametrize("write", [datetime.fromisoformat, str], ids=["dates", "text"])
async def test_the_example_data_set_is_read_as_it_was_made(
    database: tuple[MongoPlatform, Any], write: Any
):
    platform, theirs = database
    for collection, rows in example.build_platform(AT).items():
        written = [
            {name: write(value) if name == "published_at" else value for name, value in row.items()}
            for row in rows
        ]
        await theirs[collection].insert_many(written)
    source = Platform(PlatformOnMongo(platform), PlatformSettings().names()).source()
    snapshot = await collect_snapshot([source], timeout_s=10, clock=MovableClock(AT).both)
    assert not snapshot.failed_sources
    done = example.SUCCEEDED + example.FAILED
    assert (snapshot.publish_total_24h, snapshot.publish_failed_24h) == (done, example.FAILED)
    assert (snapshot.clips_ready, snapshot.clips_pending_analysis) == (14, 5)
    assert snapshot.best_clips["video"] == {"name": "Clip 19", "score": 68.0}
    assert (snapshot.alerts_critical, snapshot.alerts_warning) == (0, 1)
    assert snapshot.platform_stats["video"] == {"followers": 900.0, "views_24h": 310.0}


async def test_collections_that_ours_could_not_be_named_like_are_read(
    database: tuple[MongoPlatform, Any],
):
    platform, theirs = database
    await theirs["publishHistory"].insert_one({"_id": 1, "state": "ok"})
    names = {"publications": "publishHistory", "publications.status": "state"}
    names |= {"publications.succeeded": "ok", "publications.time": "at"}
    settings = PlatformSettings(platform_names=names)
    source = Platform(PlatformOnMongo(platform), settings.names()).source()
    snapshot = await collect_snapshot([source], timeout_s=10, clock=MovableClock(AT).both)
    assert not snapshot.failed_sources
    assert snapshot.publish_total_24h == 0, "it has no moment"

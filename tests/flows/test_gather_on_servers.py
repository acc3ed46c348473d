"""A gather run on real servers: a MongoDB wire server, Redis, and Neo4j."""

import json
import uuid
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, cast

import pytest
import redis
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from aletheia.adapters.brain.neo4j import Neo4jGraph
from aletheia.events.log import EventLog
from aletheia.gather.progress import GatherReport
from blocks import (
    BrainCredentials,
    EventCredentials,
    LLMCredentials,
    PayloadCredentials,
    StoreCredentials,
)
from flows.gather import automated_gather_creation
from flows.sweep import sweep
from tests.fakes.payload_cms import serve_fake_payload
from tests.services.fixtures import (
    mongodb_uri,
    neo4j_address,
    neo4j_in_turn,
    shared_directory,
    shared_neo4j,
)
from tests.services.neo4j_server import Neo4jAddress, empty
from tests.services.redis_server import running_redis

__all__ = ["mongodb_uri", "neo4j_address", "neo4j_in_turn", "shared_directory", "shared_neo4j"]

pytestmark = pytest.mark.timeout(180)

PROJECT = "Shop_1"


@pytest.fixture
async def store(mongodb_uri: str) -> AsyncGenerator[StoreCredentials]:
    """A store in databases of its own."""
    name = f"test_{uuid.uuid4().hex}"
    yield StoreCredentials(mongodb_uri=SecretStr(mongodb_uri), mongodb_database=name)
    async with AsyncMongoClient[dict[str, Any]](mongodb_uri) as client:
        await client.drop_database(name)
        await client.drop_database(f"aladdin-gather-{PROJECT}")


@pytest.fixture
async def no_blocks_left(prefect_server: None) -> AsyncGenerator[None]:  # noqa: ARG001 - it is there
    """Delete the blocks, so that flows of later tests do not write to the servers of this one."""
    yield
    for kind in (StoreCredentials, LLMCredentials, BrainCredentials, PayloadCredentials):
        await kind.adelete("default")
    await EventCredentials.adelete("default")


async def test_a_run_on_real_servers_leaves_the_same_in_all_of_them(
    no_blocks_left: None,  # noqa: ARG001 - it only has to be there
    monkeypatch: pytest.MonkeyPatch,
    store: StoreCredentials,
    mongodb_uri: str,
    neo4j_address: Neo4jAddress,
):
    monkeypatch.setenv("PROCESSING_MODE", "mock")
    await store.asave("default", overwrite=True)
    await LLMCredentials().asave("default", overwrite=True)
    brain = BrainCredentials(
        neo4j_uri=SecretStr(neo4j_address.uri),
        neo4j_username=neo4j_address.username,
        neo4j_password=SecretStr(neo4j_address.password),
    )
    await brain.asave("default", overwrite=True)
    async with serve_fake_payload() as payload:
        payload.add("legal", 1, description="Reviews contracts and licences.")
        payload.add("support", 2, description="Answers customers and collects feedback.")
        await PayloadCredentials(base_url=payload.url).asave("default", overwrite=True)
        with running_redis() as server, redis.Redis.from_url(server.url) as client:  # pyright: ignore[reportUnknownMemberType] - redis-py types it in part
            events = EventCredentials(redis_url=SecretStr(server.url))
            await events.asave("default", overwrite=True)
            channel = client.pubsub()  # pyright: ignore[reportUnknownMemberType] - redis-py types it in part
            channel.subscribe(f"automated-gather:{PROJECT}")  # pyright: ignore[reportUnknownMemberType] - redis-py types it in part
            running = automated_gather_creation(PROJECT, "user-1", 3)
            report = await cast("Awaitable[object]", running)
            received: list[bytes] = []
            while (message := cast("Any", channel).get_message(timeout=1)) is not None:
                if message["type"] == "message":
                    received.append(message["data"])
    assert isinstance(report, GatherReport)
    assert report.iterations == 3

    async with AsyncMongoClient[dict[str, Any]](mongodb_uri) as mongo:
        found = await mongo[f"aladdin-gather-{PROJECT}"]["gather"].find().to_list()
    assert report.items_created == len(found) > 0
    assert {document["user_id"] for document in found} == {"user-1"}
    assert all(document["automation"]["mock"] for document in found)

    documents = store.get_client()
    await documents.open()
    kept = await EventLog(documents).read(PROJECT)
    # What a slow Neo4j did not take within the grace of the run, the sweep delivers after a pause.
    await documents.delete("aletheia_brain_cursors", {})
    await documents.close()
    await cast("Awaitable[object]", sweep())
    assert [json.loads(message) for message in received] == [
        json.loads(event.body) for event in kept
    ]
    assert [event.seq for event in kept] == list(range(1, len(kept) + 1))

    graph = Neo4jGraph(neo4j_address.uri, neo4j_address.username, neo4j_address.password)
    try:
        indexed = await graph.list_items(PROJECT)
    finally:
        await graph.close()
        empty(neo4j_address)
    assert {item.id for item in indexed} == {str(document["_id"]) for document in found}
    assert all(item.has_vector for item in indexed)

"""Publishing events, on a real Redis server."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.events.redis import RedisEvents, name_channel
from aletheia.errors import InvalidTask, Misconfigured, Unavailable
from aletheia.events.delivery import FanOut, Pace
from aletheia.events.log import EventLog, SavedEvent
from tests.aletheia.events.event_processes import emit, iterated, story
from tests.services.nx import free_port
from tests.services.redis_server import RedisServer, running_redis


@pytest.fixture(scope="module")
def shared() -> Generator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def log(tmp_path: Path) -> AsyncGenerator[EventLog]:
    store = EmbeddedDocuments(tmp_path / "store")
    await store.open()
    yield EventLog(store)
    await store.close()


@asynccontextmanager
async def listening(url: str, *channels: str) -> AsyncGenerator[asyncio.Queue[tuple[str, bytes]]]:
    """Hear what is published on channels."""
    client: Any = redis.Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType] - redis-py types it in part
    subscription = client.pubsub()
    received: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def listen() -> None:
        async for message in subscription.listen():
            if message["type"] == "message":
                received.put_nowait((message["channel"].decode(), message["data"]))

    await subscription.subscribe(*channels)
    while (await subscription.get_message(timeout=1)) is None:
        pass
    task = asyncio.create_task(listen())
    try:
        yield received
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await subscription.aclose()
        await client.aclose()


@asynccontextmanager
async def publisher(url: str, **options: Any) -> AsyncGenerator[RedisEvents]:
    sink = RedisEvents(url, **options)
    try:
        yield sink
    finally:
        await sink.close()


async def test_events_are_published_in_order_on_their_projects_channel_as_they_are_kept(
    shared: RedisServer, log: EventLog
):
    kept = [
        await log.append(event, run_id="r", iteration=iteration) for event, iteration in story()
    ]
    kept.append(await log.append(iterated(1, "p-2"), run_id="r"))
    channels = ("automated-gather:p1", "automated-gather:p-2")
    async with listening(shared.url, *channels) as received, publisher(shared.url) as sink:
        for event in kept:
            await sink.send("", event)
        got = [await asyncio.wait_for(received.get(), 10) for _ in kept]
    assert got == [(f"automated-gather:{event.project_id}", event.body) for event in kept]


async def test_an_event_that_nobody_hears_is_sent_all_the_same(shared: RedisServer, log: EventLog):
    event = await log.append(iterated(1), run_id="r")
    async with publisher(shared.url) as sink:
        await sink.send("", event)


async def test_what_was_kept_while_redis_was_away_is_published_when_it_is_back(tmp_path: Path):
    store = EmbeddedDocuments(tmp_path / "store")
    await store.open()
    log = EventLog(store)
    with running_redis() as server:
        async with publisher(server.url) as sink:
            fan_out = FanOut(store, {"redis": sink}, pace=Pace(backoff_s=0))
            await fan_out.subscribe("p1", "run-1", "redis")
            await log.append(iterated(7), run_id="run-1")
            assert await fan_out.feed() == 1
            server.stop()
            numbers = await emit(store, "run-1")
            assert await fan_out.feed() == 0
            server.start()
            async with listening(server.url, "automated-gather:p1") as received:
                assert await fan_out.feed() == len(numbers)
                bodies = [(await asyncio.wait_for(received.get(), 10))[1] for _ in numbers]
    assert bodies == [event.body for event in await log.read("p1", after=1)]
    await store.close()


async def test_a_server_that_is_not_there_is_unavailable(log: EventLog):
    event = await log.append(iterated(1), run_id="r")
    async with publisher(f"redis://:s3cret@127.0.0.1:{free_port()}/0") as sink:
        with pytest.raises(Unavailable) as caught:
            await sink.send("", event)
    assert "s3cret" not in str(caught.value)


async def test_a_server_that_says_nothing_is_left_after_its_time(log: EventLog):
    event = await log.append(iterated(1), run_id="r")
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with publisher(f"redis://127.0.0.1:{port}/0", timeout_s=0.05) as sink:
            with pytest.raises(Unavailable, match="imeout"):
                await sink.send("", event)
        await asyncio.wait_for(gone.wait(), 10)


@pytest.mark.parametrize("password", ["", "wrong-s3cret"])
async def test_credentials_that_are_refused_point_to_the_setting(log: EventLog, password: str):
    event = await log.append(iterated(1), run_id="r")
    with running_redis(password="right") as server:
        url = server.url.replace("right", password)
        async with publisher(url) as sink:
            with pytest.raises(Misconfigured, match="REDIS_URL") as caught:
                await sink.send("", event)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "http://u:s3cret@h", "redis://:s3cret@h:port", "redis://h?s3cret=1"]
)
def test_an_address_that_cannot_be_right_is_refused_without_repeating_it(url: str):
    with pytest.raises(Misconfigured, match="REDIS_URL") as caught:
        RedisEvents(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("project_id", ["*", "a b", "x\r\nPUBLISH y z", ""])
async def test_a_hostile_project_id_names_no_channel(shared: RedisServer, project_id: str):
    with pytest.raises(InvalidTask) as caught:
        name_channel(project_id)
    assert caught.value.code == "invalid_project_id"
    async with publisher(shared.url) as sink:
        with pytest.raises(InvalidTask):
            await sink.send("", _named(project_id))


def _named(project_id: str) -> SavedEvent:
    moment: Any = None
    return SavedEvent(project_id, 1, moment, "r", b"{}", is_last=False)

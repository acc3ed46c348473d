"""Events as they happen: nothing is missed or doubled, whoever joins late or comes back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import orjson
import pytest

from aletheia.errors import Unavailable
from aletheia.service import sockets
from aletheia.service.feeds import MAX_PROJECTS
from aletheia.service.sockets import NO_LONGER_AUTHORIZED
from tests.fakes.projects import PROJECT, add_events, begin_run, purge_events
from tests.fakes.service import Client, FakeService, calling, make_service, make_token

SOCKET = f"/ws/automated-gather/{PROJECT}"
STREAM = f"/events/automated-gather/{PROJECT}"


async def read_socket(
    client: Client, count: int, path: str = SOCKET, **query: Any
) -> list[dict[str, Any]]:
    """Return the first frames of a socket."""
    async with client.session.ws_connect(path, params=query, headers=client.headers) as websocket:
        return [orjson.loads(await websocket.receive_str(timeout=5)) for _ in range(count)]


@contextlib.asynccontextmanager
async def streaming(
    client: Client, path: str = STREAM, **headers: str
) -> AsyncGenerator[AsyncGenerator[tuple[str, dict[str, Any]]]]:
    """Yield the events of a stream, each with its id."""
    sent = {**client.headers, **{name.replace("_", "-"): to for name, to in headers.items()}}

    async def events(response: aiohttp.ClientResponse) -> AsyncGenerator[tuple[str, Any]]:
        id_, data = "", ""
        async for raw in response.content:
            line = raw.decode().rstrip("\r\n")
            if not line and data:
                yield id_, orjson.loads(data)
                id_, data = "", ""
            name, _, value = line.partition(": ")
            id_, data = (value if name == "id" else id_), (value if name == "data" else data)

    async with client.session.get(path, headers=sent) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        yield events(response)


async def take(events: AsyncGenerator[Any], count: int) -> list[Any]:
    async with asyncio.timeout(5):
        return [await anext(events) for _ in range(count)]


def numbers(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["seq"] for frame in frames]


async def test_who_joins_late_gets_what_it_missed_and_then_what_happens(
    service: FakeService, client: Client
):
    await add_events(service.store, 3)
    async with client.session.ws_connect(SOCKET, headers=client.headers) as websocket:
        early = [orjson.loads(await websocket.receive_str(timeout=5)) for _ in range(3)]
        await add_events(service.store, 2, first=4)
        later = [orjson.loads(await websocket.receive_str(timeout=5)) for _ in range(2)]
    assert numbers([*early, *later]) == [1, 2, 3, 4, 5]
    assert early[0]["type"] == "iteration_complete"
    assert "timestamp" in early[0]


async def test_who_comes_back_reads_on_from_its_number(service: FakeService, client: Client):
    await add_events(service.store, 6)
    assert numbers(await read_socket(client, 2, from_seq=5)) == [5, 6]
    async with streaming(client, Last_Event_ID="4") as events:
        assert [(id_, event["seq"]) for id_, event in await take(events, 2)] == [("5", 5), ("6", 6)]
    async with streaming(client, f"{STREAM}?from_seq=6") as events:
        assert [event["seq"] for _, event in await take(events, 1)] == [6]
    # What was received last counts, as a browser repeats the address it began with.
    async with streaming(client, f"{STREAM}?from_seq=1", Last_Event_ID="5") as events:
        assert [event["seq"] for _, event in await take(events, 1)] == [6]


async def test_both_ways_say_the_same(service: FakeService, client: Client):
    await add_events(service.store, 4)
    by_socket = await read_socket(client, 4)
    async with streaming(client) as events:
        assert [event for _, event in await take(events, 4)] == by_socket


async def test_more_than_a_page_comes_in_order(service: FakeService, client: Client):
    await add_events(service.store, 1_200)
    assert numbers(await read_socket(client, 1_200)) == list(range(1, 1_201))


async def test_what_is_not_kept_any_more_is_said_with_the_state_as_it_is(
    service: FakeService, client: Client
):
    await begin_run(service.store)
    await add_events(service.store, 5)
    await purge_events(service.store)
    gap, event = await read_socket(client, 2)
    assert (gap["type"], gap["from_seq"], gap["to_seq"], gap["seq"]) == ("gap", 1, 4, 4)
    assert (gap["reason"], gap["project_id"]) == ("purged", PROJECT)
    assert gap["state"]["run"]["departments"][0]["quality_score"] == 55.0
    assert event["seq"] == 5
    gap, _ = await read_socket(client, 2, from_seq=3)
    assert (gap["from_seq"], gap["to_seq"]) == (3, 4)
    async with streaming(client) as events:
        ids = [id_ for id_, _ in await take(events, 2)]
    assert ids == ["4", "5"], "who comes back after the gap is not told of it again"


async def test_numbers_of_another_store_are_said_to_be_ahead(service: FakeService, client: Client):
    await add_events(service.store, 2)
    async with client.session.ws_connect(
        SOCKET, params={"from_seq": 100}, headers=client.headers
    ) as websocket:
        gap = orjson.loads(await websocket.receive_str(timeout=5))
        await add_events(service.store, 1, first=3)
        event = orjson.loads(await websocket.receive_str(timeout=5))
    assert (gap["type"], gap["reason"], gap["seq"]) == ("gap", "ahead", 2)
    assert event["seq"] == 3


async def test_projects_are_apart(service: FakeService, client: Client):
    await add_events(service.store, 2)
    await add_events(service.store, 1, project_id="another")
    (event,) = await read_socket(client, 1, "/ws/automated-gather/another")
    assert event["project_id"] == "another"


async def test_nothing_is_missed_or_doubled_by_who_is_cut_off_again_and_again(
    service: FakeService, client: Client
):
    total = 200
    adding = asyncio.create_task(add_events(service.store, total))

    async def follow(cut_after: int) -> list[int]:
        seen: list[int] = []
        while len(seen) < total:
            query = {"from_seq": len(seen) + 1}
            async with client.session.ws_connect(
                SOCKET, params=query, headers=client.headers
            ) as websocket:
                seen += [
                    orjson.loads(await websocket.receive_str(timeout=10))["seq"]
                    for _ in range(min(cut_after, total - len(seen)))
                ]
        return seen

    found = await asyncio.gather(*(follow(cut_after) for cut_after in (7, 23, 50, 200)))
    await adding
    assert found == [list(range(1, total + 1))] * 4


async def test_a_service_that_is_started_again_goes_on(service: FakeService):
    await add_events(service.store, 3)
    async with calling(service, is_bounded=True) as client:
        websocket = await client.session.ws_connect(SOCKET, headers=client.headers)
        assert orjson.loads(await websocket.receive_str(timeout=5))["seq"] == 1
    again = make_service(service.directory, service.store)
    async with calling(again, is_bounded=True) as client:
        assert numbers(await read_socket(client, 2, from_seq=2)) == [2, 3]


async def test_streams_end_with_the_service(service: FakeService):
    await add_events(service.store, 1)
    began = 0.0
    async with calling(service, is_bounded=True) as client, streaming(client) as events:
        await take(events, 1)
        began = time.monotonic()
    assert time.monotonic() - began < 3


async def test_a_ticket_opens_one_socket(service: FakeService, client: Client):
    await add_events(service.store, 1)
    status, issued = await client.call("POST", "/api/v1/ws-ticket")
    assert status == 201
    browser = client.as_role("viewer")
    browser.headers = {}
    query = {"ticket": issued["ticket"]}
    assert numbers(await read_socket(browser, 1, **query)) == [1]
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await read_socket(browser, 1, **query)
    assert refused.value.status == 401


def make_lasting(*roles: str, **claims: Any) -> str:
    """Make a token that is good until all tests are done."""
    return make_token(*roles, exp=time.time() + 36_000, **claims)


@pytest.mark.parametrize("path", [SOCKET, STREAM])
@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ({}, {}, 401),
        ({}, {"Authorization": "Bearer a.b.c"}, 401),
        ({"token": make_lasting("admin")}, {}, 401),
        ({"access_token": make_lasting("admin")}, {}, 401),
        ({"ticket": ""}, {}, 401),
        ({"ticket": "made-up"}, {}, 401),
        ({"ticket": make_lasting("admin")[:64]}, {}, 401),
        ({}, {"Authorization": f"Bearer {make_lasting(roles=['guest'])}"}, 403),
        ({}, {"Authorization": f"Bearer {make_lasting()}", "Origin": "https://evil.example"}, 403),
        ({}, {"Authorization": f"Bearer {make_lasting()}", "Origin": "null"}, 403),
        ({"from_seq": "0"}, {"Authorization": f"Bearer {make_lasting()}"}, 422),
        ({"from_seq": "-1"}, {"Authorization": f"Bearer {make_lasting()}"}, 422),
        ({"from_seq": "one"}, {"Authorization": f"Bearer {make_lasting()}"}, 422),
        ({"from_seq": "9" * 30}, {"Authorization": f"Bearer {make_lasting()}"}, 422),
        (
            {"from_seq": "0" * 19 + "1" + "9" * 30},
            {"Authorization": f"Bearer {make_lasting()}"},
            422,
        ),
        (
            {"from_seq": "0" * 19 + "1" + "9" * 5_000},
            {"Authorization": f"Bearer {make_lasting()}"},
            422,
        ),
    ],
    # Tokens differ from one worker of the tests to the next, and have no place in a name.
    ids=[
        *("none", "no token", "in the query", "as access_token", "empty", "made up", "as a ticket"),
        *("no role", "foreign origin", "no origin", "zero", "negative", "a word", "huge"),
        *("huge behind zeros", "longer than any number"),
    ],
)
async def test_who_may_not_is_told_why(
    client: Client, path: str, query: dict[str, str], headers: dict[str, str], status: int
):
    if path == STREAM:
        async with client.session.get(path, params=query, headers=headers) as response:
            assert response.status == status
            assert (await response.json())["error"]["code"]
        return
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.session.ws_connect(path, params=query, headers=headers)
    assert refused.value.status == status


async def test_a_project_that_cannot_be_is_refused(client: Client):
    for project in ("a b", "a" * 49, "é"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.session.ws_connect(
                f"/ws/automated-gather/{project}", headers=client.headers
            )
        assert refused.value.status == 422


async def test_pages_of_the_service_and_of_allowed_origins_may_follow(service: FakeService):
    await add_events(service.store, 1)
    allowed = "https://app.example.com"
    other = make_service(
        service.directory, service.store, settings={"service_allowed_origins": f"{allowed}/, b"}
    )
    async with calling(other) as client:
        own = str(client.session._base_url).rstrip("/")  # pyright: ignore[reportPrivateUsage] - aiohttp has no other name
        for origin in (own, allowed):
            client.headers["Origin"] = origin
            assert numbers(await read_socket(client, 1)) == [1]
        headers = {"Origin": allowed, "Access-Control-Request-Method": "GET"}
        async with client.session.options(STREAM, headers=headers) as response:
            assert response.headers["Access-Control-Allow-Origin"] == allowed
        headers["Origin"] = "https://evil.example"
        async with client.session.options(STREAM, headers=headers) as response:
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_a_socket_ends_when_its_token_does(service: FakeService, client: Client):
    await add_events(service.store, 1)
    short = client.as_role("viewer", exp=int(time.time()) + 2)
    async with short.session.ws_connect(SOCKET, headers=short.headers) as websocket:
        assert orjson.loads(await websocket.receive_str(timeout=5))["seq"] == 1
        assert orjson.loads(await websocket.receive_str(timeout=5)) == {"type": "expired"}
        await websocket.receive(timeout=5)
        assert websocket.close_code == NO_LONGER_AUTHORIZED
    short = client.as_role("viewer", exp=int(time.time()) + 2)
    async with streaming(short) as events:
        async with asyncio.timeout(6):
            said = [event async for _, event in events]
    assert [event["type"] for event in said] == ["iteration_complete", "expired"]


async def test_a_socket_goes_on_with_a_ticket_of_a_newer_token(
    service: FakeService, client: Client
):
    short = client.as_role("viewer", exp=int(time.time()) + 2)
    _, issued = await client.call("POST", "/api/v1/ws-ticket")
    async with short.session.ws_connect(SOCKET, headers=short.headers) as websocket:
        await websocket.send_str(orjson.dumps({"ticket": issued["ticket"]}).decode())
        assert orjson.loads(await websocket.receive_str(timeout=5))["type"] == "renewed"
        await asyncio.sleep(2.5)
        await add_events(service.store, 1)
        assert orjson.loads(await websocket.receive_str(timeout=5))["seq"] == 1


async def test_tickets_are_no_messages_that_mean_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sockets, "MAX_UNEXPECTED", 2)
    monkeypatch.setattr(sockets, "RENEW_EVERY_S", 0)
    async with client.session.ws_connect(SOCKET, headers=client.headers) as websocket:
        for _ in range(5):
            _, issued = await client.call("POST", "/api/v1/ws-ticket")
            await websocket.send_str(orjson.dumps({"ticket": issued["ticket"]}).decode())
            assert orjson.loads(await websocket.receive_str(timeout=5))["type"] == "renewed"


async def test_a_store_that_is_away_ends_no_socket(
    service: FakeService, client: Client, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object, **__: object) -> None:
        raise Unavailable("store", "made to be away")

    monkeypatch.setattr(sockets, "RENEW_EVERY_S", 0)
    _, issued = await client.call("POST", "/api/v1/ws-ticket")
    sent = orjson.dumps({"ticket": issued["ticket"]}).decode()
    async with client.session.ws_connect(SOCKET, headers=client.headers) as websocket:
        with monkeypatch.context() as away:
            away.setattr(service.store, "get", fail)
            await websocket.send_str(sent)
            said = orjson.loads(await websocket.receive_str(timeout=5))
            assert said == {"type": "renewal_failed"}
        await websocket.send_str(sent)
        assert orjson.loads(await websocket.receive_str(timeout=5))["type"] == "renewed"


async def test_a_ticket_of_somebody_else_ends_a_socket(client: Client):
    other = client.as_role("viewer", sub="somebody-else")
    _, issued = await other.call("POST", "/api/v1/ws-ticket")
    async with client.session.ws_connect(SOCKET, headers=client.headers) as websocket:
        await websocket.send_str(orjson.dumps({"ticket": issued["ticket"]}).decode())
        await websocket.receive(timeout=5)
        assert websocket.close_code == NO_LONGER_AUTHORIZED


@pytest.mark.parametrize(
    "message", ["", "hello", "[]", '{"ticket": 7}', "[" * 3_000, "\0", "null"], ids=str
)
async def test_messages_that_mean_nothing_change_nothing(
    service: FakeService, client: Client, message: str
):
    async with client.session.ws_connect(SOCKET, headers=client.headers) as websocket:
        await websocket.send_str(message)
        await add_events(service.store, 1)
        assert orjson.loads(await websocket.receive_str(timeout=5))["seq"] == 1


async def test_one_that_sends_too_much_is_closed(service: FakeService):
    async with calling(service, is_bounded=True) as client:
        for sent, times in (("x", 200), ("x" * 100_000, 1)):
            async with client.session.ws_connect(SOCKET, headers=client.headers) as websocket:
                with contextlib.suppress(ConnectionError):
                    for _ in range(times):
                        await websocket.send_str(sent)
                message = await websocket.receive(timeout=5)
                assert message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}


async def test_no_caller_takes_all_sockets(service: FakeService):
    other = make_service(service.directory, service.store, settings={"service_max_sockets": 4})
    async with calling(other) as client, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(
                client.session.ws_connect(SOCKET, headers=client.headers)
            )
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.session.ws_connect(SOCKET, headers=client.headers)
        assert refused.value.status == 503
        another = client.as_role("viewer", sub="somebody-else")
        async with client.session.ws_connect(SOCKET, headers=another.headers):
            pass
        assert (await client.get("/health"))[0] == 200


async def test_no_more_projects_are_followed_than_can_be(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    assert MAX_PROJECTS > 1
    monkeypatch.setattr("aletheia.service.feeds.MAX_PROJECTS", 1)
    async with client.session.ws_connect(SOCKET, headers=client.headers):
        await asyncio.sleep(0.1)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.session.ws_connect("/ws/automated-gather/another", headers=client.headers)
        assert refused.value.status == 503
        async with client.session.ws_connect(SOCKET, headers=client.headers):
            pass


async def test_a_stranger_reads_nothing_of_the_store(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def fail(*_: object, **__: object) -> None:
        raise Unavailable("store", "store-0.internal:27017 refuses us")

    monkeypatch.setattr(service.store, "get", fail)
    async with calling(service) as client:
        async with client.session.get(STREAM, params={"ticket": "x"}) as response:
            assert response.status == 503
            said = await response.text()
        assert orjson.loads(said)["error"]["code"] == "unavailable"
        assert "internal" not in said
        assert "store-0.internal" in caplog.text
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.session.ws_connect(SOCKET, params={"ticket": "x"})
        assert refused.value.status == 503

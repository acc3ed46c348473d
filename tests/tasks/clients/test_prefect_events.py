"""Events of gather runs as events of Prefect."""

import asyncio
import json
import uuid
from datetime import UTC, datetime

import pytest
from aiohttp import web
from prefect.events import Event
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from aletheia.errors import Refused, Unavailable, Unreachable
from aletheia.events.log import SavedEvent
from aletheia.system_events import SystemEvent
from tasks.clients.prefect_events import PrefectEvents, describe_event, describe_system_event

AT = datetime(2026, 11, 21, 12, 0, 0, 250, tzinfo=UTC)
RUN = "0a0a0a0a-0000-4000-8000-00000000000a"


def make_event(seq: int = 7) -> SavedEvent:
    body = {"type": "deduplicating", "project_id": "shop", "department": "legal", "seq": seq}
    return SavedEvent("shop", seq, AT, RUN, json.dumps(body).encode(), is_last=False)


def test_an_event_says_what_happened_to_which_project_in_which_run():
    event = Event.model_validate(describe_event(make_event()))
    assert event.event == "aletheia.gather.deduplicating"
    assert event.resource.id == "aletheia.project.shop"
    (run,) = event.related
    assert (run.id, run.role) == (f"prefect.flow-run.{RUN}", "flow-run")
    assert event.payload["department"] == "legal"
    assert event.occurred == AT


def test_an_event_has_the_same_id_whenever_it_is_sent_and_no_other_event_has_it():
    ids = [describe_event(make_event(seq))["id"] for seq in (7, 7, 8)]
    assert ids[0] == ids[1] != ids[2]
    assert uuid.UUID(ids[0]).version == 5


def test_an_event_about_the_system_says_what_happened_to_what():
    opened = SystemEvent("breaker.opened", "breaker.openai", "openai:3", AT, {"failures": "5"})
    event = Event.model_validate(describe_system_event(opened))
    assert event.event == "aletheia.breaker.opened"
    assert event.resource.id == "aletheia.breaker.openai"
    assert (event.resource.name, event.occurred) == ("openai", AT)
    assert event.payload == {"failures": "5"}
    assert event.related == []  # outside of a run
    assert describe_system_event(opened)["id"] == describe_system_event(opened)["id"]
    later = SystemEvent("breaker.opened", "breaker.openai", "openai:4", AT)
    assert describe_system_event(later)["id"] != describe_system_event(opened)["id"]


class Server:
    """Answers `POST /api/events` with what is set."""

    def __init__(self) -> None:
        self.status = 204
        self.seen: list[str] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/api/csrf-token":
            return web.Response(status=404)  # as a server that wants none
        assert (request.method, request.path) == ("POST", "/api/events")
        self.seen += [event["id"] for event in await request.json()]
        return web.Response(status=self.status)


async def send(server: Server, *events: SavedEvent) -> None:
    """Send events to a server on a free port."""
    runner = web.ServerRunner(web.Server(server.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api"
    sink = PrefectEvents()
    try:
        with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
            for event in events:
                await sink.send("", event)
    finally:
        await sink.close()
        await sink.close()
        await runner.cleanup()


async def test_events_are_sent_one_after_the_other():
    server = Server()
    await send(server, make_event(1), make_event(2))
    assert server.seen == [describe_event(make_event(seq))["id"] for seq in (1, 2)]


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
async def test_an_event_that_is_refused_is_refused_for_good(status: int):
    server = Server()
    server.status = status
    with pytest.raises(Refused, match=str(status)) as refused:
        await send(server, make_event())
    assert refused.value.code == "refused"


@pytest.mark.parametrize("status", [401, 403, 408, 425, 429, 499, 500, 503])
async def test_a_server_that_is_not_well_is_asked_again_later(status: int):
    server = Server()
    server.status = status
    with pytest.raises(Unavailable, match=str(status)):
        await send(server, make_event())


async def test_a_server_that_is_away_is_said_to_be_away():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        sink = PrefectEvents()
        with pytest.raises(Unreachable, match="prefect"):
            async with asyncio.timeout(20):
                await sink.send("", make_event())
        await sink.close()

"""The application as a whole: what is open, and what is nobody's."""

import asyncio

import pytest

from aletheia.errors import AletheiaError, Misconfigured, Unavailable
from aletheia.service.assembly import build_service, no_parts
from aletheia.service.settings import ServiceSettings
from aletheia.settings import IntakeSettings
from tests.aletheia.service.test_health import ask, calling
from tests.fakes.service import Client, FakeService, make_service, make_token
from tests.fakes.service import calling as serving_client


@pytest.mark.parametrize(
    "error", [Misconfigured("everything", "is not set"), Unavailable("everything", "away")], ids=str
)
async def test_without_any_part_it_starts_and_says_so(error: AletheiaError):
    app = build_service(no_parts(error), ServiceSettings(), IntakeSettings())
    async with calling(app) as session:
        assert (await ask(session, "/health"))[0] == 200
        status, found = await ask(session, "/health/ready")
        assert status == 503
        checks = {check["name"]: check["status"] for check in found["checks"]}
        assert set(checks.values()) <= {"missing", "failed"}
        assert {"store", "brain", "brain key", "sign-in", "webhooks in"} <= set(checks)
        session.headers["Authorization"] = f"Bearer {make_token('admin')}"
        for path in (
            *("/api/v1/dead-letters", "/events/automated-gather/p", "/ai/global/last_run"),
            "/metrics",
        ):
            assert (await ask(session, path))[0] == 503


async def test_what_is_not_there_is_said_in_our_form(client: Client):
    for path in ("/", "/nothing", "/api/v1/nothing", "/ws/automated-gather/p/more", "/redoc"):
        status, answer = await client.get(path)
        assert (status, answer["error"]["code"]) == (404, "not_found")
    status, answer = await client.call("DELETE", "/api/v1/workers")
    assert (status, answer["error"]["code"]) == (405, "method_not_allowed")


async def test_health_answers_many_at_once_and_shows_nothing_secret(
    service: FakeService, client: Client
):
    del service
    client.headers = {}
    answers = await asyncio.gather(*(client.get("/health") for _ in range(200)))
    assert {status for status, _ in answers} == {200}
    assert answers[0][1] == {
        "status": "ok",
        "limits": [],
        "breakers": [],
        "are_readings_known": True,
    }


async def test_pages_of_allowed_origins_may_send_what_routes_take(service: FakeService):
    allowed = "https://app.example.com"
    other = make_service(
        service.directory, service.store, settings={"service_allowed_origins": allowed}
    )
    async with serving_client(other) as client:
        headers = {
            "Origin": allowed,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
        }
        path = "/api/v1/dead-letters/replay"
        async with client.session.options(path, headers=headers) as response:
            assert response.status == 200, await response.text()

"""Whether the service says what it lacks, and lets nobody in whom no guard has seen."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fastapi import APIRouter

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.brain.index import IndexedBrain
from aletheia.errors import Misconfigured, Unavailable
from aletheia.service import health
from aletheia.service.app import create_app
from aletheia.service.guarding import BearerKey
from aletheia.service.health import Ping
from tests.fakes.brain import DIMENSIONS, MODEL, FakeEmbed, FlakyGraph
from tests.fakes.brain_app import make_brain_app
from tests.fakes.serving import serving

GUARD = BearerKey("the-key-of-these-tests-is-long-enough", "THE_SETTING")


@asynccontextmanager
async def calling(app: Any) -> AsyncGenerator[aiohttp.ClientSession]:
    async with serving(app) as url, aiohttp.ClientSession(url) as session:
        yield session


async def ask(session: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with session.get(path) as response:
        return response.status, await response.json()


async def answer() -> None:
    """Answer."""


async def fail() -> None:
    raise Unavailable("neo4j", "no route to 10.1.2.3")


async def lack() -> None:
    raise Misconfigured("REDIS_URL", "is not set")


async def hang() -> None:
    await asyncio.sleep(60)


def check(name: str, status: str, reason: str = "") -> dict[str, str]:
    return {"name": name, "status": status, "reason": reason}


@pytest.mark.parametrize("path", ["/ready", "/health/ready"])
async def test_it_is_ready_when_all_that_is_needed_answers(path: str):
    pings = [Ping("store", answer), Ping("redis", lack, is_needed=False)]
    async with calling(create_app([], GUARD, pings)) as session:
        checks = [check("store", "ok"), check("redis", "missing", "REDIS_URL")]
        assert await ask(session, path) == (200, {"status": "ready", "checks": checks})


async def test_it_names_what_is_needed_and_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(health, "PING_TIMEOUT_S", 0.05)
    pings = [Ping("neo4j", fail), Ping("redis", lack), Ping("upstream", hang)]
    async with calling(create_app([], GUARD, pings)) as session:
        status, found = await ask(session, "/health/ready")
        assert (status, found["status"]) == (503, "unready")
        assert found["checks"] == [
            check("neo4j", "failed", "unavailable"),
            check("redis", "missing", "REDIS_URL"),
            check("upstream", "failed", "timeout"),
        ]
        status, alive = await ask(session, "/health")
        assert (status, alive["status"], alive["are_readings_known"]) == (200, "ok", False)
    assert "10.1.2.3" in caplog.text


async def test_a_fault_of_ours_in_one_check_hides_no_other():
    async def break_down() -> Any:
        raise ValueError("a secret in a message")

    pings = [Ping("store", answer), Ping("redis", break_down, is_needed=False)]
    app = create_app([], GUARD, pings, read_readings=break_down)
    async with calling(app) as session:
        checks = [check("store", "ok"), check("redis", "failed", "internal_error")]
        assert await ask(session, "/health/ready") == (200, {"status": "ready", "checks": checks})
        status, alive = await ask(session, "/health")
        assert (status, alive["are_readings_known"]) == (200, False)


async def test_a_router_without_a_guard_is_closed_to_strangers():
    router = APIRouter()

    @router.get("/secret")
    async def read_secret() -> str:
        return "secret"

    async with calling(create_app([router], GUARD, [])) as session:
        status, refused = await ask(session, "/secret")
        assert (status, refused["error"]["code"]) == (401, "missing_key")
        session.headers["Authorization"] = "Bearer the-key-of-these-tests-is-long-enough"
        assert await ask(session, "/secret") == (200, "secret")


async def test_without_a_key_it_starts_and_says_that_it_is_missing(tmp_path: Path):
    brain = IndexedBrain(EmbeddedGraph(tmp_path), FakeEmbed(), MODEL, DIMENSIONS)
    async with calling(make_brain_app(brain, "")) as session:
        checks = [check("brain", "ok"), check("brain key", "missing", "BRAIN_SERVICE_API_KEY")]
        assert await ask(session, "/ready") == (200, {"status": "ready", "checks": checks})


async def test_a_brain_that_is_away_or_of_another_model_is_not_ready(tmp_path: Path):
    graph = FlakyGraph(tmp_path)
    brain = IndexedBrain(graph, FakeEmbed(), MODEL, DIMENSIONS)
    async with calling(make_brain_app(brain)) as session:
        assert (await ask(session, "/ready"))[0] == 200
        graph.is_away = True
        status, found = await ask(session, "/ready")
        assert (status, found["checks"][0]) == (503, check("brain", "failed", "unavailable"))
        graph.is_away = False
        await graph.set_model("another", DIMENSIONS)
        status, found = await ask(session, "/ready")
        assert (status, found["checks"][0]["reason"]) == (503, "embedding_model_changed")

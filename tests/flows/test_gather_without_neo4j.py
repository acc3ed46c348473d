"""A gather run whose Neo4j, a real one, is killed half-way (SPEC §4, Brain)."""

import asyncio
import itertools
from collections.abc import Generator, Mapping
from typing import Any, cast

import pytest
from pydantic import SecretStr

from aletheia.adapters.brain.neo4j import Neo4jGraph
from aletheia.gather.prompts.generate_items import FORM
from blocks import BrainCredentials, LLMCredentials
from tests.fakes.openai_chat import items_text, serve_fake_chat
from tests.flows.evaluation_setup import judge
from tests.flows.test_gather import Backend, backend
from tests.flows.test_reconcile import run_reconcile, swept
from tests.services.neo4j_server import Neo4jServer, running_neo4j, what_is_missing

__all__ = ["backend"]

pytestmark = pytest.mark.timeout(180)  # a server is started, twice


@pytest.fixture
def server() -> Generator[Neo4jServer]:
    """A Neo4j for this test alone, so that its memory is free afterwards."""
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(missing)
    with running_neo4j() as server:
        yield server


async def test_a_run_whose_neo4j_is_killed_half_way_completes_and_nothing_differs_in_the_end(
    backend: Backend, server: Neo4jServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CIRCUIT_BREAKER_THRESHOLD", "2")
    address, numbers = server.address, itertools.count(1, 6)
    graph = Neo4jGraph(address.uri, address.username, address.password)
    indexed: set[str] = set()

    def write(body: Mapping[str, Any]) -> str:
        is_items = body["response_format"]["json_schema"]["name"] == FORM.name
        return items_text(6, start=next(numbers)) if is_items else judge(body)

    async def kill() -> None:
        """Index some items, then end Neo4j."""
        if await backend.items() and not indexed:
            while not indexed:
                indexed.update([item.id for item in await graph.list_items("shop")])
                await asyncio.sleep(0.05)
            server.kill()

    async with serve_fake_chat() as chat:
        chat.write, chat.meanwhile = write, kill
        model = LLMCredentials(openrouter_api_key=cast("Any", chat.api_key), base_url=chat.url)
        await model.asave("default", overwrite=True)
        brain = BrainCredentials(
            neo4j_uri=SecretStr(address.uri),
            neo4j_username=address.username,
            neo4j_password=SecretStr(address.password),
        )
        await brain.asave("default", overwrite=True)
        report = await backend.gather(max_iterations=5)
    assert report.status == "completed"
    assert 0 < len(indexed) < report.items_created == len(await backend.items())

    await asyncio.to_thread(server.start)
    # As if the pauses were over.
    await backend.documents.delete("aletheia_breakers", {})
    await backend.documents.delete("aletheia_brain_cursors", {})
    done = await run_reconcile()
    assert 0 < done.differences_before <= report.items_created - len(indexed)
    assert done.differences_after == 0
    # It has delivered what waited, too.
    assert "items and evaluations sent" not in await swept()
    done = await run_reconcile()
    assert (done.differences_before, done.differences_after) == (0, 0)
    (project,) = done.projects
    assert (project.in_store, project.upserted) == (report.items_created, 0)
    kept = await graph.list_items("shop")
    assert {item.id: item.department for item in kept} == {
        item.id: item.department for item in await backend.items()
    }
    assert all(item.has_vector for item in kept)
    await graph.close()

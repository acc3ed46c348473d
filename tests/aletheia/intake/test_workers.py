"""Rows with a heartbeat for whoever computes tasks, on every store."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from aletheia.documents import Documents
from aletheia.intake.ledger import Ledger
from aletheia.intake.poller import Poller
from aletheia.intake.workers import KEPT_S, WORKERS, Workers
from aletheia.settings import IntakeSettings
from tests.aletheia.adapters.documents.conftest import BACKENDS, mongodb_uri, opened
from tests.aletheia.intake.conftest import BenchClock
from tests.aletheia.service.test_tasks import Nobody
from tests.fakes.processors import FakeProcessors

__all__ = ["mongodb_uri"]


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest) -> AsyncGenerator[Documents]:
    async with opened(request.param, request) as store:
        yield store


def make_poller(store: Documents, clock: BenchClock, owner: str = "w1") -> Poller:
    settings = IntakeSettings(lease_seconds=0.06)
    ledger = Ledger(store, settings, owner=owner, clock=clock.both)
    return Poller(Nobody(), ledger, FakeProcessors())


async def test_a_worker_is_listed_from_its_beginning_to_its_end(store: Documents):
    clock = BenchClock()
    poller, workers = make_poller(store, clock), Workers(store, clock=clock.both)
    async with workers.registered(poller, "media", ["audio_analysis"]):
        (worker,) = await workers.newest()
        assert (worker.id, worker.lane, worker.state) == ("w1", "media", "idle")
        assert worker.types == ("audio_analysis",)
        poller.held.tally.succeeded = 3
        async with asyncio.timeout(5):
            while (await workers.newest())[0].succeeded != 3:
                await asyncio.sleep(0.01)
    (worker,) = await workers.newest()
    assert worker.state == "ended"


async def test_a_worker_that_is_silent_is_lost(store: Documents):
    clock = BenchClock()
    workers = Workers(store, clock=clock.both)
    context = workers.registered(make_poller(store, clock), "llm", [])
    async with context:
        clock.now += 60
        (worker,) = await workers.newest()
        assert worker.state == "lost"


async def test_who_is_long_gone_is_forgotten(store: Documents):
    clock = BenchClock()
    workers = Workers(store, clock=clock.both)
    async with workers.registered(make_poller(store, clock), "llm", []):
        pass
    clock.now += KEPT_S + 1
    async with workers.registered(make_poller(store, clock, "w2"), "llm", []):
        assert [worker.id for worker in await workers.newest()] == ["w2"]
    assert await store.count(WORKERS, {}) == 1

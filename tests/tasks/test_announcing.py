"""Events about the system are sent, and where they cannot be nothing else fails."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.errors import AletheiaError, Unavailable
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import Spending
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.system_events import Announcer, SystemEvent, describe_shift_start
from tasks import announcing
from tasks.announcing import announce, announce_changes
from tasks.clients.events import get_announcer
from tasks.clients.metering import get_breakers, get_spending
from tasks.session import current_session, open_session
from tests.fakes.usage import budget_limits

EVENT = describe_shift_start("r1", datetime(2026, 11, 30, tzinfo=UTC))


class Receiver:
    """Takes events, or raises, or takes too long."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.error: AletheiaError | None = None
        self.delay_s = 0.0

    async def announce(self, events: Sequence[SystemEvent]) -> None:
        await asyncio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        self.names += [event.name for event in events]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@asynccontextmanager
async def session(directory: Path, receiver: Receiver) -> AsyncGenerator[CircuitBreaker]:
    """Open a session whose clients are over a store of its own."""
    store = EmbeddedDocuments(directory)
    await store.open()
    breakers = CircuitBreaker(store, threshold=1, cooldown_s=60)
    limits = budget_limits()
    spending = Spending(store, PriceTable.from_settings(limits), limits)
    announcer = Announcer(store, receiver)

    async def build_announcer() -> Announcer:
        return announcer

    async def build_breakers() -> CircuitBreaker:
        return breakers

    async def build_spending() -> Spending:
        return spending

    async with open_session("r1"):
        clients = current_session().clients
        await clients.build((get_announcer,), build_announcer)
        await clients.build((get_breakers,), build_breakers)
        await clients.build((get_spending,), build_spending)
        yield breakers
    await store.close()


async def test_an_event_is_sent_once(tmp_path: Path, receiver: Receiver):
    async with session(tmp_path, receiver):
        await announce(EVENT)
        await announce(EVENT)
    assert receiver.names == ["shift.started"]


async def test_an_event_that_cannot_be_sent_fails_nothing_and_is_sent_the_next_time(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
):
    receiver.error = Unavailable("prefect", "away")
    async with session(tmp_path, receiver):
        with caplog.at_level(logging.WARNING, "aletheia"):
            await announce(EVENT)
        assert "events were not sent: prefect is unavailable" in caplog.text
        receiver.error = None
        await announce(EVENT)
    assert receiver.names == ["shift.started"]


async def test_a_receiver_that_hangs_is_not_waited_for(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(announcing, "SEND_WITHIN_S", 0.05)
    receiver.delay_s = 30
    async with session(tmp_path, receiver), asyncio.timeout(5):
        await announce(EVENT)


async def test_what_the_store_says_is_sent_at_each_tick(tmp_path: Path, receiver: Receiver):
    async with session(tmp_path, receiver) as breakers:
        assert await announce_changes.fn() == 0
        await breakers.fail(await breakers.admit("openai"), "down")
        assert await announce_changes.fn() == 1
        assert await announce_changes.fn() == 0
    assert receiver.names == ["breaker.opened"]

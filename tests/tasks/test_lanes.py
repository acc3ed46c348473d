"""The steps of a shift in a lane: how it waits for work."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.intake.lanes.worker import LaneWorker
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import RowState
from aletheia.intake.rows import ROWS
from aletheia.intake.shift import Shift
from aletheia.settings import IntakeSettings
from tasks.lanes import await_lane_work, has_lane_work, next_lane_tick
from tasks.session import open_session
from tests.aletheia.service.test_tasks import Nobody
from tests.fakes.processors import FakeProcessors

QUEUED = {"_id": "t1#1", "lane": "llm", "type": "echo", "state": RowState.QUEUED, "lease_until": 0}


@pytest.fixture
async def shift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Shift]:
    """The shift of a worker of lane `llm`, in an open session."""
    monkeypatch.setenv("LANE_POLL_SECONDS", "0.05")
    async with contextlib.AsyncExitStack() as stack:
        documents = EmbeddedDocuments(tmp_path)
        await documents.open()
        stack.push_async_callback(documents.close)
        session = await stack.enter_async_context(open_session("run"))
        processors = FakeProcessors()
        processors.lanes = {"echo": "llm"}
        ledger = Ledger(documents, IntakeSettings(), owner="w", lane="llm")
        worker = LaneWorker(Nobody(), ledger, processors, "llm")
        shift = await Shift.begin(worker, "run", length_s=60, interval_s=30)
        session.clients.share(shift)
        yield shift


async def test_there_is_work_when_something_is_queued_and_intake_is_open(shift: Shift):
    ledger = shift.poller.held.ledger
    assert not await has_lane_work()
    await ledger.rows.documents.insert(ROWS, [dict(QUEUED)])
    assert await has_lane_work()
    await ledger.set_paused(is_paused=True)
    assert not await has_lane_work()


async def test_waiting_ends_when_work_comes_or_the_time_is_over(shift: Shift):
    assert not await await_lane_work.fn(0.1)
    waiting = asyncio.create_task(await_lane_work.fn(10))
    await asyncio.sleep(0.1)
    await shift.poller.held.ledger.rows.documents.insert(ROWS, [dict(QUEUED)])
    async with asyncio.timeout(5):
        assert await waiting


async def test_the_first_tick_comes_at_once(shift: Shift):
    assert await next_lane_tick()
    assert shift.ticks == 1

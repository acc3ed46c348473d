"""Runs in processes of their own that are cancelled, suspended, terminated and killed."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling, Scheduled, Suspended

from aletheia.intake.ledger import Ledger
from aletheia.intake.rows import ROWS
from blocks import StoreCredentials
from tests.fakes.documents import locked
from tests.fakes.upstream import FakeUpstream
from tests.flows.flow_processes import Runs

TASKS = 120
DONE = ["processing", "succeeded"]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
async def runs(upstream: FakeUpstream) -> AsyncGenerator[Runs]:
    upstream.delay_s = 0.05
    for number in range(TASKS):
        upstream.add(f"t{number}", f"text {number}")
    runs = Runs("poll_tasks", "flows/poll.py:poll_tasks")
    yield runs
    await runs.stop()


async def until_under_way(upstream: FakeUpstream) -> None:
    """Wait until some tasks are claimed and not all of them are done."""
    async with asyncio.timeout(60):
        while len(upstream.states) < 15:
            await asyncio.sleep(0.02)
    assert any(states != DONE for states in upstream.states.values())


async def held(tmp_path: Path) -> list[str]:
    """The tasks whose lease still runs."""
    documents = StoreCredentials(data_dir=tmp_path).get_client()
    await documents.open()
    rows = await documents.find(ROWS, {"lease_until": {"$gt": 0}})
    await documents.close()
    return [row["task_id"] for row in rows]


def assert_every_task_once(upstream: FakeUpstream) -> None:
    assert upstream.states == {f"t{number}": DONE for number in range(TASKS)}
    for bodies in upstream.bodies.values():
        assert len({body for body in bodies if b"processing" not in body}) == 1


async def finish(runs: Runs, upstream: FakeUpstream) -> None:
    """Do the rest in another run."""
    upstream.delay_s = 0
    process = await runs.start(shift_seconds=0)
    await process.wait(60)
    assert (await process.state()).is_completed()
    assert_every_task_once(upstream)


async def test_a_cancelled_run_ends_and_releases_what_it_held(
    runs: Runs, upstream: FakeUpstream, tmp_path: Path
):
    upstream.delay_s = 0.3
    process = await runs.start(shift_seconds=600)
    await until_under_way(upstream)
    await process.set_state(Cancelling())
    await process.wait(60)
    types = [state.type for state in await process.history()]
    assert types[-1] == StateType.CANCELLED
    assert StateType.CRASHED not in types
    assert await held(tmp_path) == []
    claimed = len(upstream.states)
    await asyncio.sleep(0.5)
    assert len(upstream.states) == claimed
    await finish(runs, upstream)


async def test_a_run_that_waits_for_its_store_can_be_cancelled(
    runs: Runs, upstream: FakeUpstream, tmp_path: Path
):
    process = await runs.start(shift_seconds=600)
    await until_under_way(upstream)
    with locked(tmp_path, 25):
        await asyncio.sleep(3)
        await process.set_state(Cancelling())
        await process.wait(40)
    history = await process.history()
    assert history[-1].type == StateType.CANCELLED
    cancelling = next(state for state in history if state.is_cancelling())
    cancelled = next(state for state in history if state.is_cancelled())
    # The lock is held for 25 s, and one write waits for it up to 10 s.
    assert (cancelled.timestamp - cancelling.timestamp).total_seconds() < 10


async def test_a_suspended_run_releases_what_it_held_and_goes_on_when_resumed(
    runs: Runs, upstream: FakeUpstream, tmp_path: Path
):
    process = await runs.start(shift_seconds=600)
    await until_under_way(upstream)
    await process.set_state(Suspended())
    await process.wait(30)
    assert (await process.state()).name == "Suspended"
    assert await held(tmp_path) == []
    upstream.delay_s = 0
    await process.set_state(Scheduled(name="Resuming"))
    resumed = await runs.execute(process.run_id)
    async with asyncio.timeout(60):
        while list(upstream.states.values()).count(DONE) < TASKS:
            await asyncio.sleep(0.05)
    assert_every_task_once(upstream)
    await resumed.set_state(Cancelling())
    await resumed.wait(30)


async def test_a_terminated_run_releases_what_it_held(
    runs: Runs, upstream: FakeUpstream, tmp_path: Path
):
    process = await runs.start(shift_seconds=600)
    await until_under_way(upstream)
    process.kill(signal.SIGTERM)
    await process.wait(30)
    assert await held(tmp_path) == []
    await finish(runs, upstream)


async def test_what_a_killed_run_held_is_taken_over(
    runs: Runs, upstream: FakeUpstream, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LEASE_SECONDS", "2")
    monkeypatch.setenv("CLOCK_SKEW_SECONDS", "0")
    process = await runs.start(shift_seconds=600)
    await until_under_way(upstream)
    process.kill(signal.SIGKILL)
    await process.wait(30)
    assert (await ledger.overview()).states
    await asyncio.sleep(2.1)
    await finish(runs, upstream)

"""The flow `poll_tasks` while its store is locked or full, or nobody acknowledges its reports."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from aletheia.adapters.documents import statements
from aletheia.errors import BadAnswer
from aletheia.intake.ledger import Ledger
from flows.poll import poll_tasks
from tests.fakes.documents import locked
from tests.fakes.upstream import FakeUpstream
from tests.flows.conftest import artifacts, last_run

DONE = ["processing", "succeeded"]
LOGIN = b"<!doctype html><title>Sign in</title>"
LOCKED_S = 20.0


@pytest.mark.usefixtures("ledger")
@pytest.mark.timeout(150)
async def test_a_store_that_is_locked_for_20_s_does_not_end_the_shift(
    upstream: FakeUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    for number in range(60):
        upstream.add(f"t{number}")
    upstream.delay_s = 0.05
    running = asyncio.create_task(poll_tasks(shift_seconds=0))
    while not upstream.states:
        await asyncio.sleep(0.01)
    with locked(tmp_path, LOCKED_S):
        await asyncio.sleep(2)
        before, pages = len(upstream.states), upstream.count("pending")
        await asyncio.sleep(LOCKED_S - 5)
        assert len(upstream.states) == before, "something was claimed meanwhile"
        assert upstream.count("pending") <= pages + 1
        report = await running
    assert report.tally.succeeded == 60
    assert upstream.states == {f"t{number}": DONE for number in range(60)}
    for bodies in upstream.bodies.values():
        assert len(bodies) == 2, "something was sent twice"
    assert "nothing is claimed until it is back" in caplog.text


@pytest.mark.usefixtures("ledger")
@pytest.mark.timeout(150)
async def test_a_shift_begins_although_its_store_is_locked(upstream: FakeUpstream, tmp_path: Path):
    upstream.add("t1")
    await poll_tasks(shift_seconds=0)
    upstream.add("t2")
    with locked(tmp_path, 13):
        assert (await poll_tasks(shift_seconds=0)).tally.succeeded == 1
    assert upstream.states == {"t1": DONE, "t2": DONE}


@pytest.mark.usefixtures("ledger")
async def test_a_store_that_is_full_is_waited_for_and_nothing_is_claimed_meanwhile(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
):
    is_full = True
    insert = statements.insert_rows

    def refuse(*args: object) -> set[str]:
        if is_full:
            raise sqlite3.OperationalError("database or disk is full")
        return insert(*args)  # pyright: ignore[reportArgumentType] - as they came

    running = asyncio.create_task(poll_tasks(shift_seconds=3))
    while not upstream.requests:
        await asyncio.sleep(0.02)
    monkeypatch.setattr("aletheia.adapters.documents.statements.insert_rows", refuse)
    for number in range(12):
        upstream.add(f"t{number}")
    await asyncio.sleep(5)
    assert upstream.states == {}
    assert not running.done()
    is_full = False
    report = await running
    assert report.tally.succeeded == 12
    assert upstream.states == {f"t{number}": DONE for number in range(12)}


@pytest.mark.parametrize("status", [200, 302])
async def test_a_run_is_not_green_while_nobody_acknowledges_and_goes_on_by_itself(
    upstream: FakeUpstream, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, status: int
):
    monkeypatch.setenv("REPORT_BACKOFF_SECONDS", "1")
    monkeypatch.setenv("CLOCK_SKEW_SECONDS", "0")
    upstream.add("t1")
    upstream.add("t2")
    upstream.break_results(LOGIN, status)
    with pytest.raises(BadAnswer, match="2 reports are not acknowledged, since 2"):
        await poll_tasks(shift_seconds=0)
    run = await last_run("poll_tasks")
    assert run.state
    assert run.state.is_failed()
    (table,) = await artifacts("intake-status", run.id)
    assert "2 reports are not acknowledged" in str(table.description)
    waiting = (await ledger.overview()).unacknowledged
    assert waiting is not None
    assert waiting.count == 2
    # Nothing is due yet, and nothing is well.
    with pytest.raises(BadAnswer):
        await poll_tasks(shift_seconds=0)
    upstream.break_results(None)
    await poll_tasks(shift_seconds=8)
    assert upstream.states == {"t1": DONE, "t2": DONE}
    assert (await ledger.overview()).unacknowledged is None


async def test_dead_letters_are_a_table_of_the_run(upstream: FakeUpstream):
    upstream.add("bad", type="no_such_type")
    await poll_tasks(shift_seconds=0)
    (table,) = await artifacts("dead-letters", (await last_run("poll_tasks")).id)
    for said in ("bad", "unknown_type", "no_such_type", "age"):
        assert said in str(table.data)

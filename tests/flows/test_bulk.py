"""The flow `bulk_embed` on a real Prefect server."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from prefect.states import Scheduled, Suspended
from pydantic import SecretStr

from aletheia.errors import Misconfigured, Unauthorized
from aletheia.intake.ledger import Ledger
from blocks import OpenAICredentials
from flows.bulk import bulk_embed
from tests.fakes.documents import locked
from tests.fakes.openai_batches import FakeBatchAPI, serve_fake_batches
from tests.fakes.upstream import FakeUpstream
from tests.flows.conftest import artifacts, last_run
from tests.flows.flow_processes import Process, Runs

DONE = ["processing", "succeeded"]


@pytest.fixture
async def api(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[FakeBatchAPI]:
    """A provider that the saved block leads to, and a backlog that is worth a batch."""
    for name, value in {
        "PROCESSING_MODE": "openai",
        "OPENAI_BULK_ABOVE": "2",
        "OPENAI_BULK_POLL_SECONDS": "0",
    }.items():
        monkeypatch.setenv(name, value)
    for text in ("one", "two", "three"):
        upstream.add(text, text)
    async with serve_fake_batches() as api:
        api.models = {"text-embedding-3-small": 8}
        await OpenAICredentials(api_key=SecretStr(api.api_key), base_url=api.url).asave(
            "default", overwrite=True
        )
        yield api


@asynccontextmanager
async def started(run_id: UUID | None = None) -> AsyncGenerator[Process]:
    """Execute a run in a process of its own, a new one or one that is there."""
    runs = Runs("bulk_embed", "flows/bulk.py:bulk_embed")
    try:
        yield await (runs.start() if run_id is None else runs.execute(run_id))
    finally:
        await runs.stop()


async def test_a_run_sends_the_backlog_as_a_batch_and_says_so(
    upstream: FakeUpstream, api: FakeBatchAPI
):
    report = await bulk_embed()
    assert (report.ended, report.submitted, report.tally.succeeded) == ("done", 1, 3)
    assert upstream.states == {"one": DONE, "two": DONE, "three": DONE}
    assert len(api.batches) == 1
    run = await last_run("bulk_embed")
    (table,) = await artifacts("bulk-report", run.id)
    rows = {row["what"]: row["count"] for row in json.loads(str(table.data))}
    assert (rows["batches submitted"], rows["tasks succeeded"]) == (1, 3)


@pytest.mark.usefixtures("ledger")
@pytest.mark.timeout(150)
@pytest.mark.parametrize("is_begun", [False, True])
async def test_a_store_that_is_locked_is_waited_for_within_the_run(
    upstream: FakeUpstream, api: FakeBatchAPI, tmp_path: Path, *, is_begun: bool
):
    api.is_held = is_begun
    running = asyncio.create_task(bulk_embed()) if is_begun else None
    while is_begun and not api.batches:
        await asyncio.sleep(0.02)
    with locked(tmp_path, 13):
        api.is_held = False
        report = await (running or bulk_embed())
    assert (report.ended, report.submitted, report.tally.succeeded) == ("done", 1, 3)
    assert upstream.states == {"one": DONE, "two": DONE, "three": DONE}
    assert len(api.batches) == 1


async def test_a_small_backlog_stays_pending(
    upstream: FakeUpstream, api: FakeBatchAPI, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_BULK_ABOVE", "3")
    assert (await bulk_embed()).ended == "too_little"
    assert (upstream.states, api.batches) == ({}, {})


async def test_the_lane_is_off_by_default(
    upstream: FakeUpstream, api: FakeBatchAPI, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OPENAI_BULK_ABOVE")
    assert (await bulk_embed()).ended == "off"
    assert (upstream.states, api.batches) == ({}, {})


async def test_a_run_that_is_cancelled_leaves_its_batch_to_the_next(
    api: FakeBatchAPI, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_BULK_POLL_SECONDS", "30")
    running = asyncio.create_task(bulk_embed())
    while not api.batches:
        await asyncio.sleep(0.05)
    running.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await running
    assert (await ledger.overview()).states == {"processing": 3}
    monkeypatch.setenv("OPENAI_BULK_POLL_SECONDS", "0")
    report = await bulk_embed()
    assert (report.attached, report.submitted, report.tally.succeeded) == (1, 0, 3)
    assert len(api.batches) == 1


@pytest.mark.timeout(200)
async def test_a_run_that_is_suspended_goes_on_with_its_batch_when_resumed(
    upstream: FakeUpstream,
    api: FakeBatchAPI,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OPENAI_BULK_POLL_SECONDS", "0.2")
    api.is_held = True
    async with started() as process:
        async with asyncio.timeout(60):
            while not any(batch.status == "in_progress" for batch in api.batches.values()):
                await asyncio.sleep(0.05)
        await process.set_state(Suspended())
        await process.wait(60)
        assert (await process.state()).name == "Suspended"
        assert (await ledger.overview()).states == {"processing": 3}
        assert (await ledger.overview()).held == 3
    api.is_held = False
    await process.set_state(Scheduled(name="Resuming"))
    async with started(process.run_id) as resumed:
        await resumed.wait(60)
        assert (await resumed.state()).is_completed()
    assert upstream.states == {"one": DONE, "two": DONE, "three": DONE}
    assert len(api.batches) == 1


async def test_a_refused_batch_fails_the_run(upstream: FakeUpstream, api: FakeBatchAPI):
    api.fail_next(403, on="files")
    with pytest.raises(Unauthorized):
        await bulk_embed()
    assert set(map(tuple, upstream.states.values())) == {("processing",)}


@pytest.mark.parametrize("mode", ["mock", "local"])
async def test_a_batch_under_way_is_finished_in_any_mode(
    upstream: FakeUpstream, api: FakeBatchAPI, monkeypatch: pytest.MonkeyPatch, mode: str
):
    api.fail_next(401, on="files")
    with pytest.raises(Unauthorized):
        await bulk_embed()
    monkeypatch.setenv("PROCESSING_MODE", mode)
    for text in ("four", "five", "six"):
        upstream.add(text, text)
    report = await bulk_embed()
    assert (report.attached, report.tally.succeeded) == (1, 3)
    assert upstream.states == {"one": DONE, "two": DONE, "three": DONE}


async def test_only_openai_takes_batches(
    upstream: FakeUpstream, api: FakeBatchAPI, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "mock")
    with pytest.raises(Misconfigured, match="PROCESSING_MODE"):
        await bulk_embed()
    assert (upstream.states, api.batches) == ({}, {})
    await OpenAICredentials(base_url=api.url).asave("default", overwrite=True)
    with pytest.raises(Misconfigured, match="PROCESSING_MODE"):
        await bulk_embed()


async def test_without_a_key_there_are_no_batches(upstream: FakeUpstream, api: FakeBatchAPI):
    await OpenAICredentials(base_url=api.url).asave("default", overwrite=True)
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY"):
        await bulk_embed()
    assert (upstream.states, api.batches) == ({}, {})

"""A real Prefect server for the flows, and the blocks they load."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
)
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.testing.utilities import prefect_test_harness

from aletheia.intake.ledger import Ledger
from aletheia.settings import IntakeSettings
from blocks import StoreCredentials, UpstreamCredentials
from tests.fakes.upstream import FakeUpstream, serve_fake_upstream


@pytest.fixture(scope="session")
def prefect_server() -> Generator[None]:
    with prefect_test_harness(server_startup_timeout=60):
        yield


@pytest.fixture
async def upstream(
    prefect_server: None,  # noqa: ARG001 - it only has to be there
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[FakeUpstream]:
    """An upstream that the saved blocks lead to, with a store of its own beside it."""
    for name, value in {
        "PROCESSING_MODE": "mock",
        "RETRY_BASE_SECONDS": "0",
        "MAX_RETRIES": "1",
        "POLLING_INTERVAL_SECONDS": "0.2",
    }.items():
        monkeypatch.setenv(name, value)
    async with serve_fake_upstream() as upstream:
        await UpstreamCredentials(base_url=upstream.url).asave("default", overwrite=True)
        await StoreCredentials(data_dir=tmp_path).asave("default", overwrite=True)
        yield upstream


@pytest.fixture
async def ledger(upstream: FakeUpstream, tmp_path: Path) -> AsyncGenerator[Ledger]:
    """The ledger that the flows write, seen from outside."""
    del upstream
    documents = StoreCredentials(data_dir=tmp_path).get_client()
    await documents.open()
    yield Ledger(documents, IntakeSettings(), owner="a test")
    await documents.close()


async def last_run(flow_name: str) -> FlowRun:
    """The newest run of a flow."""
    async with get_client() as client:
        (run,) = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
    return run


async def artifacts(key: str, flow_run_id: UUID) -> list[Artifact]:
    """The artifacts of a run under a key."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        )
    return [artifact for artifact in found if artifact.flow_run_id == flow_run_id]


async def find_events(prefix: str) -> list[dict[str, Any]]:
    """Return the events that Prefect's server has, of names that begin so, the newest first."""
    asked = {"filter": {"event": {"prefix": [prefix]}, "order": "DESC"}, "limit": 50}
    async with get_client() as client:
        found = await client.request("POST", "/events/filter", json=asked)
    return found.json()["events"]


async def await_event(name: str, **payload: object) -> dict[str, Any]:
    """Return an event once Prefect's server has it; it writes down what it was sent in batches."""
    async with asyncio.timeout(20):
        while True:
            for event in await find_events(name):
                if event["event"] == name and payload.items() <= event["payload"].items():
                    return event
            await asyncio.sleep(0.2)

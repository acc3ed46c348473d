import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.adapters.brain.service import BrainService
from aletheia.brain.ports import BrainDepartment, BrainItem, Upserted
from blocks import BrainCredentials, StoreCredentials
from deployments import ROOT
from deployments.cli import app
from deployments.local import Local
from tests.fakes.brain_graphs import read_neighbours

KEY = "key-of-the-service-that-is-long-enough"
LEGAL = BrainDepartment("legal", "Legal", 1)
START_WITHIN_S = 120
"""For a busy machine to import Prefect, and for Prefect to start."""


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def serving(
    shared: Local, server: str, tmp_path: Path, port: int
) -> Generator[subprocess.Popen[bytes]]:
    """`aletheia serve` as a process of its own, over a Brain of this test."""
    key = {"service_api_key": KEY, "service_base_url": "http://127.0.0.1:9/never-asked"}
    asyncio.run(_save(BrainCredentials.model_validate({"data_dir": tmp_path, **key})))
    asyncio.run(_save(StoreCredentials(data_dir=tmp_path)))
    environment = shared.environment(server) | {"PROCESSING_MODE": "mock"}
    command = [sys.executable, "-m", "deployments.cli", "serve", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        began = time.monotonic()
        while not _answers(port):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() - began < START_WITHIN_S
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()
        asyncio.run(_save(BrainCredentials()))  # others examine the server's blocks


async def _save(block: BrainCredentials | StoreCredentials) -> None:
    await block.asave("default", overwrite=True)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.timeout(300)
async def test_it_serves_the_brain_until_it_is_ended(
    serving: subprocess.Popen[bytes], port: int, tmp_path: Path
):
    client = BrainService(f"http://127.0.0.1:{port}", api_key=KEY, max_retries=0)
    await client.open()
    items = [BrainItem("a", "Contracts are reviewed."), BrainItem("b", "Another one.")]
    items.append(BrainItem("c", items[0].content))
    assert await client.upsert("p", LEGAL, items) == Upserted(3, 0)
    found = await client.find_duplicates("p", content="Contracts are reviewed.", threshold=0.99)
    assert [item.id for item in found] == ["a", "c"]
    await client.close()
    ready = await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/health/ready", timeout=5)
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    graph = EmbeddedGraph(tmp_path)
    await graph.open()
    assert await read_neighbours(graph, "p", "a") == [], "edges are not the service's"
    await graph.close()
    serving.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(serving.wait, 20) == 0
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log, log
    assert KEY not in log


@pytest.mark.usefixtures("server")
def test_a_port_that_is_taken_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PROCESSING_MODE", "mock")
    block = BrainCredentials.model_validate({"data_dir": tmp_path, "service_api_key": KEY})
    asyncio.run(_save(block))
    asyncio.run(_save(StoreCredentials(data_dir=tmp_path)))
    before = signal.getsignal(signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        try:
            result = CliRunner().invoke(app, ["serve", "--port", str(port)])
        finally:
            signal.signal(signal.SIGTERM, before)
    assert result.exit_code == 1
    assert f"127.0.0.1:{port} cannot be listened on" in result.output

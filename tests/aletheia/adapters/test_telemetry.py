"""The SDK is started where an endpoint is set, sends what was traced, and holds nothing up."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aletheia.adapters.telemetry import FLUSH_TIMEOUT_S, exporting, start
from aletheia.errors import Misconfigured
from aletheia.telemetry import CONTENT, TelemetrySettings
from deployments import ROOT

PROGRAM = Path(__file__).with_name("traced_process.py")
HAS_SDK = find_spec("opentelemetry.sdk") is not None
needs_sdk = pytest.mark.skipif(not HAS_SDK, reason="the extra `otel` is not installed")


def settings(endpoint: str | None) -> TelemetrySettings:
    options: dict[str, Any] = {"_env_file": None, "otel_exporter_otlp_endpoint": endpoint}
    return TelemetrySettings(**options)


class Receiver:
    """Takes what is exported, as an OTLP receiver does."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: dict[str, bytes] = {}

    async def take(self, request: web.Request) -> web.Response:
        body = self.bodies.get(request.path, b"") + await request.read()
        self.bodies[request.path] = body
        return web.Response()


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    made, app = Receiver(), web.Application()
    app.router.add_route("*", "/{path:.*}", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def trace(endpoint: str) -> float:
    """Work in a process of its own, as one takes an SDK for ever; return how long its end was."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), endpoint),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    said, _ = await asyncio.wait_for(process.communicate(), timeout=60)
    assert process.returncode == 0
    return float(said)


def test_nothing_is_started_without_an_endpoint():
    assert start(settings(None)) is None


async def test_a_block_without_an_endpoint_is_left_alone():
    async with exporting(settings(None)):
        pass


@pytest.mark.parametrize("endpoint", ["localhost:4318", "http://user:secret@host", "ftp://x"])
def test_an_endpoint_that_is_no_address_is_refused(endpoint: str):
    with pytest.raises(Misconfigured, match="OTEL_EXPORTER_OTLP_ENDPOINT") as caught:
        start(settings(endpoint))
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(HAS_SDK, reason="the extra `otel` is installed")
def test_an_endpoint_without_the_extra_is_a_wrong_setting():
    with pytest.raises(Misconfigured, match=r"aletheia\[otel\]"):
        start(settings("http://127.0.0.1:9"))
    assert not CONTENT.is_on


@needs_sdk
async def test_spans_and_metrics_reach_the_receiver_by_the_end_of_the_run(receiver: Receiver):
    await trace(receiver.url)
    for name in (b"aletheia.poll", b"chat gpt-x", b"gen_ai.request.model"):
        assert name in receiver.bodies["/v1/traces"]
    for name in (b"gen_ai.client.inference.duration", b"gen_ai.client.inference.usage"):
        assert name in receiver.bodies["/v1/metrics"]


@needs_sdk
async def test_requests_of_our_client_are_spans_where_their_instrumentation_is(receiver: Receiver):
    await trace(receiver.url)
    assert b"http.method" in receiver.bodies["/v1/traces"] or (
        b"http.request.method" in receiver.bodies["/v1/traces"]
    )


@needs_sdk
async def test_a_receiver_that_is_away_holds_up_no_end():
    assert await trace("http://127.0.0.1:9") < FLUSH_TIMEOUT_S + 1

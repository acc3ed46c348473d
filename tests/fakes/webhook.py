"""A strict receiver of webhooks, which checks signatures by its own arithmetic."""

import asyncio
import hashlib
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import hdrs, web

from tests.fakes.faults import Faults

FIELDS: dict[str, set[str]] = {
    "department_started": {"department", "department_name", "threshold", "model"},
    "deduplicating": {"department"},
    "iteration_complete": {
        "department",
        "department_name",
        "iteration",
        "total_iterations",
        "quality_score",
        "items_created",
        "threshold",
    },
    "department_complete": {"department", "department_name", "quality_score", "iterations_used"},
    "max_iterations_reached": {"department", "final_quality_score", "threshold"},
    "automation_complete": {
        "total_iterations",
        "departments_processed",
        "items_created",
        "summary",
    },
    "automation_cancelled": {"items_created_so_far"},
}
"""What each type of event says besides what all of them say (SPEC §4, Events)."""

COMMON = {"type", "project_id", "seq", "timestamp"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request as it arrived."""

    id: str
    path: str
    body: bytes
    headers: Mapping[str, str]


class FakeWebhook(Faults):
    """Takes `POST` of signed events on every path.

    Attributes:
        url: its address, once it is served.
        secret: key of the signatures.
        deliveries: every request that was in order, repeated ones included.
        refused: what was wrong with the others.
        requests: how many requests arrived.
        is_hanging: requests are read and never answered.
        drips_headers: answers begin, and go on by a byte now and then.
    """

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.url = ""
        self.secret = secret
        self.deliveries: list[Delivery] = []
        self.refused: list[str] = []
        self.requests = 0
        self.is_hanging = False
        self.drips_headers = False
        self._runner: web.ServerRunner | None = None

    @property
    def ids(self) -> list[str]:
        """Ids of all deliveries, in the order of arrival."""
        return [delivery.id for delivery in self.deliveries]

    async def start(self, *, tls: ssl.SSLContext | None = None) -> str:
        """Listen on a free port of 127.0.0.1 and give the address."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}/hook"
        return self.url

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        body = await request.read()
        if self.is_hanging:
            await asyncio.Event().wait()
        if self.drips_headers:
            assert request.transport is not None
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 10_000:
                request.transport.write(bytes([byte]))
                await asyncio.sleep(0.01)
        return await self.show_or(request, "hook", lambda: self._take(request, body))

    async def _take(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        wrong = self._find_fault(request, body)
        if wrong is not None:
            self.refused.append(wrong)
            return web.Response(status=400, text=wrong)
        id_ = request.headers["X-Aletheia-Event-Id"]
        self.deliveries.append(Delivery(id_, request.path, body, dict(request.headers)))
        return web.Response(status=204)

    def _find_fault(self, request: web.BaseRequest, body: bytes) -> str | None:
        headers = request.headers
        timestamp = headers.get("X-Aletheia-Timestamp", "")
        expected = "sha256=" + hmac_sha256(self.secret.encode(), timestamp.encode() + b"." + body)
        if request.method != "POST" or headers.get(hdrs.CONTENT_TYPE) != "application/json":
            return "not a POST of JSON"
        if not re.fullmatch(r"[0-9]{10}", timestamp):
            return f"timestamp {timestamp!r}"
        if headers.get("X-Aletheia-Signature") != expected:
            return "signature"
        said: dict[str, Any] = orjson.loads(body)
        if set(said) != FIELDS.get(said["type"], set()) | COMMON:
            return f"fields {sorted(said)}"
        if headers.get("X-Aletheia-Event-Id") != f"{said['project_id']}:{said['seq']}":
            return f"id {headers.get('X-Aletheia-Event-Id')!r}"
        return None


def hmac_sha256(key: bytes, message: bytes) -> str:
    """Compute https://www.rfc-editor.org/rfc/rfc2104 from its definition, in hexadecimal."""
    if len(key) > 64:
        key = hashlib.sha256(key).digest()
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).hexdigest()


@asynccontextmanager
async def serve_fake_webhook(
    secret: str = "s3cret", *, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[FakeWebhook]:
    """Serve a receiver; its address is `url`."""
    fake = FakeWebhook(secret)
    await fake.start(tls=tls)
    try:
        yield fake
    finally:
        await fake.stop()

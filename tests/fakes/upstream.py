"""The upstream for tests: the example upstream with faults on demand and a memory of all it saw."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from time import time
from typing import Any
from urllib.parse import unquote

from aiohttp import hdrs, web

from deployments.examples.upstream import TRANSITIONS, ExampleUpstream, read_identity, refuse
from tests.fakes.faults import Faults


@dataclass(slots=True)
class Seen:
    """One request as it arrived.

    Attributes:
        endpoint: `pending`, `report` or `other`.
        path: as it stood in the request, still encoded.
        task_id: the last segment of `path`, decoded; of a report.
        status: what it was answered with; 0 while it is under way or where it got no answer.
        client_port: port of the connection it came over.
    """

    endpoint: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    task_id: str = ""
    status: int = 0
    client_port: int = 0


class FakeUpstream(ExampleUpstream, Faults):
    """A strict upstream in the test's own process.

    Attributes:
        requests: every request, in the order of arrival.
        arrivals: the same, for a test that waits for one.
        bodies: every report's body by task id, byte for byte, whether accepted or not.
        max_in_flight: most requests that were under way at one time.
        tokens: bearer tokens that are accepted; `None` asks for none.
        token_refusal: status for a request without one of them.
        limit_refusal: status for a `limit` above `max_limit`.
        delay_s: how long every answer takes.
        ahead_s: how far its clock is ahead, seconds.
    """

    def __init__(self, *, prefix: str = "", max_limit: int = 100) -> None:
        ExampleUpstream.__init__(self, prefix=prefix, max_limit=max_limit)
        Faults.__init__(self)
        self.requests: list[Seen] = []
        self.arrivals: asyncio.Queue[Seen] = asyncio.Queue()
        self.bodies: dict[str, list[bytes]] = {}
        self.in_flight = 0
        self.max_in_flight = 0
        self.tokens: set[str] | None = None
        self.token_refusal = 401
        self.limit_refusal = 400
        self.delay_s = 0.0
        self.ahead_s = 0.0
        self._refusals: dict[str, int] = {}
        self._proxy: tuple[bytes, int] | None = None
        self._listings: dict[str, tuple[object, bytes | None]] = {}

    @property
    def states(self) -> dict[str, list[str]]:
        """Accepted states, in order, of every task that was reported at all."""
        return {task.id: task.states for task in self.tasks.values() if task.states}

    def count(self, endpoint: str) -> int:
        """Count the requests to `pending`, `report` or `other` so far."""
        return sum(seen.endpoint == endpoint for seen in self.requests)

    def add(self, task_id: str, text: object = "A text to embed.", **raw: Any) -> None:
        """List a good task; `raw` adds to its entry or replaces what is there."""
        entry = {"id": task_id, "type": "TEXT_EMBEDDING", "state": "pending"}
        self.add_raw({**entry, "data": {"text": text}, **raw})

    def add_raw(self, entry: object, encoded: bytes | None = None) -> None:
        """List an entry as it is; `encoded` is its JSON where no strict encoder writes it."""
        self.add_entry(entry, encoded)
        task_id, _ = read_identity(entry)
        if task_id is not None:
            self._listings[task_id] = (entry, encoded)

    def relist(self, task_id: str, *, text: str | None = None, forgets: bool = False) -> None:
        """List a task as pending once more.

        Args:
            task_id: which.
            text: what it says now; it is pending again, as new work.
            forgets: whether the upstream has lost the report, too, so that the task is pending
                again; otherwise it takes a repetition of that report and nothing else.
        """
        if text is not None:
            self.add(task_id, text)
        else:
            self.add_entry(*self._listings[task_id])
        if text is not None or forgets:
            task = self.tasks[task_id]
            task.state, task.digest, task.report = "pending", b"", None

    def reopen_failed(self) -> None:
        """Take `processing` for a failed task from now on, so that it can be replayed."""
        self.transitions = {**TRANSITIONS, "failed": {"processing"}}

    def refuse_reports(self, task_id: str, status: int | None) -> None:
        """Answer every report of a task with `status`; `None` ends that."""
        if status is None:
            self._refusals.pop(task_id, None)
        else:
            self._refusals[task_id] = status

    def break_results(self, body: bytes | None, status: int = 200) -> None:
        """Answer every report of a result like a proxy; `None` ends that."""
        self._proxy = None if body is None else (body, status)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        seen = await self._see(request)
        self.requests.append(seen)
        self.arrivals.put_nowait(seen)
        if seen.endpoint == "report":
            self.bodies.setdefault(seen.task_id, []).append(seen.body)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            response = await self.show_or(request, seen.endpoint, lambda: self._do(request, seen))
        finally:
            self.in_flight -= 1
        if self.ahead_s and not response.prepared:
            response.headers[hdrs.DATE] = formatdate(time() + self.ahead_s, usegmt=True)
        seen.status = response.status
        return response

    async def _see(self, request: web.BaseRequest) -> Seen:
        path = request.rel_url.raw_path
        last = path.rpartition("/")[2]
        is_task = path.startswith(f"{self.prefix}/api/ai-tasks/")
        endpoint = "other"
        if is_task and request.method == "PATCH":
            endpoint = "report"
        elif is_task and request.method == "GET" and last == "pending":
            endpoint = "pending"
        return Seen(
            endpoint,
            request.method,
            path,
            dict(request.rel_url.query),
            dict(request.headers),
            await request.read(),
            unquote(last) if endpoint == "report" else "",
            client_port=request.transport.get_extra_info("peername")[1] if request.transport else 0,
        )

    async def _do(self, request: web.BaseRequest, seen: Seen) -> web.StreamResponse:
        shown = request.headers.get(hdrs.AUTHORIZATION, "").removeprefix("Bearer ")
        if self.tokens is not None and shown not in self.tokens:
            return refuse(self.token_refusal, "made to be signed in to")
        if seen.endpoint == "report" and seen.task_id in self._refusals:
            return refuse(self._refusals[seen.task_id], "made to be refused")
        if self._proxy and seen.endpoint == "report" and b'"processing"' not in seen.body:
            body, status = self._proxy
            headers = {hdrs.LOCATION: "https://login.example"}
            return web.Response(body=body, status=status, content_type="text/html", headers=headers)
        response = await ExampleUpstream.handle(self, request)
        if seen.endpoint == "pending" and response.status == 400:
            return refuse(self.limit_refusal, f"limit must be at most {self.max_limit}")
        return response


@asynccontextmanager
async def serve_fake_upstream(
    *, prefix: str = "", max_limit: int = 100
) -> AsyncGenerator[FakeUpstream]:
    """Serve a fake upstream on a free port of 127.0.0.1; its address is `url`."""
    upstream = FakeUpstream(prefix=prefix, max_limit=max_limit)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()

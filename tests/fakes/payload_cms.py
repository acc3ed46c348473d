"""A Payload CMS for tests: the example application with faults on demand and a memory."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from deployments.examples.payload import ExamplePayload
from tests.fakes.faults import Faults


@dataclass(frozen=True, slots=True)
class PayloadSeen:
    """A request as it arrived."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


class FakePayload(ExamplePayload, Faults):
    """A strict Payload CMS in the test's own process; it wants every number in a query.

    Attributes:
        filters: whether it applies `where`.
        sorts: whether it applies `sort`.
        applies_page: whether it applies `page`.
        authorization: header that every request must carry; `None` asks for none.
        has_always_next: whether it says of every page that another one follows.
        delay_s: how long every answer takes.
        requests: every request, in the order of arrival.
    """

    def __init__(self) -> None:
        ExamplePayload.__init__(self)
        Faults.__init__(self)
        self.defaults = {}
        self.filters = self.sorts = self.applies_page = True
        self.has_always_next = False
        self.authorization: str | None = None
        self.delay_s = 0.0
        self.requests: list[PayloadSeen] = []

    def add(self, slug: str, number: Any = None, **raw: Any) -> dict[str, Any]:
        """Create a good department; `raw` adds to it or replaces what is there."""
        document = {
            "id": f"65f0000000000000000{len(self.documents):05}",
            "slug": slug,
            "name": slug.title(),
            "description": f"Looks after {slug}.",
            "codeDepNumber": number,
            "gatherCheck": True,
            "isActive": True,
            "defaultModel": None,
            "coordinationSettings": {"minQualityThreshold": 85},
            "updatedAt": "2026-11-01T00:00:00.000Z",
            "createdAt": "2026-10-01T00:00:00.000Z",
            **raw,
        }
        self.documents.append(document)
        return document

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        query = dict(request.rel_url.query)
        self.requests.append(PayloadSeen(request.path, query, dict(request.headers)))
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        answer = super().handle
        if self.authorization not in (None, request.headers.get(hdrs.AUTHORIZATION)):
            said = {"errors": [{"message": "You are not allowed to perform this action."}]}
            return web.json_response(said, status=403)
        return await self.show_or(request, "departments", lambda: answer(request))

    def select(self, documents: Sequence[Any], wanted: Mapping[str, str]) -> list[Any]:
        """Pick the documents with these values, or all of them."""
        return super().select(documents, wanted if self.filters else {})

    def sort(self, documents: Sequence[Any], field: str) -> list[Any]:
        """Order documents by a field, or leave them as they are."""
        return super().sort(documents, field) if self.sorts else list(documents)

    def turn(self, documents: Sequence[Any], limit: int, page: int) -> dict[str, Any]:
        """Show the page that is asked for, or the first one."""
        shown = super().turn(documents, limit, page if self.applies_page else 1)
        if self.has_always_next:
            shown |= {"hasNextPage": True, "nextPage": shown["page"] + 1}
        return shown


@asynccontextmanager
async def serve_fake_payload() -> AsyncGenerator[FakePayload]:
    """Serve a fake Payload CMS; its root is `url`."""
    fake = FakePayload()
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()

"""A strict Payload CMS, as far as reading departments goes.

Answers are those of https://payloadcms.com/docs/queries/pagination and of Payload 3's REST API.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import orjson
from aiohttp import hdrs, web

from tests.fakes.faults import Faults

MAX_LIMIT = 100


@dataclass(frozen=True, slots=True)
class PayloadSeen:
    """A request as it arrived."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


class FakePayload(Faults):
    """Answers `GET /api/departments`.

    Attributes:
        url: root of the application, once it is served.
        documents: the collection, in the order of creation.
        authorization: the `Authorization` header it asks for; `None` asks for none.
        filters: whether it looks at `where`.
        sorts: whether it looks at `sort`.
        looks_at_page: whether it looks at `page`.
        has_always_next: whether it says of every page that another one follows.
        max_limit: most documents of a page, whatever `limit` says.
        delay_s: how long every answer takes.
        requests: every request, in the order of arrival.
    """

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.documents: list[Any] = []
        self.authorization: str | None = None
        self.filters = self.sorts = self.looks_at_page = True
        self.has_always_next = False
        self.max_limit = MAX_LIMIT
        self.delay_s = 0.0
        self.requests: list[PayloadSeen] = []
        self._runner: web.ServerRunner | None = None

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

    async def start(self) -> str:
        """Listen on a free port of 127.0.0.1 and give the root of the application."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        query = dict(request.rel_url.query)
        self.requests.append(PayloadSeen(request.path, query, dict(request.headers)))
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return await self.show_or(request, "departments", lambda: self._answer(request, query))

    async def _answer(
        self, request: web.BaseRequest, query: Mapping[str, str]
    ) -> web.StreamResponse:
        if (request.method, request.path) != ("GET", "/api/departments"):
            return _refuse(404, f'Route not found "{request.path}"')
        if self.authorization not in (None, request.headers.get(hdrs.AUTHORIZATION)):
            return _refuse(403, "You are not allowed to perform this action.")
        documents = list(self.documents)
        where = {name: value for name, value in query.items() if name.startswith("where")}
        numbers = {name: query.get(name, "") for name in ("limit", "depth", "page")}
        known = {*where, *numbers, "sort"}
        if set(query) - known or not all(value.isdigit() for value in numbers.values()):
            return _refuse(400, f"made to take nothing but {sorted(known)}")
        for name, value in where.items() if self.filters else ():
            if not (name.startswith("where[") and name.endswith("][equals]")):
                return _refuse(400, f"The following path cannot be queried: {name}")
            path = name.removeprefix("where[").removesuffix("][equals]")
            wanted = {"true": True, "false": False}.get(value, value)
            documents = [one for one in documents if _get(one, path) == wanted]
        if self.sorts and (path := query.get("sort")):
            documents.sort(key=lambda one: _sortable(_get(one, path)))
        return _respond(self._page(documents, numbers))

    def _page(self, documents: list[Any], numbers: Mapping[str, str]) -> dict[str, Any]:
        limit = min(int(numbers["limit"]), self.max_limit)
        page = int(numbers["page"]) if self.looks_at_page else 1
        pages = max(1, -(-len(documents) // limit))
        has_next = self.has_always_next or page < pages
        return {
            "docs": documents[(page - 1) * limit : page * limit],
            "totalDocs": len(documents),
            "limit": limit,
            "totalPages": pages,
            "page": page,
            "pagingCounter": (page - 1) * limit + 1,
            "hasPrevPage": page > 1,
            "hasNextPage": has_next,
            "prevPage": page - 1 if page > 1 else None,
            "nextPage": page + 1 if has_next else None,
        }


def _get(document: Any, path: str) -> Any:
    return cast("dict[str, Any]", document).get(path) if isinstance(document, dict) else None


def _sortable(value: Any) -> tuple[int, float]:
    """Order as MongoDB does: what is missing comes first."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (1, value) if is_number else (0, 0)


def _respond(answer: Any, status: int = 200) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: "application/json"}
    return web.Response(status=status, body=orjson.dumps(answer), headers=headers)


def _refuse(status: int, message: str) -> web.Response:
    return _respond({"errors": [{"message": message}]}, status)


@asynccontextmanager
async def serve_fake_payload() -> AsyncGenerator[FakePayload]:
    """Serve a fake Payload CMS; its root is `url`."""
    fake = FakePayload()
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()

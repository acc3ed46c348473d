"""A strict Brain service of somebody else: the four endpoints of SPEC §4, and nothing beyond."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import orjson
from aiohttp import hdrs, web

from tests.fakes.faults import Faults

_ITEM: Final = {"id", "content", "summary", "context"}


@dataclass(frozen=True, slots=True)
class BrainSeen:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    size: int


class FakeBrainService(Faults):
    """Keeps items in memory.

    Attributes:
        url: its root, once it is served.
        key: what it asks for.
        max_bytes: longest body it takes.
        wait_s: how long every answer takes.
        items: by project and id.
        requests: every request, in the order of arrival.
    """

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.key = "a-brain-key-0123456789"
        self.max_bytes = 2**30
        self.wait_s = 0.0
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.requests: list[BrainSeen] = []
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.content.read()
        body: Any = orjson.loads(raw) if raw else None
        query = dict(request.rel_url.query)
        headers = dict(request.headers)
        self.requests.append(
            BrainSeen(request.method, request.path, query, headers, body, len(raw))
        )
        await asyncio.sleep(self.wait_s)
        endpoint = request.path.rpartition("/")[2]
        return await self.show_or(request, endpoint, lambda: self._answer(request, raw, body))

    async def _answer(self, request: web.BaseRequest, raw: bytes, body: Any) -> web.StreamResponse:
        if request.headers.get(hdrs.AUTHORIZATION) != f"Bearer {self.key}":
            return _respond({"error": {"code": "bad_key", "message": "who are you?"}}, 401)
        if len(raw) > self.max_bytes:
            return _respond({"detail": "payload too large"}, 413)
        answers: dict[tuple[str, str], Callable[[Any], Any]] = {
            ("POST", "/api/v1/nodes/batch"): self._index,
            ("POST", "/api/v1/search/duplicates"): self._search,
            ("GET", "/api/v1/context/department"): self._context,
            ("POST", "/api/v1/analyze/coverage"): self._measure,
        }
        respond = answers.get((request.method, request.path))
        if respond is None:
            return _respond({"detail": "Not Found"}, 404)
        asked = dict(request.rel_url.query) if request.method == "GET" else body
        try:
            return _respond(respond(asked))
        except (AssertionError, KeyError, TypeError) as wrong:
            return _respond({"error": {"code": "bad_request", "message": repr(wrong)}}, 422)

    def _index(self, asked: dict[str, Any]) -> Any:
        assert set(asked) == {"project_id", "department", "items"}, set(asked)
        department = asked["department"]
        assert set(department) == {"slug", "name", "codeDepNumber"}, department
        created = updated = 0
        for item in asked["items"]:
            assert set(item) - {"embedding"} == _ITEM, set(item)
            key = (asked["project_id"], item["id"])
            created, updated = created + (key not in self.items), updated + (key in self.items)
            self.items[key] = {**item, "department": department["slug"]}
        return {"created": created, "updated": updated, "failed": []}

    def _search(self, asked: dict[str, Any]) -> Any:
        assert set(asked) in (
            {"project_id", "embedding", "threshold", "limit"},
            {"project_id", "content", "threshold", "limit"},
        ), set(asked)
        found: list[dict[str, Any]] = []
        for (project_id, item_id), item in self.items.items():
            if project_id != asked["project_id"]:
                continue
            if "content" in asked:
                score = float(asked["content"] == item["content"])
            elif "embedding" not in item:
                continue
            else:
                one, other = np.array(asked["embedding"]), np.array(item["embedding"])
                score = float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
            if score >= asked["threshold"]:
                found.append({"id": item_id, "score": score, "content": item["content"]})
        found.sort(key=lambda hit: -hit["score"])
        return {"duplicates": found[: asked["limit"]]}

    def _context(self, asked: dict[str, str]) -> Any:
        assert set(asked) == {"project_id", "department", "previous", "max_tokens"}, set(asked)
        assert int(asked["max_tokens"]) >= 0
        previous = [slug for slug in asked["previous"].split(",") if slug]
        return {
            "department": asked["department"],
            "items": self._of(asked["project_id"], asked["department"]),
            "previous": [
                {"department": slug, "summary": f"On {slug}.", "items": found}
                for slug in previous
                if (found := self._of(asked["project_id"], slug))
            ],
            "gaps": ["disputes"],
        }

    def _measure(self, asked: dict[str, Any]) -> Any:
        assert set(asked) - {"items"} == {"project_id", "department"}, set(asked)
        assert isinstance(asked["department"], str)
        items = cast(
            "list[dict[str, Any]]",
            asked.get("items", self._of(asked["project_id"], asked["department"])),
        )
        assert all(set(item) == _ITEM for item in items)
        evidence = [item["id"] for item in items]
        covered = min(1.0, len(items) / 4)
        return {
            "score": 100 * covered,
            "aspects": [{"name": "contracts", "covered": covered, "evidence": evidence}],
        }

    def _of(self, project_id: str, department: str) -> list[dict[str, Any]]:
        return [
            {name: item[name] for name in sorted(_ITEM)}
            for (project, _), item in reversed(self.items.items())
            if project == project_id and item["department"] == department
        ]


def _respond(answer: Any, status: int = 200) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: "application/json"}
    return web.Response(status=status, body=orjson.dumps(answer), headers=headers)


@asynccontextmanager
async def serve_fake_brain() -> AsyncGenerator[FakeBrainService]:
    """Serve a fake Brain service; its root is `url`."""
    fake = FakeBrainService()
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()

"""A part of the API of a Prefect server, as strict as the real one."""

import base64
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from tests.fakes.faults import Faults

POLL = "poll_tasks/poll_tasks"


class FakePrefectApi(Faults):
    """Starts runs of one deployment.

    Attributes:
        url: its root, with `/api`, once it is served.
        auth_string: who may call; empty: anybody.
        is_protected: whether requests that change something need a token.
        runs: the body of each run that was started, by its id.
        tokens: the token of each client.
        pools: workers by the name of their pool.
    """

    def __init__(self, *, auth_string: str = "", is_protected: bool = False) -> None:
        super().__init__()
        self.url = ""
        self.auth_string, self.is_protected = auth_string, is_protected
        self.deployment_id = str(uuid.uuid4())
        self.runs: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, str] = {}
        self.pools: dict[str, list[dict[str, Any]]] = {}
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/api"

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body: dict[str, Any] = orjson.loads(await request.read() or b"{}")

        async def answer() -> web.StreamResponse:
            return self._answer(request, body)

        return await self.show_or(request, "prefect", answer)

    def _answer(self, request: web.BaseRequest, body: dict[str, Any]) -> web.Response:
        wanted = f"Basic {base64.b64encode(self.auth_string.encode()).decode()}"
        if self.auth_string and request.headers.get("Authorization") != wanted:
            return _reply({"exception_message": "Unauthorized"}, 401)
        path = request.path.removeprefix("/api")
        if path == "/csrf-token":
            return self._issue(request)
        if request.method == "POST" and self.is_protected and not self._has_token(request):
            return _reply({"detail": "Missing CSRF token."}, 403)
        return self._serve(request.method, path, body)

    def _issue(self, request: web.BaseRequest) -> web.Response:
        if not self.is_protected:
            return _reply({"detail": "CSRF protection is disabled."}, 422)
        client = request.query["client"]
        self.tokens[client] = uuid.uuid4().hex
        return _reply({"token": self.tokens[client], "client": client})

    def _has_token(self, request: web.BaseRequest) -> bool:
        client = request.headers.get("Prefect-Csrf-Client", "")
        token = request.headers.get("Prefect-Csrf-Token")
        return token is not None and self.tokens.get(client) == token

    def _serve(self, method: str, path: str, body: dict[str, Any]) -> web.Response:
        match method, path:
            case "GET", "/admin/version":
                return _reply("3.9.1")
            case "GET", _ if path == f"/deployments/name/{POLL}":
                return _reply({"id": self.deployment_id, "name": "poll_tasks"})
            case "POST", _ if path == f"/deployments/{self.deployment_id}/create_flow_run":
                return self._start_run(body)
            case "POST", "/work_pools/filter":
                return _reply([{"name": name} for name in self.pools])
            case "POST", _ if path.endswith("/workers/filter"):
                return _reply(self.pools[path.split("/")[2]])
            case _:
                return _reply({"detail": "Not Found"}, 404)

    def _start_run(self, body: dict[str, Any]) -> web.Response:
        if unknown := set(body["parameters"]) - {"shift_seconds"}:
            return _reply({"detail": f"Error creating flow run: {sorted(unknown)}"}, 409)
        if body["state"] != {"type": "SCHEDULED"}:
            return _reply({"detail": "no such state"}, 422)
        key = body["idempotency_key"]
        known = (id_ for id_, run in self.runs.items() if run["idempotency_key"] == key)
        run_id = next(known, str(uuid.uuid4()))
        self.runs.setdefault(run_id, body)
        return _reply({"id": run_id, "name": "a-run"}, 201)


def _reply(content: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")


@asynccontextmanager
async def serve_fake_prefect(**options: Any) -> AsyncGenerator[FakePrefectApi]:
    """Serve a fake Prefect API; its address is `url`."""
    api = FakePrefectApi(**options)
    await api.start()
    try:
        yield api
    finally:
        await api.stop()

"""A strict OAuth2 token endpoint for the client-credentials grant."""

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import orjson
from aiohttp import hdrs, web

from tests.fakes.faults import Faults


class FakeTokenEndpoint(Faults):
    """Hands out `token-1`, `token-2`, … to one client.

    Attributes:
        url: of the endpoint, once it is served.
        client_id: the client it knows.
        client_secret: its secret.
        client_auth: the one way in which the client may show it.
        scope: the scope that must be asked for; `None` wants none.
        audience: the audience that must be asked for; `None` wants none.
        lifetime_s: `expires_in` of what it hands out; `None` leaves it out.
        issued: tokens handed out so far.
        forms: what every request asked for, in the order of arrival.
        arrivals: the same, for a test that waits for one.
        max_in_flight: most requests that were under way at one time.
        delay_s: how long every answer takes.
    """

    def __init__(
        self,
        *,
        client_id: str = "aletheia",
        client_secret: str = "s3cr+t/of the:client",
        client_auth: str = "client_secret_basic",
        scope: str | None = None,
        audience: str | None = None,
        lifetime_s: float | None = 3600,
    ) -> None:
        super().__init__()
        self.url = ""
        self.client_id, self.client_secret = client_id, client_secret
        self.client_auth = client_auth
        self.scope, self.audience = scope, audience
        self.lifetime_s = lifetime_s
        self.issued: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.arrivals: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.in_flight = 0
        self.max_in_flight = 0
        self.delay_s = 0.0
        self._runner: web.ServerRunner | None = None

    async def start(self) -> str:
        """Listen on a free port of 127.0.0.1 and give the endpoint's URL."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/oauth2/token"
        return self.url

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = (await request.read()).decode()
        self.forms.append(dict(parse_qsl(body)))
        self.arrivals.put_nowait(self.forms[-1])
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            return await self.show_or(request, "token", lambda: self._issue(request, body))
        finally:
            self.in_flight -= 1

    async def _issue(self, request: web.BaseRequest, body: str) -> web.StreamResponse:
        pairs = parse_qsl(body, keep_blank_values=True, strict_parsing=True)
        form = dict(pairs)
        is_known = self._knows(request, form)
        grant = form.pop("grant_type", None)
        wanted = form.pop("scope", None), form.pop("audience", None)
        is_form = request.content_type == "application/x-www-form-urlencoded"
        is_place = (request.method, request.path) == ("POST", "/oauth2/token")
        for is_right, error, status in (
            (is_place, "not_found", 404),
            (is_form and len(dict(pairs)) == len(pairs) and not form, "invalid_request", 400),
            (is_known, "invalid_client", 401),
            (grant == "client_credentials", "unsupported_grant_type", 400),
            (wanted[0] == self.scope, "invalid_scope", 400),
            (wanted[1] == self.audience, "invalid_target", 400),
        ):
            if not is_right:
                return _refuse(error, status)
        self.issued.append(f"token-{len(self.issued) + 1}")
        token: dict[str, Any] = {"access_token": self.issued[-1], "token_type": "bearer"}
        if self.lifetime_s is not None:
            token["expires_in"] = self.lifetime_s
        return _answer(token)

    def _knows(self, request: web.BaseRequest, form: dict[str, str]) -> bool:
        """Check the client as RFC 6749, 2.3.1 says, in the one way that is allowed."""
        posted = form.pop("client_id", None), form.pop("client_secret", None)
        header = request.headers.get(hdrs.AUTHORIZATION)
        if self.client_auth == "client_secret_post":
            return header is None and posted == (self.client_id, self.client_secret)
        if header is None or not header.startswith("Basic ") or posted != (None, None):
            return False
        try:
            name, _, secret = base64.b64decode(header[6:], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return (unquote_plus(name), unquote_plus(secret)) == (self.client_id, self.client_secret)


def _refuse(error: str, status: int) -> web.Response:
    return _answer({"error": error, "error_description": "made to be refused"}, status)


def _answer(content: dict[str, Any], status: int = 200) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: "application/json", hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(status=status, body=orjson.dumps(content), headers=headers)


@asynccontextmanager
async def serve_fake_token_endpoint(**options: Any) -> AsyncGenerator[FakeTokenEndpoint]:
    """Serve a fake token endpoint; its address is `url`."""
    endpoint = FakeTokenEndpoint(**options)
    await endpoint.start()
    try:
        yield endpoint
    finally:
        await endpoint.stop()

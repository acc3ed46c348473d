"""Sign-in with OAuth2 client credentials: https://www.rfc-editor.org/rfc/rfc6749#section-4.4."""

import asyncio
import re
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final, Literal, TypeAlias, cast
from urllib.parse import quote_plus

import httpx2
from authlib.integrations.base_client import (  # pyright: ignore[reportMissingTypeStubs]
    OAuthError,
)
from authlib.integrations.httpx_client import (  # pyright: ignore[reportMissingTypeStubs]
    AsyncOAuth2Client,
)
from yarl import URL

from aletheia.adapters.answers import excerpt, read_retry_after
from aletheia.adapters.http import is_token
from aletheia.errors import BadAnswer, Misconfigured, Unauthorized, Unavailable

SIGN_IN: Final = "sign-in"
"""What errors call the token endpoint."""

LEEWAY_S: Final = 60.0
"""How long before its end a token is replaced; a tenth of its life where that is shorter."""

MAX_LIFE_S: Final = 10 * 365 * 86_400
"""Longest life of a token that is believed."""

MAX_ANSWER_BYTES: Final = 64 * 2**10
"""Longest answer of a token endpoint that is read, bytes."""

ClientAuth: TypeAlias = Literal["client_secret_basic", "client_secret_post"]
"""How the client proves who it is: in a header, or in the form."""


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    renew_at: float
    expires_at: float


class OAuth2SignIn:
    """Bearer tokens from an OAuth2 token endpoint.

    A token is fetched on first use, replaced before it expires, and replaced when the upstream
    refuses it. However many callers need one, one request is under way at a time and all of them
    get its result. Failures are not retried here: the caller's retry policy asks again.

    Args:
        token_url: the token endpoint; see `ory_token_url`.
        client_id: who we are.
        client_secret: our proof.
        scope: scopes to ask for, separated by spaces.
        audience: whom the token is for.
        client_auth: how the token endpoint wants to see `client_secret`.
        timeout_s: bound on one request for a token, seconds.
        clock: seconds, monotonic.

    Raises:
        Misconfigured: the URL is not one, or the client's name or secret is empty.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        *,
        scope: str | None = None,
        audience: str | None = None,
        client_auth: ClientAuth = "client_secret_basic",
        timeout_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check_token_url(token_url)
        for name, value in (
            ("OAUTH2_CLIENT_ID", client_id),
            ("OAUTH2_CLIENT_SECRET", client_secret),
        ):
            if not value:
                raise Misconfigured(name, "must not be empty")
        self._token_url = token_url.strip()
        self._client_id = client_id
        self._client_secret = client_secret
        self._scope = scope
        self._audience = audience
        self._client_auth: ClientAuth = client_auth
        self._timeout_s = timeout_s
        self._clock = clock
        self._tls = ssl.create_default_context()
        self._token: _Token | None = None
        self._renewal: asyncio.Task[str] | None = None

    def __repr__(self) -> str:
        return f"OAuth2SignIn({URL(self._token_url).host!r}, ***)"

    async def header(self) -> str | None:
        """Give the current token, or a new one where that is about to expire.

        Raises:
            Unavailable: the token endpoint is out of reach and no token is valid any more.
            BadAnswer: it answered, but not with a token.
            Unauthorized: it refuses us.
        """
        token = self._token
        if token is not None and self._clock() < token.renew_at:
            return token.header
        try:
            return await self._renew()
        except Unavailable:
            token, now = self._token, self._clock()
            if token is None or now >= token.expires_at:
                raise
            # Asking again halfway to the end spares an endpoint that is down a request per call.
            self._token = replace(token, renew_at=(now + token.expires_at) / 2)
            return token.header

    async def refresh(self, stale: str) -> str | None:
        """Give another token than the one the upstream refused.

        Raises:
            Unavailable: the token endpoint is out of reach.
            BadAnswer: it answered, but not with a token.
            Unauthorized: it refuses us.
        """
        token = self._token
        if token is not None and token.header != stale:
            return token.header
        return await self._renew()

    async def _renew(self) -> str:
        """Wait for the request that is under way, or for a new one."""
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._fetch())
            self._renewal.add_done_callback(self._end_renewal)
        # A caller that is cancelled must not take the others' token with it.
        return await asyncio.shield(self._renewal)

    def _end_renewal(self, renewal: asyncio.Task[str]) -> None:
        self._renewal = None
        if not renewal.cancelled():
            renewal.exception()  # seen, even if every caller was cancelled meanwhile

    async def _fetch(self) -> str:
        asked_at = self._clock()
        answer = await self._ask()
        token = answer.get("access_token")
        if not is_token(token) or str(answer.get("token_type", "bearer")).lower() != "bearer":
            raise BadAnswer(SIGN_IN, "not a bearer token")
        life_s = _read_life(answer.get("expires_in"))
        self._token = _Token(
            header=f"Bearer {token}",
            renew_at=asked_at + life_s - min(LEEWAY_S, life_s / 10),
            expires_at=asked_at + life_s,
        )
        return self._token.header

    async def _ask(self) -> dict[str, Any]:
        """Ask the token endpoint once, and see its errors as ours."""
        wanted = {"scope": self._scope, "audience": self._audience}
        try:
            async with asyncio.timeout(self._timeout_s), self._make_client() as client:
                return await client.fetch_token(
                    self._token_url,
                    grant_type="client_credentials",
                    **{name: value for name, value in wanted.items() if value},
                )
        except (TimeoutError, httpx2.TimeoutException):
            reason = f"no complete answer within {self._timeout_s:g} s"
            raise Unavailable(SIGN_IN, reason) from None
        except httpx2.TransportError as error:
            reason = f"connection failed ({type(error).__name__})"
            raise Unavailable(SIGN_IN, reason) from error
        except OAuthError as error:
            raise Unauthorized(SIGN_IN, 200, self._excerpt(str(error).encode())) from None
        except (httpx2.HTTPError, ValueError, TypeError, OverflowError, RecursionError):
            raise BadAnswer(SIGN_IN, "not the JSON object of a token") from None

    def _make_client(self) -> Any:
        """Build a client for one request, so that nothing stays open between two of them."""
        client_id, client_secret = self._client_id, self._client_secret
        if self._client_auth == "client_secret_basic":
            # RFC 6749, 2.3.1: both are form-encoded before they go into the header.
            client_id, client_secret = quote_plus(client_id), quote_plus(client_secret)
        make_client = cast("Callable[..., Any]", AsyncOAuth2Client)
        client = make_client(
            client_id=client_id,
            client_secret=client_secret,
            token_endpoint_auth_method=self._client_auth,
            timeout=self._timeout_s,
            trust_env=False,
            verify=self._tls,
            event_hooks={"response": [_bound_answer]},
        )
        client.register_compliance_hook("access_token_response", self._check_answer)
        return client

    def _check_answer(self, response: httpx2.Response) -> httpx2.Response:
        """Let only a success through to the library.

        A refusal is `Unauthorized` whatever its 4xx status: a 404 of the token endpoint says
        nothing about the task that was to be reported.
        """
        status = response.status_code
        if 200 <= status < 300:  # noqa: PLR2004
            return response
        if status < 400:  # noqa: PLR2004
            raise BadAnswer(SIGN_IN, f"{status}, which is not followed", status=status)
        said = self._excerpt(response.content)
        if status == 429 or status >= 500:  # noqa: PLR2004
            wait_s = read_retry_after(
                response.headers.get("Retry-After"),
                date=response.headers.get("Date"),
                now=time.time(),
            )
            raise Unavailable(SIGN_IN, f"{status}: {said}" if said else str(status), wait_s, status)
        raise Unauthorized(SIGN_IN, status, said)

    def _excerpt(self, body: bytes) -> str:
        encoded = quote_plus(self._client_secret)
        pair = f"{quote_plus(self._client_id)}:{encoded}"
        secrets = (b64encode(pair.encode()).decode(), self._client_secret, encoded)
        return excerpt(body[:4096], *secrets)


def ory_token_url(slug: str) -> str:
    """Name the token endpoint of an Ory project.

    Args:
        slug: the project's slug, `ORY_PROJECT_SLUG`, such as `quirky-austin-3fgx8kq2lp`.

    Raises:
        Misconfigured: it is not a slug.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", slug):
        reason = f"{slug!r} is not a slug: lower-case letters, digits and inner hyphens"
        raise Misconfigured("ORY_PROJECT_SLUG", reason)
    return f"https://{slug}.projects.oryapis.com/oauth2/token"


def _check_token_url(token_url: str) -> None:
    try:
        url = URL(token_url.strip())
    except ValueError:
        raise Misconfigured("OAUTH2_TOKEN_URL", "is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise Misconfigured("OAUTH2_TOKEN_URL", "must begin with http:// or https:// and a host")
    if url.user is not None or url.password is not None:
        raise Misconfigured("OAUTH2_TOKEN_URL", "must not hold credentials")


def _read_life(expires_in: Any) -> float:
    """Read how long a token lives, seconds; for as long as it works where that is not said.

    The library has refused everything but what is empty or can be made an integer.
    """
    if not expires_in and expires_in != 0:
        return inf
    return float(min(int(expires_in), MAX_LIFE_S))


async def _bound_answer(response: httpx2.Response) -> None:
    response.stream = _BoundedStream(cast("httpx2.AsyncByteStream", response.stream))


class _BoundedStream(httpx2.AsyncByteStream):
    """A body that breaks off with an error after `MAX_ANSWER_BYTES`."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise BadAnswer(SIGN_IN, f"longer than {MAX_ANSWER_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()

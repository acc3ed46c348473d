"""Sign-in with OAuth2 client credentials: https://www.rfc-editor.org/rfc/rfc6749#section-4.4."""

import asyncio
import re
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from math import inf, isfinite
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import quote_plus, urlencode

from aiohttp import hdrs
from yarl import URL

from aletheia.adapters.http import HttpClient, is_token, read_address
from aletheia.adapters.http_answers import Answer, as_text, excerpt, load_object
from aletheia.adapters.upstream.sign_in import SIGN_IN
from aletheia.errors import BadAnswer, Misconfigured, Refused, Unauthorized, Unavailable
from aletheia.metrics import SIGN_INS
from aletheia.series import Note, forget

LEEWAY_S: Final = 60.0
"""How long before its end a token is replaced; a tenth of its life where that is shorter."""

MAX_LIFE_S: Final = 10 * 365 * 86_400
"""Longest life of a token that is believed."""

MAX_ANSWER_BYTES: Final = 64 * 2**10
"""Longest answer of a token endpoint that is read, bytes."""

MAX_HINT_LENGTH: Final = 1000
"""Characters of a refusal that are shown: its hint says what to change at the endpoint."""

ClientAuth: TypeAlias = Literal["client_secret_basic", "client_secret_post"]
"""How the client proves who it is: in a header, or in the form."""


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    renew_at: float
    expires_at: float


@dataclass(eq=False, repr=False)
class OAuth2SignIn:
    """Bearer tokens from an OAuth2 token endpoint; `Misconfigured` if a value cannot be right.

    A token is replaced before it expires, and when the upstream refuses it. However many callers
    need one, one request is under way at a time. Failures are not retried here.
    """

    token_url: str
    client_id: str
    client_secret: str
    _: KW_ONLY
    scope: str | None = None  # scopes to ask for, separated by spaces
    audience: str | None = None
    client_auth: ClientAuth = "client_secret_basic"
    timeout_s: float = 30.0
    clock: Callable[[], float] = time.monotonic
    note: Note = forget  # counts each token that is asked for
    _token: _Token | None = field(default=None, init=False)
    _renewal: asyncio.Task[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        read_address("OAUTH2_TOKEN_URL", self.token_url)
        for name in ("client_id", "client_secret"):
            if not getattr(self, name):
                raise Misconfigured(f"OAUTH2_{name.upper()}", "must not be empty")

    def __repr__(self) -> str:
        return f"OAuth2SignIn({URL(self.token_url.strip()).host!r}, ***)"

    async def header(self) -> str | None:
        """Return the current token, or a new one where that is about to expire."""
        token = self._token
        if token is not None and self.clock() < token.renew_at:
            return token.header
        try:
            return await self._renew()
        except Unavailable:
            token, now = self._token, self.clock()
            if token is None or now >= token.expires_at:
                raise
            # Asking again halfway to the end spares an endpoint that is down a request per call.
            self._token = replace(token, renew_at=(now + token.expires_at) / 2)
            return token.header

    async def refresh(self, stale: str) -> str | None:
        """Return another token than the one the upstream refused."""
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
        outcome = "failed"
        try:
            header = await self._fetch_token()
            outcome = "succeeded"
        finally:
            self.note(SIGN_INS.add(outcome))
        return header

    async def _fetch_token(self) -> str:
        asked_at = self.clock()
        answer = await self._ask()
        # No error shows the body of a success: the token is in it.
        try:
            values = load_object(answer.body)
            life_s = _read_life(values.get("expires_in"))
        except ValueError as error:
            raise BadAnswer(SIGN_IN, f"no token: {error}", status=answer.status) from None
        token = values.get("access_token")
        if values.get("error") and not token:
            raise Unauthorized(SIGN_IN, answer.status, _show_refusal(answer))
        if not is_token(token) or not _is_bearer(values.get("token_type")):
            raise BadAnswer(SIGN_IN, "not a bearer token", status=answer.status)
        self._token = _Token(
            header=f"Bearer {token}",
            renew_at=asked_at + life_s - min(LEEWAY_S, life_s / 10),
            expires_at=asked_at + life_s,
        )
        return self._token.header

    async def _ask(self) -> Answer:
        """Ask once, over a new connection; a refusal is `Unauthorized`, whatever its status."""
        # RFC 6749, 2.3.1: both are form-encoded before they go into the header.
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
        basic = b64encode(pair.encode()).decode()
        form: dict[str, str | None] = {"scope": self.scope, "audience": self.audience}
        form["grant_type"] = "client_credentials"
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: "application/x-www-form-urlencoded"}
        if self.client_auth == "client_secret_basic":
            headers[hdrs.AUTHORIZATION] = f"Basic {basic}"
        else:
            form |= {"client_id": self.client_id, "client_secret": self.client_secret}
        client = HttpClient(SIGN_IN, address="OAUTH2_TOKEN_URL", timeout_s=self.timeout_s)
        await client.open()
        try:
            answer = await client.exchange(
                "POST",
                URL(self.token_url.strip()),
                body=urlencode({name: value for name, value in form.items() if value}).encode(),
                headers=headers,
                secrets=(basic, self.client_secret, quote_plus(self.client_secret)),
                max_bytes=MAX_ANSWER_BYTES,
            )
        finally:
            await client.close()
        if answer.is_success:
            return answer
        error = answer.to_error(_show_refusal(answer))
        if isinstance(error, Refused):
            raise Unauthorized(SIGN_IN, error.status, error.reason)
        raise error


def ory_token_url(slug: str) -> str:
    """Return the token endpoint of the Ory project with a slug, which is checked."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", slug):
        reason = f"{slug!r} is not a slug: lower-case letters, digits and inner hyphens"
        raise Misconfigured("ORY_PROJECT_SLUG", reason)
    return f"https://{slug}.projects.oryapis.com/oauth2/token"


def _show_refusal(answer: Answer) -> str:
    """Return what the endpoint says against us, with its hint."""
    try:
        values = load_object(answer.body)
    except ValueError:
        return answer.excerpt()
    parts = (as_text(values.get(name)) for name in ("error", "error_description", "error_hint"))
    said = ": ".join(filter(None, parts))
    return excerpt(said or answer.body, *answer.secrets, length=MAX_HINT_LENGTH)


def _is_bearer(token_type: object) -> bool:
    """Check a type of token; some endpoints name none, and some `BearerToken`."""
    if token_type is None:
        return True
    known = ("", "bearer", "bearertoken")
    return isinstance(token_type, str) and token_type.strip().lower() in known


def _read_life(expires_in: Any) -> float:
    """Read how long a token lives, seconds; for as long as it works where that is not said."""
    if not expires_in:
        return inf
    if not isinstance(expires_in, int | float | str) or not isfinite(life_s := float(expires_in)):
        raise ValueError("not a number of seconds in expires_in")
    return min(life_s, MAX_LIFE_S) if life_s > 0 else inf

"""The page that a token is pasted into, and the way out: plain HTML without a script."""

import asyncio
from html import escape
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from aletheia.service.authentication import MAX_TOKEN_CHARS, Authenticator, check_roles
from aletheia.service.pages.sessions import Session, Sessions
from aletheia.service.refusals import ServiceError
from aletheia.service.roles import READERS, Caller
from aletheia.service.sockets import check_origin

COOKIE: Final = "aletheia_session"
SIGN_IN: Final = "/sign-in"
SIGN_OUT: Final = "/sign-out"

MAX_FORM_BYTES: Final = 3 * MAX_TOKEN_CHARS
"""Longest form that is read: a token whose every character is written as three."""

FORM_TIMEOUT_S: Final = 10.0

_REASONS: Final = {
    "missing_token": "Paste a token first.",
    "invalid_token": "This token is not valid here. Check that you copied all of it.",
    "expired_token": "This token has expired. Ask for a new one.",
    "forbidden": "This token has none of the roles that may see these pages.",
    "no_authentication_configured": "Nobody can sign in yet: the service knows no keys of tokens. "
    "Whoever runs it has to set AUTH_JWT_SECRET or AUTH_JWKS_URL.",
    "keys_unavailable": "The keys of tokens cannot be had for now. Try again in a minute.",
    "origin_not_allowed": "This form was sent from another page. Open this page itself.",
    "body_too_large": "That is too long for a token.",
    "body_too_slow": "The form did not arrive in time. Try again.",
}
_ENDED: Final = "You are signed out, or your token has expired. Paste a token to go on."

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Sign in · Aletheia</title>
<style>
  :root {{ color-scheme: light dark; --line: #c9ced6; --soft: #5b6470; --page: #f4f6f8;
    --card: #fff; --ink: #1b2330; --accent: #1a5fb4; --bad: #a51d2d; }}
  @media (prefers-color-scheme: dark) {{ :root {{ --line: #3b4452; --soft: #a6b0be;
    --page: #12161c; --card: #1b222c; --ink: #e6eaf0; --accent: #78aeed; --bad: #ff8f97; }} }}
  body {{ margin: 0; background: var(--page); color: var(--ink);
    font: 16px/1.5 system-ui, sans-serif; }}
  main {{ max-width: 32rem; margin: 10vh auto; padding: 2rem; background: var(--card);
    border: 1px solid var(--line); border-radius: 12px; box-sizing: border-box; }}
  @media (max-width: 36rem) {{ main {{ margin: 1rem; padding: 1.25rem; }} }}
  h1 {{ margin: 0 0 .5rem; font-size: 1.5rem; }}
  p, li {{ color: var(--soft); }}
  label {{ display: block; margin: 1rem 0 .25rem; font-weight: 600; }}
  textarea {{ width: 100%; height: 7rem; box-sizing: border-box; padding: .5rem;
    border: 1px solid var(--line); border-radius: 8px; background: var(--page); color: var(--ink);
    font: .85rem ui-monospace, monospace; }}
  button {{ margin-top: 1rem; padding: .6rem 1.4rem; border: 0; border-radius: 8px;
    background: var(--accent); color: var(--card); font: inherit; font-weight: 600;
    cursor: pointer; }}
  .refused {{ padding: .6rem .8rem; border-left: 4px solid var(--bad); color: var(--bad); }}
  code {{ font: .85rem ui-monospace, monospace; color: var(--ink); }}
</style>
</head>
<body>
<main>
<h1>Aletheia</h1>
<p>Projects as they are filled, how the system is, and what it works on.</p>
{said}
<form method="post" action="{action}">
<label for="token">Your token</label>
<textarea id="token" name="token" required autocomplete="off" autocapitalize="off"
 spellcheck="false" autofocus></textarea>
<button type="submit">Sign in</button>
</form>
<p>A token says who you are and what you may do. You get it from whoever runs Aletheia; for
development, <code>aletheia token --role manager</code> prints one. You are signed out when it
expires.</p>
</main>
</body>
</html>
"""


class SignIn:
    """Lets people in by a token, and out again."""

    def __init__(self, authenticator: Authenticator, sessions: Sessions) -> None:
        self._authenticator, self._sessions = authenticator, sessions

    def find(self, connection: HTTPConnection) -> Session | None:
        """Return the session of a browser; `None` if it has none that is good."""
        session_id = connection.cookies.get(COOKIE)
        return None if session_id is None else self._sessions.find(session_id)

    async def show(self, request: Request) -> Response:
        """Show the form."""
        said = _ENDED if "ended" in request.query_params else ""
        return draw_form(request, said, HTTPStatus.OK)

    async def sign_in(self, request: Request) -> Response:
        """Take the form: begin a session, or show it again with what is wrong."""
        try:
            caller, token = await self._identify(request)
        except ServiceError as refusal:
            said = _REASONS.get(refusal.code, "Signing in did not work; the log has more.")
            return draw_form(request, said, refusal.status_code)
        self._close(request)  # nobody goes on in the session of somebody else
        session_id = self._sessions.open(caller, token)
        answer = RedirectResponse(f"{root_of(request)}/gather", HTTPStatus.SEE_OTHER)
        answer.set_cookie(
            COOKIE,
            session_id,
            max_age=max(1, int(self._sessions.left_s(Session(caller, token)))),
            path=root_of(request) or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End the session, and every page that is open in it."""
        try:
            check_origin(request, ())
        except ServiceError as refusal:
            return draw_form(request, _REASONS[refusal.code], refusal.status_code)
        self._close(request)
        answer = RedirectResponse(f"{root_of(request)}{SIGN_IN}?ended", HTTPStatus.SEE_OTHER)
        answer.delete_cookie(COOKIE, path=root_of(request) or "/")
        return answer

    def _close(self, request: Request) -> None:
        if (session_id := request.cookies.get(COOKIE)) is not None:
            self._sessions.close(session_id)

    async def _identify(self, request: Request) -> tuple[Caller, str]:
        async with self._authenticator.refusals.counting(request):
            check_origin(request, ())
            token = read_token(await _read_form(request))
            headers = Headers({"authorization": f"Bearer {token}"})
            caller = await self._authenticator.identify(headers)
            check_roles(caller, READERS)
        return caller, token


def draw_form(request: Request, said: str, status: int) -> HTMLResponse:
    """Return the form, with a sentence about what went before."""
    shown = f'<p class="refused" role="alert">{escape(said)}</p>' if said else ""
    page = _PAGE.format(said=shown, action=escape(f"{root_of(request)}{SIGN_IN}"))
    return HTMLResponse(page, status, {"Cache-Control": "no-store"})


def root_of(connection: HTTPConnection) -> str:
    """Return the path that the pages are below, such as `/ui`."""
    return str(connection.scope.get("root_path", ""))


def read_token(form: str) -> str:
    """Return the token of a form; line breaks in it come from copying, as does the word Bearer."""
    given = parse_qs(form, keep_blank_values=True, max_num_fields=5).get("token", [""])
    token = "".join(given[0].removeprefix("Bearer ").split())
    # A header holds nothing else.
    return token if token.isascii() and token.isprintable() else "?"


async def _read_form(request: Request) -> str:
    body = b""
    try:
        async with asyncio.timeout(FORM_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_FORM_BYTES:
                    message = "a form has a token, and nothing more"
                    raise ServiceError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message
                    )
    except TimeoutError:
        message = "the form did not arrive in time"
        raise ServiceError(HTTPStatus.REQUEST_TIMEOUT, "body_too_slow", message) from None
    return body.decode(errors="replace")

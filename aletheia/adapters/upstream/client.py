"""The upstream task API over HTTP.

Every request goes through one retry policy, one bound on requests in flight, and one translation
of what came back into `aletheia.errors`.
"""

import asyncio
import io
import json
import random
import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from statistics import median
from typing import Final, Protocol, TypeAlias, TypeVar, cast
from urllib.parse import quote

import aiohttp
import orjson
import stamina
from aiohttp import hdrs
from yarl import URL

from aletheia.adapters.answers import excerpt, read_date, read_retry_after
from aletheia.adapters.connections import connection_lost, send_once
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    Conflict,
    Misconfigured,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)
from aletheia.resilience.backoff import CallBackoff

T = TypeVar("T")

UPSTREAM: Final = "upstream"
"""What errors call the upstream."""

ENVELOPES: Final = ("data", "tasks", "items", "docs")
"""Names under which an upstream may wrap its page."""

MAX_PAGE_BYTES: Final = 64 * 2**20
"""Longest page that is read, bytes."""

IDLE_CONNECTION_S: Final = 4.0
"""A connection idle for longer is not used again: Node closes its side after 5 s by default."""

MAX_DEPTH: Final = 200
"""Levels of nesting in a page that are read; Python's parser gives up at about a thousand."""

_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)

BEGINNING_BYTES: Final = 4096
BEGINNING_TIMEOUT_S: Final = 1.0
"""How much of an answer is read where only its status matters, and for how long."""

LARGE_BODY_BYTES: Final = 2**20
"""From here on aiohttp wants a body as a file, to write it in pieces."""

OnRequest: TypeAlias = Callable[[str, str, int | None, float], None]
"""Called after each request with endpoint (`pending` or `report`), method, status and seconds.

The status is `None` where no answer came. It is called in the request's own task and must not
raise.
"""


_SEND_ONCE: Final = (send_once(UPSTREAM),)
_REFUSALS: Final = {401: Unauthorized, 403: Unauthorized, 404: NotFound, 409: Conflict}


class SignIn(Protocol):
    """How the client proves to the upstream who it is."""

    async def header(self) -> str | None:
        """Give the value of the `Authorization` header; `None` sends none.

        Raises:
            Unavailable: what hands out tokens is out of reach.
            Unauthorized: it refuses to.
        """
        ...

    async def refresh(self, stale: str) -> str | None:
        """Give a value to use instead of `stale`, which the upstream has just refused.

        Returns:
            `None` where there is no other.

        Raises:
            Unavailable: what hands out tokens is out of reach.
            Unauthorized: it refuses to.
        """
        ...


class NoSignIn:
    """The upstream asks for nothing."""

    async def header(self) -> str | None:
        """Send no header."""
        return None

    async def refresh(self, stale: str) -> str | None:  # noqa: ARG002
        """Have nothing else to offer."""
        return None


class TokenSignIn:
    """A bearer token that never changes.

    Args:
        token: printable ASCII without spaces.

    Raises:
        Misconfigured: the token cannot be sent in a header.
    """

    def __init__(self, token: str) -> None:
        if not is_token(token):
            raise Misconfigured("API_TOKEN", "must be printable ASCII without spaces")
        self._header = f"Bearer {token}"

    def __repr__(self) -> str:
        return "TokenSignIn(***)"

    async def header(self) -> str | None:
        """Send the token."""
        return self._header

    async def refresh(self, stale: str) -> str | None:  # noqa: ARG002
        """Have nothing else to offer."""
        return None


def is_token(value: object) -> bool:
    """Tell whether a value can be sent as a bearer token."""
    return isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]+", value) is not None


@dataclass(frozen=True, slots=True)
class _Request:
    endpoint: str
    method: str
    url: URL
    body: bytes | None = None
    max_answer_bytes: int | None = None
    """How much of a 2xx answer is read; `None` where only its status matters."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    retry_after_s: float | None

    def to_error(self, secret: str) -> AletheiaError:
        """Say what an answer means that is not a success."""
        status, said = self.status, excerpt(self.body, secret)
        if status < 400:  # noqa: PLR2004
            return BadAnswer(UPSTREAM, f"{status}, which is not followed", status=status)
        if status == 429 or status >= 500:  # noqa: PLR2004
            reason = f"{status}: {said}" if said else str(status)
            return Unavailable(UPSTREAM, reason, self.retry_after_s, status)
        return _REFUSALS.get(status, Refused)(UPSTREAM, status, said)


class HttpUpstream:
    """The upstream task API at one address.

    Args:
        base_url: root of the API, without `/api`; it may have a path prefix and a final slash.
        sign_in: proves who we are.
        timeout_s: bound on one request, from sending it to the last byte of its answer, seconds.
        concurrency: requests in flight at once, those that only wait for a retry not counted.
        max_retries: further tries after the first, for timeouts, connection errors, 429 and 5xx.
        retry_base_s: upper end of the first back-off; doubled with each try up to 60 s.
        max_page_bytes: longest page that is read.
        on_request: told about every request sent, retries included.
        clock: seconds since the epoch.
        draw: random number in `[0, 1)`, the share of each back-off that is waited.

    Raises:
        Misconfigured: `base_url` is not an http or https address, or says more than an address.
    """

    def __init__(
        self,
        base_url: str,
        *,
        sign_in: SignIn,
        timeout_s: float = 30.0,
        concurrency: int = 5,
        max_retries: int = 3,
        retry_base_s: float = 0.5,
        max_page_bytes: int = MAX_PAGE_BYTES,
        on_request: OnRequest | None = None,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._tasks_url = read_base_url(base_url) + "/api/ai-tasks/"
        self._sign_in = sign_in
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._retry_base_s = retry_base_s
        self._max_page_bytes = max_page_bytes
        self._on_request = on_request
        self._clock = clock
        self._draw = draw
        self._slots = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._dates: deque[tuple[str | None, float]] = deque(maxlen=64)

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No bound of its own: a wait for it would count as time of the request.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_S),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={hdrs.ACCEPT: "application/json", hdrs.USER_AGENT: "aletheia"},
            )

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def pending(self, limit: int) -> list[object]:
        """See `aletheia.intake.ports.Upstream.pending`."""
        url = URL(f"{self._tasks_url}pending?limit={limit}", encoded=True)
        request = _Request("pending", "GET", url, max_answer_bytes=self._max_page_bytes)
        return await self._call(request, read_page)

    async def report(self, task_id: str, body: bytes) -> None:
        """See `aletheia.intake.ports.Upstream.report`."""
        segment = quote(task_id, safe="", errors="surrogatepass")
        url = URL(self._tasks_url + segment, encoded=True)
        await self._call(_Request("report", "PATCH", url, body), _ignore)

    def clock_skew_s(self) -> float | None:
        """Estimate how far the upstream's clock is ahead of ours, seconds, to about half of one.

        Returns:
            The median over the last answers; `None` if none of them named its time.
        """
        skews = [
            sent + 0.5 - received  # an HTTP date leaves out the fraction of its second
            for date, received in self._dates
            if (sent := read_date(date)) is not None
        ]
        return median(skews) if skews else None

    async def _call(self, request: _Request, read: Callable[[bytes], T]) -> T:
        """Send a request until it is answered for good or its tries are used up."""
        try:
            # The first try goes without stamina, whose machinery costs a fifth of a request.
            return await self._try(request, read)
        except Unavailable as error:
            failure, is_doubtful = error, _is_doubtful(error)
        async for attempt in stamina.retry_context(
            on=CallBackoff(self._retry_base_s, self._draw),
            attempts=1 + self._max_retries,
            timeout=None,
        ):
            with attempt:
                if attempt.num == 1:
                    raise failure
                try:
                    return await self._try(request, read)
                except Unavailable as error:
                    is_doubtful = is_doubtful or _is_doubtful(error)
                    raise
                except Conflict as conflict:
                    if not is_doubtful:
                        raise
                    raise Conflict(
                        UPSTREAM, conflict.status, conflict.reason, may_be_ours=True
                    ) from None
        raise AssertionError("the last try returns or raises")

    async def _try(self, request: _Request, read: Callable[[bytes], T]) -> T:
        async with self._slots:
            header = await self._sign_in.header()
            answer = await self._exchange(request, header)
            if answer.status in (401, 403) and header is not None:
                fresh = await self._sign_in.refresh(header)
                if fresh is not None:
                    header = fresh
                    answer = await self._exchange(request, header)
        secret = (header or "").removeprefix("Bearer ")
        if not _is_success(answer.status):
            raise answer.to_error(secret)
        try:
            return read(answer.body)
        except ValueError as error:
            reason = f"{error}: {excerpt(answer.body[:BEGINNING_BYTES], secret)}"
            raise BadAnswer(UPSTREAM, reason, status=answer.status) from None

    async def _exchange(self, request: _Request, header: str | None) -> _Answer:
        """Send a request once and read what matters of its answer."""
        if self._session is None:
            raise RuntimeError("the client is not open")
        headers: dict[str, str] = {}
        if header is not None:
            headers[hdrs.AUTHORIZATION] = header
        if request.body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
        status: int | None = None
        started = time.perf_counter()
        try:
            async with self._session.request(
                request.method,
                request.url,
                data=_as_payload(request.body),
                headers=headers,
                allow_redirects=False,
                middlewares=_SEND_ONCE if request.method == "GET" else (),
            ) as response:
                status = response.status
                date = response.headers.get(hdrs.DATE)
                self._dates.append((date, self._clock()))
                if request.max_answer_bytes is not None and _is_success(status):
                    body = await _read_all(response, request.max_answer_bytes)
                else:
                    body = await _read_beginning(response)
                retry_after = response.headers.get(hdrs.RETRY_AFTER)
                return _Answer(
                    status,
                    body,
                    read_retry_after(retry_after, date=date, now=self._clock()),
                )
        except TimeoutError as error:
            reason = f"no complete answer within {self._timeout_s:g} s"
            raise Unavailable(UPSTREAM, reason, status=status) from error
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(UPSTREAM, excerpt(str(error).encode())) from error
        except aiohttp.ClientResponseError as error:
            said = excerpt(error.message.encode(errors="replace"), header or "")
            raise BadAnswer(UPSTREAM, f"not HTTP: {said}", status=status) from error
        except (aiohttp.ClientError, OSError) as error:
            raise connection_lost(UPSTREAM, error, status) from error
        finally:
            if self._on_request is not None:
                seconds = time.perf_counter() - started
                self._on_request(request.endpoint, request.method, status, seconds)


def _is_doubtful(failure: Unavailable) -> bool:
    """Tell whether a request that failed may have been carried out all the same."""
    return failure.status != HTTPStatus.TOO_MANY_REQUESTS


def read_base_url(base_url: str) -> str:
    """Check the address of an API and take off its final slash.

    Raises:
        Misconfigured: it is not an http or https address, or says more than an address.
    """
    try:
        url = URL(base_url.strip())
    except ValueError:
        raise Misconfigured("API_BASE_URL", "is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise Misconfigured("API_BASE_URL", "must begin with http:// or https:// and a host")
    if url.user is not None or url.password is not None:
        raise Misconfigured("API_BASE_URL", "must not hold credentials: configure a sign-in")
    if url.raw_query_string or url.raw_fragment:
        raise Misconfigured("API_BASE_URL", "must not have a query or a fragment")
    return str(url).rstrip("/")


def read_page(body: bytes) -> list[object]:
    """Read one page of tasks: a bare list, or one in an envelope or two.

    A value that strict JSON does not allow (a lone surrogate, `NaN`, bytes that are not UTF-8)
    costs only the entry it stands in: it is let through, and what checks the entries refuses it.
    So does nesting too deep to read, which ends at `MAX_DEPTH` levels with a `null`.

    Raises:
        ValueError: it is not a page of tasks.
    """
    try:
        answer: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = _read_tolerantly(body)
    page = _find_page(answer, envelopes=2)
    if page is None:
        raise ValueError("not a page of tasks")
    return page


def _read_tolerantly(body: bytes) -> object:
    try:
        text = body.decode("utf-8-sig", "surrogateescape")
        try:
            return json.loads(text, strict=False, parse_int=_read_int)
        except RecursionError:
            return json.loads(_cut_depths(text), strict=False, parse_int=_read_int)
    except ValueError:
        raise ValueError("not JSON") from None


def _cut_depths(text: str) -> str:
    """Put `null` for whatever is nested deeper than `MAX_DEPTH`."""
    pieces: list[str] = []
    depth = start = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        bracket = token.group()
        if bracket in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                pieces += (text[start : token.start()], "null")
        elif bracket in ("]", "}"):
            if depth == MAX_DEPTH + 1:
                start = token.end()
            depth -= 1
    if depth:
        raise ValueError("brackets do not match")
    return "".join([*pieces, text[start:]])


def _read_int(digits: str) -> float:
    # Python refuses to read an int of more than 4300 digits, which would cost the page.
    return int(digits) if len(digits) < 400 else float(digits)  # noqa: PLR2004


def _find_page(answer: object, *, envelopes: int) -> list[object] | None:
    """Find the list in an answer, at most `envelopes` names deep."""
    if isinstance(answer, list):
        return cast("list[object]", answer)
    if isinstance(answer, dict) and envelopes > 0:
        wrapped = cast("dict[str, object]", answer)
        for name in ENVELOPES:
            page = _find_page(wrapped.get(name), envelopes=envelopes - 1)
            if page is not None:
                return page
    return None


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004


def _ignore(body: bytes) -> None:
    """Take any answer to a report: its status has said everything."""


def _as_payload(body: bytes | None) -> bytes | io.BytesIO | None:
    return body if body is None or len(body) <= LARGE_BODY_BYTES else io.BytesIO(body)


async def _read_all(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read the body of an answer.

    Raises:
        BadAnswer: it is longer than `max_bytes`.
    """
    chunks: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            reason = f"longer than {max_bytes} bytes"
            raise BadAnswer(UPSTREAM, reason, status=response.status)
    return b"".join(chunks)


async def _read_beginning(response: aiohttp.ClientResponse) -> bytes:
    """Read the first part of a body, as far as it comes soon; a fault in it ends it."""
    content = response.content
    chunks: list[bytes] = []
    size = 0
    with suppress(TimeoutError, aiohttp.ClientError):
        if content.is_eof():
            return content.read_nowait(BEGINNING_BYTES)
        async with asyncio.timeout(BEGINNING_TIMEOUT_S):
            while size < BEGINNING_BYTES and (chunk := await content.readany()):
                chunks.append(chunk)
                size += len(chunk)
    return b"".join(chunks)[:BEGINNING_BYTES]

"""The one HTTP client: requests that are sent once, bounded answers, and errors of our own."""

import asyncio
import io
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
import stamina
from aiohttp import hdrs
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from aletheia.adapters.http_answers import Answer, excerpt
from aletheia.errors import (
    BadAnswer,
    ConnectionLost,
    Misconfigured,
    TimedOut,
    TooLong,
    Unavailable,
    Unreachable,
)
from aletheia.resilience.breaker import PROBING
from aletheia.store.backoff import CallBackoff
from aletheia.store.clock import SYSTEM_CLOCK

T = TypeVar("T")

BEGINNING_BYTES: Final = 2**16
BEGINNING_TIMEOUT_S: Final = 1.0
"""How much of a body is read where the status decides, and for how long."""

IDLE_CONNECTION_S: Final = 4.0
"""A connection idle for longer is not used again: Node closes its side after 5 s by default."""

LARGE_BODY_BYTES: Final = 2**20
"""From here on aiohttp wants a body as a file, to write it in pieces."""

Body: TypeAlias = bytes | aiohttp.FormData
"""Of a request: JSON, unless a header says otherwise, or a form."""

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


def is_token(value: object) -> bool:
    """Check whether a value can be sent as a bearer token."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def read_address(setting: str, address: str) -> URL:
    """Check the http address of a setting, or raise `Misconfigured`."""
    try:
        url = URL(address.strip())
    except ValueError:
        raise Misconfigured(setting, "is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise Misconfigured(setting, "must begin with http:// or https:// and a host")
    if url.user is not None or url.password is not None:
        raise Misconfigured(setting, "must not hold credentials")
    return url


def read_base_url(setting: str, address: str) -> str:
    """Check the http address of a setting, or raise `Misconfigured`; drop a final slash."""
    url = read_address(setting, address)
    if url.raw_query_string or url.raw_fragment:
        raise Misconfigured(setting, "must not have a query or a fragment")
    return str(url).rstrip("/")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often one call is sent: `max_retries` times more than once; a breaker's probe once."""

    max_retries: int = 3
    base_s: float = 0.5  # up to the first delay, doubled with each try up to 60 s
    draw: Callable[[], float] = random.random

    async def send(self, send: Callable[[], Awaitable[T]]) -> T:
        """Call `send` until it returns, raises what does not pass, or its tries are used up."""
        try:
            return await send()  # without stamina, whose machinery costs a fifth of a request
        except Unavailable as error:
            if PROBING.get():
                raise
            failure = error
        async for attempt in stamina.retry_context(
            on=CallBackoff(self.base_s, self.draw), attempts=1 + self.max_retries, timeout=None
        ):
            with attempt:
                if attempt.num == 1:
                    raise failure
                return await send()
        raise AssertionError("the last try returns or raises")


class HttpClient:
    """Sends requests to one outside system, each once, and raises nothing but our own errors."""

    def __init__(
        self,
        dependency: str,
        *,
        address: str = "",  # the setting that errors point to
        timeout_s: float,  # of a request, to the last byte of its answer
        connect_timeout_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        uses_proxy: bool = False,  # as the environment says
        decompresses: bool = True,  # else bodies come as they were sent
        make_connector: Callable[[], aiohttp.BaseConnector] | None = None,
        clock: Callable[[], float] = SYSTEM_CLOCK.unix_s,
    ) -> None:
        self.dependency, self.address = dependency, address
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._headers: dict[str, str] = {
            hdrs.ACCEPT: "application/json",
            hdrs.USER_AGENT: "aletheia",
            **(headers or {}),
        }
        self._uses_proxy, self._decompresses = uses_proxy, decompresses
        self._make_connector = make_connector or (
            # No bound of its own: a wait for it would count as time of the request.
            lambda: aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_S)
        )
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make ready to send; nothing is sent yet. Idempotent."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._make_connector(),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                auto_decompress=self._decompresses,
            )

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def exchange(
        self,
        method: str,
        url: URL,
        *,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        max_bytes: int | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send a request and read its answer, whatever its status.

        Of a 2xx at most `max_bytes` are read, decompressed; of `None`, and of any other answer,
        only the beginning. No error shows `secrets`; `Unreachable` means that nothing was sent.
        """
        if timeout_s is None:
            timeout_s = self._timeout_s
        async with self._send(
            method, url, body=body, headers=headers, secrets=secrets, timeout_s=timeout_s
        ) as (response, answer):
            if max_bytes is not None and answer.is_success:
                answer.body = await self._read_all(response, max_bytes)
            else:
                answer.body, answer.is_cut = await _read_beginning(response)
            return answer

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: URL,
        *,
        body: Body | None = None,
        secrets: tuple[str, ...] = (),
    ) -> AsyncGenerator[aiohttp.StreamReader | Answer]:
        """Send a request; yield the body of a 2xx, for who reads to bound, or any other answer."""
        async with self._send(method, url, body=body, secrets=secrets) as (response, answer):
            if answer.is_success:
                yield response.content
            else:
                answer.body, answer.is_cut = await _read_beginning(response)
                yield answer

    @asynccontextmanager
    async def receive(
        self, method: str, url: URL, *, secrets: tuple[str, ...] = ()
    ) -> AsyncGenerator[tuple[Answer, aiohttp.StreamReader]]:
        """Send a request; yield its answer and its body, which who reads it bounds.

        The time limit is that of a whole exchange.
        """
        async with self._send(
            method, url, body=None, secrets=secrets, timeout_s=self._timeout_s
        ) as (
            response,
            answer,
        ):
            yield answer, response.content

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        url: URL,
        *,
        body: Body | None,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...],
        timeout_s: float | None = None,
    ) -> AsyncGenerator[tuple[aiohttp.ClientResponse, Answer]]:
        """Send a request; yield the response, and its answer without a body."""
        if self._session is None:
            raise RuntimeError("the client is not open")
        if isinstance(body, bytes):
            headers = {hdrs.CONTENT_TYPE: "application/json", **(headers or {})}
        data: Body | io.BytesIO | None = body
        if isinstance(body, bytes) and len(body) > LARGE_BODY_BYTES:
            data = io.BytesIO(body)
        timeout = aiohttp.ClientTimeout(
            total=timeout_s,
            sock_connect=self._connect_timeout_s,
            # Not rounded up to whole seconds, as it is by default.
            ceil_threshold=(timeout_s or 0.0) + 1,
        )
        status: int | None = None
        try:
            async with self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                allow_redirects=False,
                proxy=find_proxy(url) if self._uses_proxy else None,
                timeout=timeout,
                middlewares=_SEND_ONCE if method in _REPEATED else (),
            ) as response:
                status, now = response.status, self._clock()
                answer = Answer(self.dependency, status, response.headers, b"", now, secrets)
                answer.address = self.address
                yield response, answer
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            # Without a bound, a `TimeoutError`, which is an `OSError`, is of whoever reads.
            is_late = isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError)
            if is_late and timeout_s is None:
                raise
            # The response's error holds our headers: it is no cause of ours.
            is_of_response = isinstance(error, aiohttp.ClientResponseError)
            cause = None if is_of_response else _origin_of(error)
            raise self._translate(error, status, timeout_s, secrets) from cause

    async def _read_all(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        """Read a body; aiohttp decompresses it in pieces of at most 256 KiB."""
        chunks: list[bytes] = []
        size = 0
        while chunk := await response.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                reason = f"longer than {max_bytes:,} bytes"
                raise TooLong(self.dependency, reason, status=response.status)
        return b"".join(chunks)

    def _translate(
        self,
        error: BaseException,
        status: int | None,
        timeout_s: float | None,
        secrets: tuple[str, ...],
    ) -> Unavailable:
        """Build our own error for one of aiohttp's or of the system."""
        kind: type[Unavailable] = Unavailable
        match error:
            case aiohttp.ConnectionTimeoutError():
                kind, reason = Unreachable, f"no connection within {self._connect_timeout_s} s"
            case aiohttp.ClientHttpProxyError():
                kind, reason = Unreachable, f"the proxy answers {error.status}"
            case TimeoutError():
                kind, reason = TimedOut, f"no complete answer within {timeout_s:g} s"
            case aiohttp.ClientConnectorError():
                kind, reason = Unreachable, excerpt(str(error), *secrets)
            case UnicodeError():
                kind, reason = Unreachable, "the name of the host has no form in the DNS"
            case aiohttp.ClientResponseError():
                kind, reason = BadAnswer, f"not HTTP: {excerpt(error.message, *secrets)}"
            case aiohttp.ClientPayloadError() if isinstance(error.__cause__, ContentEncodingError):
                kind, reason = BadAnswer, "a body that cannot be decompressed"
            case _:
                kind = ConnectionLost
                reason = f"connection lost ({type(_origin_of(error)).__name__})"
        return kind(self.dependency, reason, status=status)


class _Lost(aiohttp.ClientError):
    """A connection that was lost, in a form that aiohttp does not answer with a second try."""


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself when a kept connection is lost."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Lost from error


_SEND_ONCE: Final = (_send_once,)
_REPEATED: Final = frozenset({hdrs.METH_GET, hdrs.METH_DELETE})
"""Methods that aiohttp would repeat."""


def find_proxy(url: URL) -> str | None:
    """Return the proxy that the environment names for an address."""
    proxy = getproxies().get(url.scheme)
    return proxy if proxy and url.host and not proxy_bypass(url.host) else None


def _origin_of(error: BaseException) -> BaseException:
    return (error.__cause__ or error) if isinstance(error, _Lost) else error


async def _read_beginning(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Read the first part of a body, as far as it comes soon, and whether there is more."""
    content = response.content
    chunks: list[bytes] = []
    size = 0
    with suppress(TimeoutError, aiohttp.ClientError):
        if content.is_eof():
            return content.read_nowait(BEGINNING_BYTES), not content.at_eof()
        async with asyncio.timeout(BEGINNING_TIMEOUT_S):
            while size < BEGINNING_BYTES and (chunk := await content.readany()):
                chunks.append(chunk)
                size += len(chunk)
    return b"".join(chunks)[:BEGINNING_BYTES], size > BEGINNING_BYTES or not content.at_eof()

"""The upstream task API over HTTP, and behind a circuit breaker that all pollers share."""

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from statistics import median
from typing import Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import quote

from aiohttp import hdrs
from pydantic_core import from_json
from yarl import URL

from aletheia.adapters.http import HttpClient, Retries, read_base_url
from aletheia.adapters.http_answers import (
    Answer,
    as_object,
    as_text,
    check_values,
    is_web_page,
    read_date,
)
from aletheia.adapters.upstream.pages import ENVELOPES, read_int, read_page, read_tolerantly
from aletheia.adapters.upstream.sign_in import SIGN_IN, SignIn
from aletheia.errors import AletheiaError, Conflict, TimedOut, Unavailable, Unreachable
from aletheia.intake.ports import UPSTREAM, Upstream
from aletheia.metrics import UPSTREAM_DURATION, UPSTREAM_REQUESTS
from aletheia.resilience.breaker import CircuitBreaker, Permit, is_breaker_failure
from aletheia.series import Note, forget, merged
from aletheia.store.clock import SYSTEM_CLOCK

T = TypeVar("T")

Ask: TypeAlias = Callable[..., Awaitable[Answer]]
"""Sends a request once, with the `headers` and `secrets` that sign in."""

ADDRESS: Final = "API_BASE_URL"
"""The setting that errors point to."""

MAX_PAGE_BYTES: Final = 64 * 2**20
"""Longest page that is read, bytes."""

_NO_STATUS: Final[Mapping[type[Unavailable], str]] = {
    TimedOut: "timeout",
    Unreachable: "unreachable",
}
"""What is counted in place of a status where there was none; anything else is `lost`."""

_FALSE: Final = (False, "false", "False", "FALSE")
_NO_ERROR: Final = (*_FALSE, "none", "null")
_FAILED: Final = ("error", "fail", "failed", "failure")
_ERRORS: Final = (
    *("error", "errors", "errormessage", "exception", "fault", "err", "errmsg"),
    *("error_message", "error_description"),
)
_TAKEN: Final = ("success", "ok", "accepted", "acknowledged", "issuccess")
_OF_ERRORS: Final = {
    *(*_ERRORS, "errortype", "errorcode", "error_code", "stack", "stacktrace", "trace", "file"),
    *("message", "msg", "detail", "details", "title", "type", "status", "name", "line", "method"),
    *("statuscode", "code", "path", "timestamp", "instance", "requestid", "request_id"),
    *("traceid", "trace_id", "extensions", "url", "duration", "version", "apiversion"),
}
"""What an answer has that says that something failed, and has nothing else to say."""

_OF_ENVELOPES: Final = {*_OF_ERRORS, *ENVELOPES, "success", "ok", "meta", "metadata"}
"""What an answer has around the one that matters."""

MAX_ENVELOPES: Final = 4


class HttpUpstream:
    """The upstream task API at one address.

    Args:
        base_url: root of the API, without `/api`; it may have a path prefix and a final slash.
        timeout_s: bound on one request, from sending it to the last byte of its answer.
        concurrency: requests in flight at once, those that only wait for a retry not counted.
        max_retries: tries after the first; see `Retries`, also about `retry_base_s`.
        note: counts each request that is sent.
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
        note: Note = forget,
    ) -> None:
        self._note = note
        self._tasks_url = read_base_url(ADDRESS, base_url) + "/api/ai-tasks/"
        self._sign_in = sign_in
        self._http = HttpClient(UPSTREAM, address=ADDRESS, timeout_s=timeout_s)
        self._retries = Retries(max_retries, retry_base_s)
        self._slots = asyncio.Semaphore(concurrency)
        self._dates: deque[tuple[str | None, float]] = deque(maxlen=64)

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        await self._http.open()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._http.close()

    async def pending(self, limit: int) -> list[object]:
        """See `aletheia.intake.ports.Upstream.pending`."""
        url = URL(f"{self._tasks_url}pending?limit={limit}", encoded=True)
        ask = partial(self._ask, "pending", "GET", url, max_bytes=MAX_PAGE_BYTES)
        return await self._call(ask, lambda answer: read_page(answer.body))

    async def report(self, task_id: str, body: bytes) -> None:
        """See `aletheia.intake.ports.Upstream.report`."""
        segment = quote(task_id, safe="", errors="surrogatepass")
        url = URL(self._tasks_url + segment, encoded=True)
        ask = partial(self._ask, "task", "PATCH", url, body=body)
        await self._call(ask, lambda answer: _read_acknowledgement(answer, body))

    def clock_skew_s(self) -> float | None:
        """Estimate how far the upstream's clock is ahead of ours, seconds, to about half of one."""
        skews = [
            sent + 0.5 - received  # an HTTP date leaves out the fraction of its second
            for date, received in self._dates
            if (sent := read_date(date)) is not None
        ]
        return median(skews) if skews else None

    def _call(self, ask: Ask, read: Callable[[Answer], T]) -> Awaitable[T]:
        """Send a request until it is answered for good or its tries are used up."""
        may_be_done = False

        async def send() -> T:
            nonlocal may_be_done
            try:
                return await self._try(ask, read)
            except Unavailable as error:
                # One that failed on the way back may have been carried out all the same.
                is_limit = error.status == HTTPStatus.TOO_MANY_REQUESTS
                may_be_done = may_be_done or not (is_limit or isinstance(error, Unreachable))
                raise
            except Conflict as conflict:
                if not may_be_done:
                    raise
                status, reason = conflict.status, conflict.reason
                raise Conflict(UPSTREAM, status, reason, may_be_ours=True) from None

        return self._retries.send(send)

    async def _try(self, ask: Ask, read: Callable[[Answer], T]) -> T:
        async with self._slots:
            header = await self._sign_in.header()
            answer = await self._exchange(ask, header)
            if (
                header is not None
                and answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
                and (fresh := await self._sign_in.refresh(header)) is not None
            ):
                answer = await self._exchange(ask, fresh)
        if answer.is_success:
            return answer.read(lambda _: read(answer))
        raise answer.to_error()

    async def _ask(self, endpoint: str, method: str, url: URL, **options: Any) -> Answer:
        """Send one request, and count it by its status, or by what came in place of one."""
        began_s, status = SYSTEM_CLOCK.steady_s(), "cancelled"
        try:
            answer = await self._http.exchange(method, url, **options)
            status = str(answer.status)
        except Unavailable as error:
            status = str(error.status or _NO_STATUS.get(type(error), "lost"))
            raise
        finally:
            took = UPSTREAM_DURATION.observe(endpoint, amount=SYSTEM_CLOCK.steady_s() - began_s)
            self._note(merged(UPSTREAM_REQUESTS.add(endpoint, method, status), took))
        return answer

    async def _exchange(self, ask: Ask, header: str | None) -> Answer:
        headers = {} if header is None else {hdrs.AUTHORIZATION: header}
        secrets = () if header is None else (header.removeprefix("Bearer "),)
        answer = await ask(headers=headers, secrets=secrets)
        self._dates.append((answer.headers.get(hdrs.DATE), answer.received_at))
        return answer


class GuardedUpstream:
    """Leaves an upstream alone that failed too often, or a server that it signs in at.

    Each has a breaker of its own, so that what is away is called by its name. As long as all goes
    well only pages ask the breakers: a report costs no read of the store.
    """

    def __init__(self, inner: Upstream, breakers: CircuitBreaker) -> None:
        self._inner, self._breakers = inner, breakers
        self._permits: Mapping[str, Permit] | None = None

    async def pending(self, limit: int) -> list[object]:
        """Read a page; raise `BreakerOpen` where the upstream is left alone."""
        async with self._guarding():
            return await self._inner.pending(limit)

    async def report(self, task_id: str, body: bytes) -> None:
        """Send a report; raise `BreakerOpen` where the upstream is left alone."""
        permits = self._permits
        if permits is None:
            async with self._guarding():
                await self._inner.report(task_id, body)
            return
        try:
            await self._inner.report(task_id, body)
        except AletheiaError as error:
            if is_breaker_failure(error):
                self._permits = None
                await self._breakers.fail(permits[_owner_of(error)], str(error))
            raise

    @asynccontextmanager
    async def _guarding(self) -> AsyncGenerator[None]:
        """Ask the breakers, and know after a success that nobody has to for a while."""
        self._permits = None
        permits: dict[str, Permit] = {}
        async with AsyncExitStack() as stack:
            for name in (SIGN_IN, UPSTREAM):
                permits[name] = await self._breakers.admit(name)
                recording = self._breakers.recording(
                    permits[name], spares=lambda error, name=name: _owner_of(error) != name
                )
                await stack.enter_async_context(recording)
            yield
        # What a probe has closed has another generation.
        is_probe = any(permit.probe is not None for permit in permits.values())
        self._permits = None if is_probe else permits


def _owner_of(error: BaseException) -> str:
    """Return the name of what an error is about."""
    return SIGN_IN if getattr(error, "dependency", None) == SIGN_IN else UPSTREAM


def _read_acknowledgement(answer: Answer, sent: bytes) -> None:
    """Check that an answer to a report is the API's, and no refusal; raise `ValueError`.

    It is nothing, or JSON. Only the beginning of a body is read: where nothing of it came in time,
    its type decides.
    """
    text = answer.body.strip().removeprefix(b"\xef\xbb\xbf")
    if not text:
        kind = answer.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
        if answer.is_cut and not kind.endswith(("/json", "+json")):
            raise ValueError("nothing that is JSON")
        return
    try:
        check_values(text)
        # It may show the task with whatever odd values that has: only the form matters.
        said = read_tolerantly(text)
    except ValueError:
        if not (answer.is_cut and _is_cut_json(text)):
            raise
        said = None
        with suppress(ValueError):
            said = from_json(text, allow_partial=True)
    if _is_refused(said, sent):
        raise ValueError("it says that the report was not taken")


def _is_refused(said: object, sent: bytes) -> bool:
    """Return whether an answer, or what it has in envelopes and lists of one, says that it failed.

    One that shows the state or the error that was sent does not, whatever else it has.
    """
    is_refused = False
    for _ in range(MAX_ENVELOPES):
        inner: object = None
        if isinstance(said, list):
            several = cast("list[object]", said)
            inner = several[0] if len(several) == 1 else None
        elif isinstance(said, dict):
            filled = {
                name.lower(): value
                for name, value in cast("dict[str, object]", said).items()
                if value or value in _FALSE
            }
            if _shows(filled, sent):
                return False
            is_refused = is_refused or _is_refusal(filled)
            if filled.keys() <= _OF_ENVELOPES:  # and so no task, whose own data this might be
                inner = next((filled[name] for name in ENVELOPES if name in filled), None)
        else:
            return is_refused or said is False or is_web_page(as_text(said).encode())
        said = inner
    return is_refused


def _shows(answer: Mapping[str, object], sent: bytes) -> bool:
    """Return whether an object shows the state that was sent, or the error."""
    state = answer.get("state", answer.get("status"))
    beginning = sent[:40].decode(errors="replace").lower()
    if isinstance(state, str) and f'":"{state}"'.lower() in beginning:
        return True
    return "error" in answer and answer["error"] == as_object(read_tolerantly(sent)).get("error")


def _is_refusal(answer: Mapping[str, object]) -> bool:
    """Return whether an object says that something failed; its names are in lower case."""
    if any(answer.get(name) in _FALSE for name in _TAKEN):
        return True
    state = answer.get("state", answer.get("status"))
    # `{"error": false}` says that there is none.
    is_error = any(answer.get(name, False) not in _NO_ERROR for name in _ERRORS)
    is_error = is_error or state is False or as_text(state).lower() in _FAILED
    codes = (answer.get(name) for name in ("status", "statuscode", "code"))
    written = (str(code) for code in codes if isinstance(code, int | str))
    is_error = is_error or any(re.fullmatch("[45][0-9][0-9]", code) for code in written)
    return is_error and answer.keys() <= _OF_ERRORS.union(ENVELOPES)


def _is_cut_json(text: bytes) -> bool:
    """Return whether a text begins like a JSON object or list, and only its end is missing."""
    if text[:1] not in b"{[":
        return False
    readable = text.decode(errors="replace")
    try:
        json.loads(readable, strict=False, parse_int=read_int)
    except json.JSONDecodeError as fault:
        rest = readable[fault.pos :]  # it may end within a number, a word or an escape
        is_end = re.fullmatch(r"[-+.\\\w]{0,16}", rest) is not None
        return is_end or fault.msg.startswith("Unterminated string")
    except RecursionError:
        return True  # a thousand brackets in, and no fault yet
    return True

"""What the clients of OpenAI-compatible APIs have in common: one request, once, within bounds.

The SDK writes the requests; its answers are read as bytes, so that their size is bounded, and its
errors are translated. No exception of the SDK, which holds the key, ever becomes the context of
one of ours.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import httpx2
import openai
import orjson
from openai import AsyncOpenAI

from aletheia.adapters.answers import excerpt, read_retry_after
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    NotFound,
    QuotaExhausted,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)

_OUTAGES: Final = frozenset({402, 408, 429})
"""Statuses below 500 that say nothing against the request: unpaid, too slow, too many."""

_REFUSALS: Final = {403: Unauthorized, 404: NotFound}


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What an API says when it does not do what it is asked.

    Attributes:
        status: of HTTP, or what a body behind a 200 calls its status.
        message: in full.
        code: the API's code for it, such as `model_not_found`.
        kind: the API's type of it, such as `insufficient_quota`.
        param: the name of the property that is wrong.
        wait_s: how long the API asks to wait, seconds.
    """

    status: int
    message: str
    code: str = ""
    kind: str = ""
    param: str = ""
    wait_s: float | None = None

    def say(self, *secrets: str) -> str:
        """Give the beginning of the message, without secrets."""
        return excerpt(self.message.encode(errors="replace"), *secrets)

    def to_error(self, provider: str, secret: str) -> AletheiaError:
        """Translate what says nothing about the request itself, or nothing that is known."""
        status, said = self.status, self.say(secret)
        if status < 400:  # noqa: PLR2004
            return BadAnswer(provider, f"{status}, which is not followed", status=status)
        if status in _OUTAGES or status >= 500:  # noqa: PLR2004
            is_quota = status == 402 or "insufficient_quota" in (self.code, self.kind)  # noqa: PLR2004
            kind = QuotaExhausted if is_quota else Unavailable
            return kind(provider, f"{status}: {said}" if said else str(status), self.wait_s, status)
        if status == 401:  # noqa: PLR2004
            # The message of a 401 has parts of the key in it.
            return Unauthorized(provider, status, excerpt(self.code.encode(), secret))
        return _REFUSALS.get(status, Refused)(provider, status, said)


class RawResponse(Protocol):
    """A response of the SDK whose body has not been read."""

    @property
    def status_code(self) -> int:
        """Its status."""
        ...

    def read(self) -> Awaitable[bytes]:
        """Read its body."""
        ...


def make_client(
    api_key: str, base_url: str, *, timeout_s: float, provider: str, max_answer_bytes: int
) -> AsyncOpenAI:
    """Build a client that retries nothing and reads no answer beyond `max_answer_bytes`."""

    async def bound(response: httpx2.Response) -> None:
        stream = cast("httpx2.AsyncByteStream", response.stream)
        response.stream = _BoundedStream(stream, max_answer_bytes, provider)

    return AsyncOpenAI(
        api_key=api_key,
        base_url=base_url,
        timeout=timeout_s,
        max_retries=0,
        http_client=httpx2.AsyncClient(event_hooks={"response": [bound]}),
    )


async def exchange(
    send: Callable[[], AbstractAsyncContextManager[RawResponse]],
    *,
    provider: str,
    timeout_s: float,
    clock: Callable[[], float],
) -> bytes | ErrorAnswer | AletheiaError:
    """Send one request and read its answer.

    Args:
        send: begins a request of the SDK, with a streaming response.
        provider: what errors call it.
        timeout_s: bound on all of it, to the last byte of the answer, seconds.
        clock: seconds since the epoch.

    Returns:
        The body of a success, what the API said against it, or why there is no answer.
    """
    status: int | None = None
    try:
        async with asyncio.timeout(timeout_s), send() as response:
            status = response.status_code
            return await response.read()
    except (TimeoutError, openai.APITimeoutError, httpx2.TimeoutException):
        return Unavailable(provider, f"no complete answer within {timeout_s:g} s", status=status)
    except openai.APIStatusError as error:
        return _read_status_error(error, clock())
    except openai.APIConnectionError as error:
        return _lost(provider, error.__cause__ or error, status)
    except httpx2.HTTPError as error:
        return _lost(provider, error, status)
    except BadAnswer as error:
        return error


def as_object(value: object) -> dict[str, Any]:
    """Take a JSON object, an empty one for everything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def load_object(body: bytes) -> dict[str, Any]:
    """Read an answer's JSON object; servers written in Python may put `NaN` into it.

    Raises:
        ValueError: it is none.
    """
    try:
        answer: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise ValueError("not JSON") from None
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004
    return cast("dict[str, Any]", answer)


def read_error(body: dict[str, Any], status: int, wait_s: float | None = None) -> ErrorAnswer:
    """Read the object that APIs put below `error`, or in its place."""
    return ErrorAnswer(
        status=status,
        message=_as_text(body.get("message")),
        code=_as_text(body.get("code")),
        kind=_as_text(body.get("type")),
        param=_as_text(body.get("param")),
        wait_s=wait_s,
    )


def _read_status_error(error: openai.APIStatusError, now: float) -> ErrorAnswer:
    response = error.response
    answer = read_error(as_object(error.body), error.status_code, _read_wait(response.headers, now))
    return (
        answer
        if answer.message
        else ErrorAnswer(
            answer.status, response.text, answer.code, answer.kind, answer.param, answer.wait_s
        )
    )


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _read_wait(headers: httpx2.Headers, now: float) -> float | None:
    """Read how long to wait, seconds; OpenAI and Azure may say it in milliseconds."""
    milliseconds = headers.get("retry-after-ms", "")
    if re.fullmatch(r"[0-9]{1,8}", milliseconds, re.ASCII):
        return int(milliseconds) / 1000
    return read_retry_after(headers.get("retry-after"), date=headers.get("date"), now=now)


def _lost(provider: str, error: BaseException, status: int | None) -> Unavailable:
    if isinstance(error, httpx2.DecodingError):
        return BadAnswer(provider, "a body that cannot be unpacked", status=status)
    kind = Unreachable if isinstance(error, httpx2.ConnectError) else Unavailable
    return kind(provider, f"connection lost ({type(error).__name__})", status=status)


class _BoundedStream(httpx2.AsyncByteStream):
    """A body that breaks off with an error after so many bytes."""

    def __init__(self, stream: httpx2.AsyncByteStream, max_bytes: int, provider: str) -> None:
        self._stream, self._max_bytes, self._provider = stream, max_bytes, provider

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > self._max_bytes:
                raise BadAnswer(self._provider, f"longer than {self._max_bytes:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()

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
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

import httpx2
import openai
from openai import AsyncOpenAI

from aletheia.adapters import http_answers
from aletheia.adapters.http_answers import (
    SHOWN_BYTES,
    ErrorKind,
    as_object,
    as_text,
    check_values,
    excerpt,
    is_web_page,
    make_error,
    read_retry_after,
)
from aletheia.errors import AletheiaError, BadAnswer, QuotaExhausted, Unavailable, Unreachable

MAX_ANSWER_VALUES: Final = 16_000_000
"""Most numbers in an answer that is read: 2,048 vectors of 4,096 are 8 million."""


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

    def show(self, *secrets: str) -> str:
        """Return the beginning of the message, without secrets."""
        return excerpt(self.message, *secrets)

    def to_error(self, provider: str, secret: str) -> AletheiaError:
        """Build the error of an answer that says nothing about the request, or nothing known."""
        is_quota = "insufficient_quota" in (self.code, self.kind)
        exceptions: dict[int, ErrorKind] = {
            HTTPStatus.PAYMENT_REQUIRED: QuotaExhausted,
            HTTPStatus.TOO_MANY_REQUESTS: QuotaExhausted if is_quota else Unavailable,
        }
        # The message of a 401 has parts of the key in it.
        is_key = self.status == HTTPStatus.UNAUTHORIZED
        return make_error(
            provider,
            self.status,
            excerpt(self.code if is_key else self.message, secret),
            retry_after_s=self.wait_s,
            exceptions=exceptions,
        )


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
    """Build a client that retries nothing and reads no answer beyond `max_answer_bytes`.

    Bytes are counted after decompression, which is done here, in pieces of at most 1 MiB.
    """

    async def bound(response: httpx2.Response) -> None:
        packed = httpx2.Response(
            response.status_code, headers=response.headers, stream=response.stream
        )
        response.headers.pop("content-encoding", None)
        response.stream = _BoundedStream(packed, max_answer_bytes, provider)

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


def load_object(body: bytes) -> dict[str, Any]:
    """Read an answer's JSON object; servers written in Python may put `NaN` into it.

    Raises:
        ValueError: it is none.
    """
    check_values(body, MAX_ANSWER_VALUES)
    try:
        return http_answers.load_object(body, max_values=MAX_ANSWER_VALUES)
    except ValueError as error:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise error from None
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - readers of answers raise ValueError
    return cast("dict[str, Any]", answer)


def read_error(body: dict[str, Any], status: int, wait_s: float | None = None) -> ErrorAnswer:
    """Read the object that APIs put below `error`, or in its place."""
    message, code, kind, param = (
        as_text(body.get(name)) for name in ("message", "code", "type", "param")
    )
    # Bounded, as patterns are searched in it.
    return ErrorAnswer(status, message[:SHOWN_BYTES], code, kind, param, wait_s)


def _read_status_error(error: openai.APIStatusError, now: float) -> ErrorAnswer:
    response = error.response
    answer = read_error(as_object(error.body), error.status_code, _read_wait(response.headers, now))
    return answer if answer.message else replace(answer, message=_show_body(response))


def _show_body(response: httpx2.Response) -> str:
    return "a web page" if is_web_page(response.content) else response.text[:SHOWN_BYTES]


def _read_wait(headers: httpx2.Headers, now: float) -> float | None:
    """Read how long to wait, seconds; OpenAI and Azure may say it in milliseconds."""
    milliseconds = headers.get("retry-after-ms", "")
    if re.fullmatch(r"[0-9]{1,8}", milliseconds, re.ASCII):
        return int(milliseconds) / 1000
    return read_retry_after(headers.get("retry-after"), date=headers.get("date"), now=now)


def _lost(provider: str, error: BaseException, status: int | None) -> Unavailable:
    if isinstance(error, httpx2.DecodingError):
        return BadAnswer(provider, "a body that cannot be decompressed", status=status)
    kind = Unreachable if isinstance(error, httpx2.ConnectError) else Unavailable
    return kind(provider, f"connection lost ({type(error).__name__})", status=status)


class _BoundedStream(httpx2.AsyncByteStream):
    """The decompressed body of a response, which breaks off with an error after so many bytes."""

    def __init__(self, packed: httpx2.Response, max_bytes: int, provider: str) -> None:
        self._packed, self._max_bytes, self._provider = packed, max_bytes, provider

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._packed.aiter_bytes():
            size += len(chunk)
            if size > self._max_bytes:
                raise BadAnswer(self._provider, f"longer than {self._max_bytes:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._packed.aclose()

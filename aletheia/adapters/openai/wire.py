"""What the clients of OpenAI-compatible APIs have in common: requests, and errors in many words."""

import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeGuard, cast
from urllib.parse import urlencode

import aiohttp
from aiohttp import hdrs
from yarl import URL

from aletheia.adapters.http import Body, HttpClient, is_token, read_base_url
from aletheia.adapters.http_answers import (
    ABOUT_US,
    SHOWN_BYTES,
    Answer,
    ErrorKind,
    as_object,
    as_text,
    excerpt,
    is_web_page,
    load_json,
    make_bad_answer,
    make_error,
)
from aletheia.errors import AletheiaError, InvalidTask, Misconfigured, QuotaExhausted, Unavailable

MAX_ANSWER_BYTES: Final = 256 * 2**20
"""Longest answer that is read, bytes; 2,048 vectors of 3,072 written out are 140 MB."""

MAX_ANSWER_VALUES: Final = 16_000_000
"""Most numbers in an answer that is read: 2,048 vectors of 4,096 are 8 million."""

read_json: Final = partial(load_json, max_values=MAX_ANSWER_VALUES, reads_nan=True)
"""Reads JSON, with the `NaN` that some servers have in it; see `load_json`."""

MAX_MODEL_NAME: Final = 256

MAX_COUNTED: Final = 10**9
"""Most tokens that a count is believed to be."""

_ERRORS: Final = range(HTTPStatus.BAD_REQUEST, 600)

_STATUSES: Final[Mapping[str, int]] = {
    word: status
    for status, words in (
        (HTTPStatus.BAD_REQUEST, "invalid_request_error invalid_argument badrequesterror"),
        (HTTPStatus.BAD_REQUEST, "context_length_exceeded validation failed_precondition"),
        (HTTPStatus.UNAUTHORIZED, "invalid_api_key authentication_error unauthenticated"),
        (HTTPStatus.FORBIDDEN, "permission_error permission_denied"),
        (HTTPStatus.NOT_FOUND, "model_not_found not_found_error not_found notfounderror"),
        (HTTPStatus.TOO_MANY_REQUESTS, "insufficient_quota rate_limit_exceeded rate_limit_error"),
        (HTTPStatus.TOO_MANY_REQUESTS, "resource_exhausted too_many_requests ratelimiterror"),
        (HTTPStatus.SERVICE_UNAVAILABLE, "overloaded_error overloaded unavailable"),
    )
    for word in words.split()
}
"""What codes, types and Google's states stand for where an error came without its status."""

_SAYS_NO_MODEL: Final = re.compile(
    r"\bmodels?\b.{0,300}?\b(not exist|not found|no access|not supported for"
    r"|no longer available|been deprecated)|\b(invalid|unknown) model|not a valid model"
    r"|unexpected model name|^model: \S+$|no (endpoints found for|allowed providers)",
    re.IGNORECASE | re.DOTALL,
)
_SAYS_NO_API: Final = re.compile(
    r"unexpected endpoint|invalid url|404 page not found|no route|cannot post", re.IGNORECASE
)
_NO_ENDPOINT: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_VERSION: Final = re.compile(r"/v\d")


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What an API says when it does not do what it is asked."""

    status: int  # of HTTP; of a late one what it would have been, or 502
    message: str
    code: str = ""
    kind: str = ""  # the API's type of it
    param: str = ""  # the property that is wrong
    wait_s: float | None = None
    is_late: bool = False  # whether it came behind a 200

    @property
    def is_about_request(self) -> bool:
        """Whether it may speak of what was asked, rather than of key, account or server."""
        is_answered = self.status < HTTPStatus.INTERNAL_SERVER_ERROR or self.is_late
        return is_answered and self.status not in ABOUT_US

    @property
    def is_missing_model(self) -> bool:
        """Whether it says that there is no such model, for us at least."""
        is_said = self.code == "model_not_found" or _SAYS_NO_MODEL.search(self.message) is not None
        return is_said and self.is_about_request

    def show(self, secret: str) -> str:
        """Return the beginning of the message without the key."""
        return excerpt(self.message, secret)

    def to_error(self, provider: str, secret: str) -> AletheiaError:
        """Build the error of an answer that says nothing about the request, or nothing known."""
        is_quota = "insufficient_quota" in (self.code, self.kind)
        exceptions: dict[int, ErrorKind] = {
            HTTPStatus.PAYMENT_REQUIRED: QuotaExhausted,
            HTTPStatus.FAILED_DEPENDENCY: Unavailable,
            HTTPStatus.TOO_MANY_REQUESTS: QuotaExhausted if is_quota else Unavailable,
        }
        # The message of a 401 has parts of the key in it.
        is_key = self.status == HTTPStatus.UNAUTHORIZED
        return make_error(
            provider,
            self.status,
            excerpt(self.code, secret) if is_key else self.show(secret),
            retry_after_s=self.wait_s,
            exceptions=exceptions,
        )


class Api(HttpClient):
    """An OpenAI-compatible API at one address, with its version. Each request is sent once.

    `provider` begins its settings' names; `Misconfigured` if key or address cannot be right.
    """

    def __init__(
        self, provider: str, api_key: str, base_url: str, *, timeout_s: float = 60.0
    ) -> None:
        name = provider.upper()
        if not is_token(api_key):
            raise Misconfigured(f"{name}_API_KEY", "must be printable ASCII without spaces")
        self.key, address = api_key, f"{name}_BASE_URL"
        self.base_url = read_base_url(address, base_url)
        headers: dict[str, str] = {hdrs.AUTHORIZATION: f"Bearer {api_key}"}
        super().__init__(
            provider, address=address, timeout_s=timeout_s, headers=headers, uses_proxy=True
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        query: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> dict[str, Any] | ErrorAnswer:
        """Send one request and read the JSON object it is answered with, of at most `max_bytes`.

        Returns what the API says against the request where it does, also with a 200;
        `Misconfigured` if there is no API at the address, which names no version.
        """
        answer = await self.exchange(
            method,
            self._url(path, query),
            body=body,
            secrets=(self.key,),
            max_bytes=max_bytes,
            timeout_s=timeout_s,
        )
        if not answer.is_success:
            return self.check_address(read_refusal(answer))
        try:
            value = read_json(answer.body)
            if error := _find_error(value):
                return self.check_address(read_late_error(error))
            if not isinstance(value, dict):
                raise ValueError("not a JSON object")  # noqa: TRY004 - as all readers do
        except ValueError as error:
            self._check_version(f"it answers with {error}")
            raise make_bad_answer(self.dependency, str(error), answer.body, self.key) from None
        return cast("dict[str, Any]", value)

    def fetch(self, path: str) -> AbstractAsyncContextManager[aiohttp.StreamReader | Answer]:
        """Fetch a file piece by piece, see `HttpClient.stream`."""
        return self.stream(hdrs.METH_GET, self._url(path), secrets=(self.key,))

    def check_address(self, answer: ErrorAnswer) -> ErrorAnswer:
        """Return what the API says; `Misconfigured` if there is none at the address."""
        if answer.status in _NO_ENDPOINT and not answer.is_missing_model:
            self._check_version(f"it answers with {answer.status}")
        return answer

    def _check_version(self, seen: str) -> None:
        if not _VERSION.search(URL(self.base_url).path):
            reason = f"there is no API at {self.base_url}: {seen}; add its version, as in "
            raise Misconfigured(self.address, f"{reason}{self.base_url}/v1")

    def _url(self, path: str, query: Mapping[str, str] | None = None) -> URL:
        asked = f"?{urlencode(query)}" if query else ""
        return URL(f"{self.base_url}/{path}{asked}", encoded=True)


def check_model_name(model: str) -> str:
    """Return what may be the name of a model, which only its provider knows, or `InvalidTask`."""
    if not model or len(model) > MAX_MODEL_NAME or not model.isprintable():
        raise InvalidTask("unsupported_model", f"{model[:60]!r} is not the name of a model")
    return model


def is_count(value: object) -> TypeGuard[int]:
    """Check whether a value can be a number of tokens."""
    return type(value) is int and 0 <= value <= MAX_COUNTED


def read_refusal(answer: Answer) -> ErrorAnswer:
    """Read an answer that is no success."""
    try:
        value = read_json(answer.body)
    except ValueError:
        value = None
    said = read_error(_find_error(value) or as_object(value), answer.status, _read_wait(answer))
    if said.message:
        return said
    shown = "a web page" if is_web_page(answer.body) else answer.body.decode(errors="replace")
    return replace(said, message=shown[:SHOWN_BYTES])


def read_late_error(error: Mapping[str, Any]) -> ErrorAnswer:
    """Read an error behind a 200, with the status it would have had."""
    said = read_error(error, HTTPStatus.BAD_GATEWAY)
    status = next(filter(None, map(_read_status, map(error.get, ("code", "status", "type")))), 0)
    if not status:
        status = HTTPStatus.NOT_FOUND if _SAYS_NO_API.search(said.message) else said.status
    return replace(said, status=status, is_late=True)


def read_error(error: Mapping[str, Any], status: int, wait_s: float | None = None) -> ErrorAnswer:
    """Read the object that APIs put below `error`, or in its place."""
    message = as_text(error.get("message")) or as_text(error.get("detail"))
    kind = as_text(error.get("type")) or as_text(error.get("error_type"))
    kind = kind or as_text(error.get("status"))
    code, param = as_text(error.get("code")), as_text(error.get("param"))
    # Bounded, as patterns are searched in it.
    return ErrorAnswer(status, message[:SHOWN_BYTES], code, kind, param, wait_s)


def _find_error(value: object) -> dict[str, Any] | None:
    """Find the object of an error in an answer; Google may put it into a list."""
    entries = cast("list[object]", value)[:1] if isinstance(value, list) else [value]
    answer = as_object(next(iter(entries), None))
    if answer.get("object") == "error":
        return answer
    error = answer.get("error")
    if isinstance(error, str) and error:
        return {**answer, "message": error}
    return as_object(error) or None


def _read_status(value: object) -> int | None:
    if isinstance(value, str):
        if value.lower() in _STATUSES:
            return _STATUSES[value.lower()]
        value = int(value) if re.fullmatch(r"[0-9]{3}", value, re.ASCII) else None
    return value if type(value) is int and value in _ERRORS else None


def _read_wait(answer: Answer) -> float | None:
    """Read how long to wait, seconds; OpenAI and Azure may say it in milliseconds."""
    milliseconds = answer.headers.get("retry-after-ms", "")
    if re.fullmatch(r"[0-9]{1,8}", milliseconds, re.ASCII):
        return int(milliseconds) / 1000
    return answer.retry_after_s

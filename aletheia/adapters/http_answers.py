"""What an HTTP answer means: its status, its JSON, and what of it is safe to show."""

import codecs
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, TypeAlias, TypeVar, cast

import orjson

from aletheia.errors import BadAnswer, Conflict, NotFound, Refused, Unauthorized, Unavailable

T = TypeVar("T")

ErrorKind: TypeAlias = type[Refused] | type[Unavailable]

STATUSES: Final[Mapping[int, ErrorKind]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Unauthorized,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.REQUEST_TIMEOUT: Unavailable,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.TOO_EARLY: Unavailable,
    HTTPStatus.TOO_MANY_REQUESTS: Unavailable,
    499: Unavailable,  # nginx and Ollama: the client was gone
}
"""What statuses mean; any other 4xx is `Refused`, 5xx `Unavailable`, and 3xx `BadAnswer`."""

ABOUT_US: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""Statuses below 500 that are about key, account or time, whatever was asked."""

EXCERPT_LENGTH: Final = 200
"""Characters of an answer that an error carries."""

SHOWN_BYTES: Final = 4096
"""How much of a body an excerpt is made from."""

MAX_RETRY_AFTER_S: Final = 86_400.0
"""Longest wait that is believed, so that no answer can name one that overflows a date."""

MAX_JSON_VALUES: Final = 2_000_000
"""Most values in a JSON body that is read: each costs up to 100 bytes of memory."""

_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_WEB_PAGE: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", re.IGNORECASE)


def excerpt(body: bytes | str, *secrets: str, length: int = EXCERPT_LENGTH) -> str:
    """Return the beginning of an answer on one line, printable and without any of the secrets."""
    beginning = body[:SHOWN_BYTES]
    text = beginning if isinstance(beginning, str) else beginning.decode(errors="replace")
    shown = "".join(c if c.isprintable() else " " for c in text)
    for secret in filter(None, secrets):
        shown = shown.replace(secret, "***")
        if len(body) >= SHOWN_BYTES:
            # A secret that the cut went through is not recognised.
            shown = shown[: -len(secret)]
    return " ".join(shown.split())[:length].rstrip()


def is_success(status: int) -> bool:
    """Check whether a status is a 2xx."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def is_web_page(body: bytes) -> bool:
    """Check whether a body is HTML."""
    return _WEB_PAGE.match(body) is not None


def read_date(value: str | None) -> float | None:
    """Read an HTTP date as seconds since the epoch, `None` if it is not one."""
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def make_error(
    dependency: str,
    status: int,
    reason: str = "",
    *,
    retry_after_s: float | None = None,
    exceptions: Mapping[int, ErrorKind] | None = None,
    address: str = "",
) -> Refused | Unavailable:
    """Build the error of a status that is no success; `exceptions` differ from `STATUSES`.

    `address` is the setting that a redirection points to.
    """
    if status < HTTPStatus.BAD_REQUEST:
        advice = f"; is {address} the address it has in the end?" if address else ""
        return BadAnswer(dependency, f"{status}, which is not followed{advice}", status=status)
    default: ErrorKind = Unavailable if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Refused
    kind = {**STATUSES, **(exceptions or {})}.get(status, default)
    if issubclass(kind, Refused):
        return kind(dependency, status, reason)
    reason = f"{status}: {reason}" if reason else str(status)
    return kind(dependency, reason, retry_after_s, status)


def check_values(body: bytes, max_values: int = MAX_JSON_VALUES) -> None:
    """Raise `ValueError` if JSON unpacks to too many values; commas in strings count, too."""
    if len(body) > max_values and sum(map(body.count, (b",", b"[", b"{"))) > max_values:
        raise ValueError(f"more than {max_values:,} values")


def load_json(body: bytes, *, max_values: int = MAX_JSON_VALUES, reads_nan: bool = False) -> object:
    """Read UTF-8 JSON, however deeply nested; `ValueError` if it is none or has more values."""
    body = body.removeprefix(codecs.BOM_UTF8)
    check_values(body, max_values)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        with suppress(ValueError, RecursionError):
            if reads_nan:
                return json.loads(body)
    raise ValueError("a web page in place of JSON" if is_web_page(body) else "not JSON")


def load_object(body: bytes, *, max_values: int = MAX_JSON_VALUES) -> dict[str, Any]:
    """Read a JSON object; `ValueError` if it is none."""
    value = load_json(body, max_values=max_values)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - readers of answers raise ValueError
    return cast("dict[str, Any]", value)


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object as it is, and an empty one for everything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_text(value: object) -> str:
    """Return a string, with `?` for half surrogate pairs, and an empty one for everything else."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode(errors="replace").decode()


def make_bad_answer(
    dependency: str, reason: str, body: bytes, *secrets: str, status: int = HTTPStatus.OK
) -> BadAnswer:
    """Build the error of a success that breaks the protocol, with the beginning of its body."""
    if body and not is_web_page(body):
        reason = f"{reason}: {excerpt(body, *secrets)}"
    return BadAnswer(dependency, reason, status=status)


@dataclass(slots=True)
class Answer:
    """What a server answered, as far as it was read."""

    dependency: str  # what errors call the server
    status: int
    headers: Mapping[str, str]  # case-insensitive
    body: bytes  # the whole of it, or only the beginning where the status decides
    received_at: float  # when its headers came, seconds since the epoch
    secrets: tuple[str, ...] = ()  # what no error may show
    address: str = ""  # the setting that holds the server's address
    is_cut: bool = False  # whether only the beginning of the body was read, or came

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return is_success(self.status)

    @property
    def retry_after_s(self) -> float | None:
        """How long the server asks us to wait, seconds from 0 to `MAX_RETRY_AFTER_S`.

        By https://www.rfc-editor.org/rfc/rfc9110#field.retry-after: a date is relative to `Date`.
        """
        value = self.headers.get("Retry-After", "").strip()
        if _SECONDS.fullmatch(value):
            return min(float(value), MAX_RETRY_AFTER_S)
        until, sent = read_date(value), read_date(self.headers.get("Date"))
        if until is None:
            return None
        wait_s = until - (self.received_at if sent is None else sent)
        return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)

    def excerpt(self, text: bytes | str | None = None) -> str:
        """Return the beginning of a text, or else of the body, without secrets."""
        if text is None:
            text = b"a web page" if is_web_page(self.body) else self.body
        return excerpt(text, *self.secrets)

    def to_error(
        self, reason: str | None = None, exceptions: Mapping[int, ErrorKind] | None = None
    ) -> Refused | Unavailable:
        """Build the error that this answer means; `reason` is by default the body's beginning."""
        return make_error(
            self.dependency,
            self.status,
            self.excerpt() if reason is None else reason,
            retry_after_s=self.retry_after_s,
            exceptions=exceptions,
            address=self.address,
        )

    def read(self, read: Callable[[bytes], T]) -> T:
        """Read the body of a success; `BadAnswer` where `read` raises `ValueError`."""
        try:
            return read(self.body)
        except ValueError as error:
            reason = str(error)
            if self.address and is_web_page(self.body):
                reason += f"; is {self.address} the root of the API?"
            # Without a context: it may hold the body.
            raise make_bad_answer(
                self.dependency, reason, self.body, *self.secrets, status=self.status
            ) from None

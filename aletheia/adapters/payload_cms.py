"""The departments of an application on Payload CMS (SPEC §4, Departments).

See https://payloadcms.com/docs/rest-api/overview and https://payloadcms.com/docs/queries/pagination.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import aiohttp
import orjson
import stamina
from aiohttp import hdrs
from pydantic import ValidationError
from yarl import URL

from aletheia.adapters.answers import excerpt, read_retry_after
from aletheia.adapters.connections import connection_lost, send_once
from aletheia.adapters.embedding.remote import read_base_url
from aletheia.adapters.upstream.client import is_token
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    Misconfigured,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from aletheia.items.departments import Department, DepartmentFault, DepartmentList
from aletheia.llm.structured import explain
from aletheia.resilience.backoff import BackOff

PAYLOAD: Final = "payload"
"""What errors call the application."""

ADDRESS: Final = "NEXT_PUBLIC_APP_URL"
API_KEY: Final = "PAYLOAD_API_KEY"
COLLECTION: Final = "PAYLOAD_API_KEY_COLLECTION"
"""The settings that errors point to."""

PAGE_SIZE: Final = 100
MAX_PAGES: Final = 100
"""Ten thousand departments; who names more has pages without an end."""

MAX_PAGE_BYTES: Final = 32 * 2**20
"""Longest page that is read, bytes."""

_QUERY: Final = (
    ("where[gatherCheck][equals]", "true"),
    ("where[isActive][equals]", "true"),
    ("sort", "codeDepNumber"),
    ("limit", str(PAGE_SIZE)),
    ("depth", "0"),
)

_SLUG: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_LOGIN: Final = re.compile(
    r"\b(log[-_]?in|sign[-_]?in|oauth2?|auth|authorize|sso)\b", re.IGNORECASE
)
_WEB_PAGE: Final = re.compile(rb"\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)

_SEND_ONCE: Final = (send_once(PAYLOAD),)
_SHOWN_BYTES: Final = 4096
_SHOWN_NAMES: Final = 5


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of the answer, none of whose documents has been checked."""

    documents: list[object]
    total: int | None
    has_next: bool


@dataclass(slots=True)
class _Collected:
    """What the pages brought so far, by id where there is one."""

    documents: dict[str, object] = field(default_factory=dict[str, object])
    repeated: int = 0

    def add(self, page: _Page) -> int:
        """Take in a page; say how many of its documents are new."""
        known = len(self.documents)
        for document in page.documents:
            key = _key_of(document, len(self.documents))
            if key in self.documents:
                self.repeated += 1
            else:
                self.documents[key] = document
        return len(self.documents) - known


class PayloadDepartments:
    """Reads departments through Payload's REST API.

    Args:
        base_url: root of the application, without `/api`.
        api_key: key of a document in a collection with API keys; `None` asks without one.
        collection: slug of that collection.
        timeout_s: bound on one request, to the last byte of its answer, seconds.
        max_retries: further tries after the first, for timeouts, connection errors, 429 and 5xx.
        retry_base_s: upper end of the first back-off; doubled with each try up to 60 s.
        max_pages: most pages that are read.
        max_page_bytes: longest page that is read.
        clock: seconds since the epoch.
        draw: random number in `[0, 1)`, the share of each back-off that is waited.

    Raises:
        Misconfigured: the address, the key or the collection cannot be right.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        collection: str = "users",
        timeout_s: float = 30.0,
        max_retries: int = 3,
        retry_base_s: float = 0.5,
        max_pages: int = MAX_PAGES,
        max_page_bytes: int = MAX_PAGE_BYTES,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if api_key is not None and not is_token(api_key):
            raise Misconfigured(API_KEY, "must be printable ASCII without spaces")
        if not _SLUG.fullmatch(collection):
            raise Misconfigured(COLLECTION, "must be the slug of a collection, such as users")
        self._base_url = read_base_url(ADDRESS, base_url)
        self._key = api_key or ""
        self._headers = (
            {} if api_key is None else {hdrs.AUTHORIZATION: f"{collection} API-Key {api_key}"}
        )
        self._timeout_s = timeout_s
        self._max_retries, self._retry_base_s = max_retries, retry_base_s
        self._max_pages, self._max_page_bytes = max_pages, max_page_bytes
        self._clock, self._draw = clock, draw
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"PayloadDepartments({self._base_url!r}, ***)"

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={hdrs.ACCEPT: "application/json", hdrs.USER_AGENT: "aletheia"},
            )

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def list_departments(self) -> DepartmentList:
        """Read all departments that take part in gathering, in the order of their numbers.

        Raises:
            Unavailable: out of reach, 429 or 5xx, or too slow, after its retries.
            BadAnswer: it answers something else than pages of documents, or without an end.
            Unauthorized: it refuses the key, or sends us to a page to sign in at.
            NotFound: it has no departments.
            Misconfigured: it sends us to another address.
            Refused: any other 4xx.
        """
        collected = _Collected()
        total: int | None = None
        for number in range(1, self._max_pages + 1):
            page = await self._get(number)
            new = collected.add(page)
            total = page.total
            if not page.has_next:
                return read_departments(
                    collected.documents.values(), repeated=collected.repeated, total=total
                )
            if not new:
                reason = f"page {number} has nothing new and is said not to be the last one"
                raise BadAnswer(PAYLOAD, reason)
        raise BadAnswer(PAYLOAD, f"more than {self._max_pages} pages of departments")

    async def _get(self, number: int) -> _Page:
        """Read one page, trying again as long as that may help."""
        url = URL(f"{self._base_url}/api/departments").with_query([*_QUERY, ("page", str(number))])
        async for attempt in stamina.retry_context(
            on=BackOff(self._retry_base_s, self._draw),
            attempts=1 + self._max_retries,
            timeout=None,
        ):
            with attempt:
                return await self._try(url)
        raise AssertionError("the last try returns or raises")

    async def _try(self, url: URL) -> _Page:
        if self._session is None:
            raise RuntimeError("the client is not open")
        status: int | None = None
        try:
            async with self._session.get(
                url, headers=self._headers, allow_redirects=False, middlewares=_SEND_ONCE
            ) as response:
                status = response.status
                body = await self._read_body(response)
                headers = response.headers
        except TimeoutError:
            reason = f"no complete answer within {self._timeout_s:g} s"
            raise Unavailable(PAYLOAD, reason, status=status) from None
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(PAYLOAD, excerpt(str(error).encode())) from error
        except aiohttp.ClientResponseError as error:
            said = excerpt(error.message.encode(errors="replace"), self._key)
            raise BadAnswer(PAYLOAD, f"not HTTP: {said}", status=status) from None
        except (aiohttp.ClientError, OSError) as error:
            raise connection_lost(PAYLOAD, error, status) from error
        if status != 200:  # noqa: PLR2004
            raise self._to_error(status, body, headers)
        try:
            return read_page(body)
        except ValueError as error:
            said = excerpt(body[:_SHOWN_BYTES], self._key)
            raise BadAnswer(PAYLOAD, f"{error}: {said}", status=status) from None

    async def _read_body(self, response: aiohttp.ClientResponse) -> bytes:
        """Read an answer; of one that is no success, the beginning."""
        max_bytes = self._max_page_bytes if response.status == 200 else _SHOWN_BYTES  # noqa: PLR2004
        chunks: list[bytes] = []
        size = 0
        while chunk := await response.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                if response.status != 200:  # noqa: PLR2004
                    break
                reason = f"a page of more than {max_bytes:,} bytes"
                raise BadAnswer(PAYLOAD, reason, status=response.status)
        return b"".join(chunks)

    def _to_error(self, status: int, body: bytes, headers: Mapping[str, str]) -> AletheiaError:
        """Say what an answer means that is not a page."""
        if status < 400:  # noqa: PLR2004
            return self._to_redirect_error(status, headers.get(hdrs.LOCATION, ""))
        said = _first_error(body) or ("a web page" if _WEB_PAGE.match(body) else "")
        said = excerpt((said or body.decode(errors="replace")).encode(errors="replace"), self._key)
        if status in (408, 429) or status >= 500:  # noqa: PLR2004
            wait_s = read_retry_after(
                headers.get(hdrs.RETRY_AFTER), date=headers.get(hdrs.DATE), now=self._clock()
            )
            return Unavailable(
                PAYLOAD, f"{status}: {said}" if said else str(status), wait_s, status
            )
        if status in (401, 403):
            advice = f"check {API_KEY} and {COLLECTION}" if self._key else f"set {API_KEY}"
            return Unauthorized(PAYLOAD, status, f"{said}; {advice}" if said else advice)
        if status == 404:  # noqa: PLR2004
            advice = f"no /api/departments there; check {ADDRESS}"
            return NotFound(PAYLOAD, status, f"{said}; {advice}" if said else advice)
        return Refused(PAYLOAD, status, said)

    def _to_redirect_error(self, status: int, location: str) -> AletheiaError:
        """Say where we are sent, without a query, which may hold tokens."""
        try:
            target = URL(self._base_url).join(URL(location)).with_query(None).with_fragment(None)
            shown = excerpt(str(target.with_user(None)).encode(errors="replace"), self._key)
            is_login = _LOGIN.search(target.path) is not None
        except ValueError:
            shown, is_login = "another address", False
        if is_login:
            return Unauthorized(
                PAYLOAD, status, f"it sends us to {shown} to sign in; set {API_KEY}"
            )
        reason = f"answers {status} and sends us to {shown}; give the address it has in the end"
        return Misconfigured(ADDRESS, reason)


def read_page(body: bytes) -> _Page:
    """Read one page of documents.

    Raises:
        ValueError: it is none.
    """
    if _WEB_PAGE.match(body):
        raise ValueError(f"a web page in place of JSON; is {ADDRESS} the root of the application?")
    try:
        answer: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ValueError("not JSON") from None
    page = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
    documents, has_next, total = (page.get(name) for name in ("docs", "hasNextPage", "totalDocs"))
    if not isinstance(documents, list):
        raise ValueError("no list of docs")  # noqa: TRY004
    if not isinstance(has_next, bool):
        raise ValueError("no hasNextPage")  # noqa: TRY004
    is_count = type(total) is int and total >= 0
    return _Page(cast("list[object]", documents), total if is_count else None, has_next)


def read_departments(
    documents: Iterable[object], *, repeated: int = 0, total: int | None = None
) -> DepartmentList:
    """Check documents, leave out those that were not asked for, and put the rest in order.

    Args:
        documents: as they came.
        repeated: how many more came twice.
        total: how many there are by Payload's count.
    """
    departments: list[Department] = []
    faults: list[DepartmentFault] = []
    strangers: list[str] = []
    read = 0
    for place, document in enumerate(documents):
        read += 1
        try:
            department = Department.model_validate(document)
        except ValidationError as error:
            name = _key_of(document, place)
            faults.append(DepartmentFault(name, "invalid_department", explain(error)))
            continue
        if department.gather_check and department.is_active:
            departments.append(department)
        else:
            strangers.append(department.slug)
    departments.sort(key=_order_of)
    warnings: list[str] = []
    if strangers:
        warnings.append(f"left out, as the filter does not hold for them: {_some(strangers)}")
    if total is not None and total != read:
        warnings.append(f"{read} departments were read and {total} are said to be there")
    if repeated:
        warnings.append(f"departments that came on more than one page: {repeated}")
    return DepartmentList(tuple(departments), tuple(faults), (*warnings, *_warn_about(departments)))


def _warn_about(departments: Sequence[Department]) -> list[str]:
    warnings: list[str] = []
    if missing := [one.slug for one in departments if one.code_dep_number is None]:
        warnings.append(f"without codeDepNumber, and therefore last: {_some(missing)}")
    numbers = Counter(one.code_dep_number for one in departments)
    if equal := [
        one.slug
        for one in departments
        if one.code_dep_number is not None and numbers[one.code_dep_number] > 1
    ]:
        warnings.append(f"with a codeDepNumber of another one, in the order of ids: {_some(equal)}")
    slugs = Counter(one.slug for one in departments)
    if shared := [slug for slug, count in slugs.items() if count > 1]:
        warnings.append(f"slugs of more than one department: {_some(shared)}")
    return warnings


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(name[:60] for name in names[:_SHOWN_NAMES]) + more


def _order_of(department: Department) -> tuple[bool, int, bool, int, str]:
    """Order by number, then by id, where ids that are numbers are compared as such."""
    number, id_ = department.code_dep_number, department.id
    is_number = id_.isascii() and id_.isdigit() and len(id_) < 20  # noqa: PLR2004
    return number is None, number or 0, not is_number, int(id_) if is_number else 0, id_


def _key_of(document: object, place: int) -> str:
    """Name a document: by its id, or else by its place in the answer."""
    id_ = cast("dict[str, Any]", document).get("id") if isinstance(document, dict) else None
    if isinstance(id_, (str, int)) and not isinstance(id_, bool) and str(id_).strip():
        return str(id_).strip()[:100]
    return f"document {place + 1}"


def _first_error(body: bytes) -> str:
    """Read the message of Payload's error object."""
    try:
        answer: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    errors = cast("dict[str, Any]", answer).get("errors") if isinstance(answer, dict) else None
    first = cast("list[Any]", errors)[0] if isinstance(errors, list) and errors else None
    message = cast("dict[str, Any]", first).get("message") if isinstance(first, dict) else None
    return message if isinstance(message, str) else ""

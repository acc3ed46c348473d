"""The departments of an application on Payload CMS (SPEC §4, Departments).

See https://payloadcms.com/docs/rest-api/overview and https://payloadcms.com/docs/queries/pagination.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import hdrs
from pydantic import ValidationError
from yarl import URL

from aletheia.adapters.http import HttpClient, Retries, is_token, read_base_url
from aletheia.adapters.http_answers import Answer, as_object, as_text, load_json
from aletheia.errors import AletheiaError, BadAnswer, Misconfigured, Unauthorized
from aletheia.items.departments import Department, DepartmentList
from aletheia.llm.structured import explain

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

MAX_DOCUMENTS: Final = PAGE_SIZE * MAX_PAGES
"""Most documents of a page, whose size an application may not have heard of."""

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
_ADVICE: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: f"check {API_KEY} and {COLLECTION}",
    HTTPStatus.FORBIDDEN: f"check {API_KEY} and {COLLECTION}",
    HTTPStatus.NOT_FOUND: f"no /api/departments there; check {ADDRESS}",
}
_SHOWN_NAMES: Final = 5
_MAX_ID_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of documents, none of which has been checked."""

    documents: list[object]
    total: int | None
    has_next: bool


class PayloadDepartments:
    """Reads departments through Payload's REST API.

    `base_url`: root of the application, without `/api`. `api_key`: `None` asks without one.
    `timeout_s`: bound on one request. `max_retries`, `retry_base_s`: see `Retries`.

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
    ) -> None:
        if api_key is not None and not is_token(api_key):
            raise Misconfigured(API_KEY, "must be printable ASCII without spaces")
        if not _SLUG.fullmatch(collection):
            raise Misconfigured(COLLECTION, "must be the slug of a collection, such as users")
        self._base_url = read_base_url(ADDRESS, base_url)
        self._key = api_key or ""
        headers = {"Authorization": f"{collection} API-Key {api_key}"} if api_key else None
        self._http = HttpClient(PAYLOAD, address=ADDRESS, timeout_s=timeout_s, headers=headers)
        self._retries = Retries(max_retries, retry_base_s)

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        await self._http.open()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._http.close()

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
        documents: dict[str, object] = {}
        repeated = 0
        for number in range(1, MAX_PAGES + 1):
            page = await self._get(number)
            known = len(documents)
            for document in page.documents:
                key = _key_of(document, len(documents))
                repeated += key in documents
                documents.setdefault(key, document)
            if not page.has_next:
                listed = read_departments(documents.values(), repeated=repeated, total=page.total)
                if documents:
                    return listed
                # Payload does not tell whoever asks with a key that it does not know.
                advice = f"check {API_KEY} and {COLLECTION}" if self._key else f"set {API_KEY}"
                nothing = (
                    "Payload answers that there are none with gatherCheck and isActive; it answers "
                    f"so too where it does not know who asks: {advice}"
                )
                return replace(listed, warnings=(*listed.warnings, nothing))
            if len(documents) == known:
                reason = f"page {number} has nothing new and is said not to be the last one"
                raise BadAnswer(PAYLOAD, reason)
            if len(documents) > MAX_DOCUMENTS:
                raise BadAnswer(PAYLOAD, f"more than {MAX_DOCUMENTS:,} departments")
        raise BadAnswer(PAYLOAD, f"more than {MAX_PAGES} pages of departments")

    async def _get(self, number: int) -> _Page:
        """Read one page, trying again as long as that may help."""
        url = URL(f"{self._base_url}/api/departments").with_query([*_QUERY, ("page", str(number))])

        async def send() -> _Page:
            answer = await self._http.exchange(
                "GET", url, secrets=(self._key,), max_bytes=MAX_PAGE_BYTES
            )
            if answer.is_success:
                return answer.read(read_page)
            raise self._to_error(answer)

        return await self._retries.send(send)

    def _to_error(self, answer: Answer) -> AletheiaError:
        """Build the error of an answer that is not a page."""
        if answer.status < HTTPStatus.BAD_REQUEST:
            return self._to_redirect_error(answer)
        said = answer.excerpt(_read_first_error(answer.body) or None)
        advice = _ADVICE.get(answer.status, "")
        if advice and not self._key and answer.status != HTTPStatus.NOT_FOUND:
            advice = f"set {API_KEY}"
        return answer.to_error("; ".join(filter(None, (said, advice))))

    def _to_redirect_error(self, answer: Answer) -> AletheiaError:
        """Build the error of a redirect, without the target's query, which may hold tokens."""
        try:
            location = URL(answer.headers.get(hdrs.LOCATION, ""))
            target = URL(self._base_url).join(location).with_query(None).with_fragment(None)
            shown = answer.excerpt(str(target.with_user(None)))
            is_login = _LOGIN.search(target.path) is not None
        except ValueError:
            shown, is_login = "another address", False
        if is_login:
            reason = f"it sends us to {shown} to sign in; set {API_KEY}"
            return Unauthorized(PAYLOAD, answer.status, reason)
        reason = (
            f"answers {answer.status} and sends us to {shown}; give the address it has in the end"
        )
        return Misconfigured(ADDRESS, reason)


def read_page(body: bytes) -> _Page:
    """Read one page of documents. Raises `ValueError`: it is none."""
    # What is no text or no number is a fault of its document, not of the page.
    page = as_object(load_json(body, reads_nan=True))
    documents, has_next, total = (page.get(name) for name in ("docs", "hasNextPage", "totalDocs"))
    if not isinstance(documents, list):
        raise ValueError("no list of docs")  # noqa: TRY004 - readers of answers raise ValueError
    if len(cast("list[object]", documents)) > MAX_DOCUMENTS:
        raise ValueError(f"more than {MAX_DOCUMENTS:,} documents on a page")
    if not isinstance(has_next, bool):
        raise ValueError("no hasNextPage")  # noqa: TRY004 - as above
    is_count = type(total) is int and total >= 0
    filled = [_drop_empty(document) for document in cast("list[object]", documents)]
    return _Page(filled, total if is_count else None, has_next)


def _drop_empty(document: object) -> object:
    """Leave out the fields that were left empty; an empty `id` gives way to MongoDB's `_id`."""
    if not isinstance(document, dict):
        return document
    filled = _filled(cast("dict[str, object]", document))
    if "id" not in filled and "_id" in filled:
        filled["id"] = filled["_id"]
    if isinstance(settings := filled.get("coordinationSettings"), dict):
        filled["coordinationSettings"] = _filled(cast("dict[str, object]", settings))
    return filled


def _filled(fields: dict[str, object]) -> dict[str, object]:
    return {
        name: value
        for name, value in fields.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }


def read_departments(
    documents: Iterable[object], *, repeated: int = 0, total: int | None = None
) -> DepartmentList:
    """Check documents, leave out those that were not asked for, and put the rest in order."""
    departments: list[Department] = []
    faults: list[str] = []
    strangers: list[str] = []
    for place, document in enumerate(documents):
        try:
            department = Department.model_validate(document)
        except ValidationError as error:
            faults.append(f"{as_text(_key_of(document, place))}: {explain(error)}")
            continue
        if department.gather_check and department.is_active:
            departments.append(department)
        else:
            strangers.append(department.slug)
    departments.sort(key=_order_of)
    warnings: list[str] = []
    if strangers:
        warnings.append(f"left out, as the filter does not hold for them: {_join(strangers)}")
    read = len(departments) + len(faults) + len(strangers)
    if total is not None and total != read:
        warnings.append(f"{read} departments were read and {total} are said to be there")
    if repeated:
        warnings.append(f"departments that came on more than one page: {repeated}")
    return DepartmentList(tuple(departments), tuple(faults), (*warnings, *_warn_about(departments)))


def _warn_about(departments: Sequence[Department]) -> list[str]:
    warnings: list[str] = []
    if missing := [
        department.slug for department in departments if department.code_dep_number is None
    ]:
        warnings.append(f"without codeDepNumber, and therefore last: {_join(missing)}")
    numbers = Counter(department.code_dep_number for department in departments)
    if equal := [
        department.slug
        for department in departments
        if department.code_dep_number is not None and numbers[department.code_dep_number] > 1
    ]:
        warnings.append(f"with a codeDepNumber of another one, in the order of ids: {_join(equal)}")
    slugs = Counter(department.slug for department in departments)
    if shared := [slug for slug, count in slugs.items() if count > 1]:
        warnings.append(f"slugs of more than one department: {_join(shared)}")
    return warnings


def _join(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(name[:60] for name in names[:_SHOWN_NAMES]) + more


def _order_of(department: Department) -> tuple[bool, int, bool, int, str]:
    """Order by number, then by id, where ids that are numbers are compared as such."""
    number, id_ = department.code_dep_number, department.id
    is_number = id_.isascii() and id_.isdigit() and len(id_) <= _MAX_ID_DIGITS
    return number is None, number or 0, not is_number, int(id_) if is_number else 0, id_


def _key_of(document: object, place: int) -> str:
    """Name a document: by its id, or else by its place in the answer."""
    id_ = cast("dict[str, Any]", document).get("id") if isinstance(document, dict) else None
    if isinstance(id_, (str, int)) and not isinstance(id_, bool) and str(id_).strip():
        return str(id_).strip()[:100]
    return f"document {place + 1}"


def _read_first_error(body: bytes) -> str:
    """Read the message of Payload's error object."""
    try:
        errors = as_object(load_json(body)).get("errors")
    except ValueError:
        return ""
    first = cast("list[object]", errors)[0] if isinstance(errors, list) and errors else None
    return as_text(as_object(first).get("message"))

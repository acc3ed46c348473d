"""A Brain service over HTTP (SPEC §4, Brain): ours, or that of somebody else.

All calls may be repeated without harm, so that all are tried again after an outage.
"""

import asyncio
import io
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn, TypeVar

import aiohttp
import numpy as np
import stamina
from aiohttp import hdrs
from numpy.typing import NDArray
from yarl import URL

from aletheia.adapters.answers import excerpt, read_retry_after
from aletheia.adapters.brain.wire import (
    INVALID,
    MODEL_CHANGED,
    OTHER_MODEL,
    Call,
    Dialect,
    Said,
)
from aletheia.adapters.connections import connection_lost, send_once
from aletheia.adapters.embedding.remote import read_base_url
from aletheia.adapters.upstream.client import IDLE_CONNECTION_S, LARGE_BODY_BYTES, is_token
from aletheia.brain.index import rank_duplicates
from aletheia.brain.ports import (
    ADOPT_TIMEOUT_S,
    DUPLICATES,
    MAX_DUPLICATES,
    BrainDepartment,
    BrainItem,
    Coverage,
    DepartmentContext,
    Duplicate,
    FailedItem,
    IndexedItem,
    KnownItem,
    ModelChanged,
    OtherModel,
    Upserted,
)
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    Conflict,
    InvalidTask,
    Misconfigured,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from aletheia.resilience.backoff import BackOff
from aletheia.store.project_id import check_project_id

T = TypeVar("T")

BRAIN: Final = "brain"
"""What errors call the service."""

ADDRESS: Final = "BRAIN_SERVICE_BASE_URL"
API_KEY: Final = "BRAIN_SERVICE_API_KEY"
"""The settings that errors point to."""

BATCH_ITEMS: Final = 256
BATCH_BYTES: Final = 4 * 2**20
"""What goes into one request at most; a single item may be longer."""

DELETED_AT_ONCE: Final = 1000
"""Ids in one request to delete."""

MAX_ANSWER_BYTES: Final = 64 * 2**20
"""Longest answer that is read, bytes."""

TOO_LONG: Final = "input_too_long"
"""Code of an item that is longer than the service takes."""

_SEND_ONCE: Final = (send_once(BRAIN),)
_SHOWN_BYTES: Final = 4096
_WEB_PAGE: Final = re.compile(rb"\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)
_TOO_LARGE: Final = 413
_REFUSALS: Final = {401: Unauthorized, 403: Unauthorized, 404: NotFound, 409: Conflict}
_NOT_THERE: Final = (404, 405, 501)


class BrainService:
    """A client of a Brain service, ours or one that knows the four calls only.

    Args:
        base_url: root of the service, without `/api`; it may have a path prefix.
        api_key: what it knows us by, printable ASCII without spaces.
        model: the embedding model that vectors given here are of, with whatever else they depend
            on; a service of ours that embeds with another one refuses them. Empty says nothing.
        timeout_s: bound on one request, to the last byte of its answer, seconds; going over to
            another model has `ADOPT_TIMEOUT_S`.
        max_retries: further tries after the first, for timeouts, connection errors, 429 and 5xx.
        retry_base_s: upper end of the first back-off; doubled with each try up to 60 s.
        batch_items: most items in one request.
        batch_bytes: most bytes of items in one request, unless a single one is longer.
        max_answer_bytes: longest answer that is read.
        dialect: names of fields.
        clock: seconds since the epoch.
        draw: random number in `[0, 1)`, the share of each back-off that is waited.

    Raises:
        Misconfigured: the address or the key cannot be right.

    Attributes:
        model: the embedding model that vectors given here are of.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str,
        model: str = "",
        timeout_s: float = 30.0,
        max_retries: int = 3,
        retry_base_s: float = 0.5,
        batch_items: int = BATCH_ITEMS,
        batch_bytes: int = BATCH_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        dialect: Dialect | None = None,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if not is_token(api_key):
            raise Misconfigured(API_KEY, "must be set, as printable ASCII without spaces")
        self._base_url = read_base_url(ADDRESS, base_url)
        self._key, self.model = api_key, model
        self._is_ours = False
        self._timeout_s = timeout_s
        self._max_retries, self._retry_base_s = max_retries, retry_base_s
        self._batch_items, self._batch_bytes = batch_items, batch_bytes
        self._max_answer_bytes = max_answer_bytes
        self._dialect = dialect or Dialect()
        self._clock, self._draw = clock, draw
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"BrainService({self._base_url!r}, ***)"

    async def open(self) -> None:
        """Make ready to send; nothing is sent yet. Idempotent."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={hdrs.ACCEPT: "application/json", hdrs.USER_AGENT: "aletheia"},
            )

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[BrainItem]
    ) -> Upserted:
        """See `Brain.upsert`; in requests of bounded size, one after the other.

        After an error the items of earlier requests are indexed. Where an answer got lost and the
        request was sent again, items that are new count as updated.

        Raises:
            OtherModel: the service is ours, and embeds with another model.
        """
        check_project_id(project_id)
        written: dict[str, bytes] = {}
        failed: dict[str, str] = {}
        for item in {item.id: item for item in items}.values():
            try:
                written[item.id] = self._dialect.write_item(item)
            except InvalidTask as invalid:
                failed[item.id] = invalid.code
        created = updated = 0
        # What the service embeds itself may be of any model.
        model = self.model if any(item.vector is not None for item in items) else ""
        for ids in self._pack(written):
            done = await self._upsert(project_id, department, ids, written, model)
            created, updated = created + done.created, updated + done.updated
            failed |= {one.id: one.code for one in done.failed}
        order = dict.fromkeys((*(item.id for item in items), *failed))
        faults = tuple(FailedItem(one, failed[one]) for one in order if one in failed)
        return Upserted(created, updated, faults)

    async def find_duplicates(
        self,
        project_id: str,
        *,
        content: str | None = None,
        vector: NDArray[np.float32] | None = None,
        threshold: float,
        limit: int = DUPLICATES,
    ) -> list[Duplicate]:
        """See `Brain.find_duplicates`; what a service sends beyond that is left out.

        Raises:
            OtherModel: the service is ours, and embeds with another model.
            ValueError: threshold or limit are out of range.
        """
        check_project_id(project_id)
        if not -1 <= threshold <= 1 or not 1 <= limit <= MAX_DUPLICATES:
            raise ValueError(f"threshold {threshold!r} or limit {limit!r} is out of range")
        if vector is None and (content is None or not content.strip()):
            raise InvalidTask("missing_query", "name a text or a vector to compare with")
        call = self._dialect.find_duplicates(
            project_id, content=content, vector=vector, threshold=threshold, limit=limit
        )
        if vector is not None:
            call = self._dialect.name_model(call, self.model)
        found = await self._call(call, self._dialect.read_duplicates)
        return rank_duplicates(found, threshold=threshold, limit=limit)

    async def read_context(
        self,
        project_id: str,
        department: BrainDepartment,
        previous: Sequence[str] = (),
        *,
        max_tokens: int,
    ) -> DepartmentContext:
        """See `Brain.read_context`.

        A service of others names gaps as it can without the description, and does not hear of
        earlier departments with a comma in their slug.
        """
        check_project_id(project_id)
        return await self._ask_about(
            department,
            lambda one: self._dialect.read_context_of(
                project_id, one, previous, max_tokens=max_tokens
            ),
            lambda body: self._dialect.read_context(body, department.slug),
        )

    async def measure_coverage(
        self,
        project_id: str,
        department: BrainDepartment,
        items: Sequence[KnownItem] | None = None,
    ) -> Coverage:
        """See `Brain.measure_coverage`; a service of others has aspects of its own."""
        check_project_id(project_id)
        return await self._ask_about(
            department,
            lambda one: self._dialect.measure_coverage(project_id, one, items),
            self._dialect.read_coverage,
        )

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """See `Brain.list_items`."""
        check_project_id(project_id)
        call = self._dialect.list_items(project_id, after=after, limit=limit)
        return await self._call(call, self._dialect.read_listed, extra="list what it holds")

    async def delete(self, project_id: str, ids: Sequence[str]) -> int:
        """See `Brain.delete`."""
        check_project_id(project_id)
        deleted = 0
        for start in range(0, len(ids), DELETED_AT_ONCE):
            call = self._dialect.delete(project_id, ids[start : start + DELETED_AT_ONCE])
            deleted += await self._call(call, self._dialect.read_deleted, extra="delete items")
        return deleted

    async def keep_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """See `Brain.keep_evaluation`."""
        check_project_id(project_id)
        call = self._dialect.keep_evaluation(project_id, department, version, values)
        await self._call(call, lambda _: None, extra="keep evaluations")

    async def adopt_model(self, model: str) -> bool:
        """See `Brain.adopt_model`.

        Where the answer got lost, and the service was ready by the time it was asked again, nothing
        counts as gone.
        """
        call = self._dialect.adopt_model(model)
        return await self._call(
            call,
            self._dialect.read_adopted,
            extra="go over to another model",
            timeout_s=max(self._timeout_s, ADOPT_TIMEOUT_S),
        )

    async def _ask_about(
        self,
        department: BrainDepartment,
        ask: Callable[[BrainDepartment], Call],
        read: Callable[[bytes], T],
    ) -> T:
        """Ask about a department: a service of ours with its description, others never.

        Whose a service is shows in its answers, so that the first of all questions is put twice.
        """
        if not (department.description and self._is_ours):
            answer = await self._call(ask(replace(department, description="")), read)
            if not (department.description and self._is_ours):
                return answer
        return await self._call(ask(department), read)

    def _pack(self, written: Mapping[str, bytes]) -> Iterator[list[str]]:
        """Divide items into requests."""
        batch: list[str] = []
        size = 0
        for one, text in written.items():
            if batch and (len(batch) == self._batch_items or size + len(text) > self._batch_bytes):
                yield batch
                batch, size = [], 0
            batch.append(one)
            size += len(text)
        if batch:
            yield batch

    async def _upsert(
        self,
        project_id: str,
        department: BrainDepartment,
        ids: Sequence[str],
        written: Mapping[str, bytes],
        model: str,
    ) -> Upserted:
        """Send a batch, in halves where it is longer than the service takes."""
        call = self._dialect.upsert(project_id, department, [written[one] for one in ids])
        call = self._dialect.name_model(call, model)
        try:
            done = await self._call(call, self._dialect.read_upserted)
        except Refused as refused:
            if refused.status != _TOO_LARGE:
                raise
            if len(ids) == 1:
                return Upserted(0, 0, (FailedItem(ids[0], TOO_LONG),))
            middle = len(ids) // 2
            first = await self._upsert(project_id, department, ids[:middle], written, model)
            second = await self._upsert(project_id, department, ids[middle:], written, model)
            return Upserted(
                first.created + second.created,
                first.updated + second.updated,
                first.failed + second.failed,
            )
        if done.created + done.updated + len(done.failed) > len(ids):
            said = f"{done.created} created, {done.updated} updated, {len(done.failed)} failed"
            raise BadAnswer(BRAIN, f"of {len(ids)} items {said}")
        return done

    async def _call(
        self,
        call: Call,
        read: Callable[[bytes], T],
        *,
        extra: str = "",
        timeout_s: float | None = None,
    ) -> T:
        """Send a request, trying again as long as that may help.

        Args:
            call: the request.
            read: reads its answer; raises `ValueError` where it is none.
            extra: what is asked for beyond the specification, in words.
            timeout_s: bound on each try, where it is not the usual one.
        """
        url = URL(self._base_url + call.path).with_query(call.query)
        async for attempt in stamina.retry_context(
            on=BackOff(self._retry_base_s, self._draw),
            attempts=1 + self._max_retries,
            timeout=None,
        ):
            with attempt:
                return await self._try(call, url, read, extra, timeout_s or self._timeout_s)
        raise AssertionError("the last try returns or raises")

    async def _try(
        self, call: Call, url: URL, read: Callable[[bytes], T], extra: str, timeout_s: float
    ) -> T:
        status, body, headers = await self._exchange(call, url, timeout_s)
        if status != 200:  # noqa: PLR2004
            self._refuse(status, body, headers, extra)
        self._is_ours = self._dialect.is_ours(headers)
        if _WEB_PAGE.match(body):
            reason = f"a web page in place of JSON; is {ADDRESS} the root of the service?"
            raise BadAnswer(BRAIN, reason, status=status)
        try:
            # A large answer takes long enough to read to hold up everything else.
            if len(body) > LARGE_BODY_BYTES:
                return await asyncio.to_thread(read, body)
            return read(body)
        except ValueError as error:
            said = excerpt(body[:_SHOWN_BYTES], self._key)
            raise BadAnswer(BRAIN, f"{error}: {said}", status=status) from None

    async def _exchange(
        self, call: Call, url: URL, timeout_s: float
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Send a request once and read what matters of its answer."""
        if self._session is None:
            raise RuntimeError("the client is not open")
        headers = {**call.headers, hdrs.AUTHORIZATION: f"Bearer {self._key}"}
        if call.body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
        is_large = call.body is not None and len(call.body) > LARGE_BODY_BYTES
        status: int | None = None
        try:
            async with self._session.request(
                call.method,
                url,
                data=io.BytesIO(call.body) if is_large and call.body else call.body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                middlewares=_SEND_ONCE,
            ) as response:
                status = response.status
                return status, await self._read_body(response), response.headers
        except TimeoutError:
            reason = f"no complete answer within {timeout_s:g} s"
            raise Unavailable(BRAIN, reason, status=status) from None
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(BRAIN, excerpt(str(error).encode())) from error
        except aiohttp.ClientResponseError as error:
            said = excerpt(error.message.encode(errors="replace"), self._key)
            raise BadAnswer(BRAIN, f"not HTTP: {said}", status=status) from None
        except (aiohttp.ClientError, OSError) as error:
            raise connection_lost(BRAIN, error, status) from error

    async def _read_body(self, response: aiohttp.ClientResponse) -> bytes:
        """Read an answer; of one that is no success, the beginning."""
        is_success = response.status == 200  # noqa: PLR2004
        max_bytes = self._max_answer_bytes if is_success else _SHOWN_BYTES
        chunks: list[bytes] = []
        size = 0
        while chunk := await response.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                if not is_success:
                    break
                reason = f"an answer of more than {max_bytes:,} bytes"
                raise BadAnswer(BRAIN, reason, status=response.status)
        return b"".join(chunks)

    def _refuse(self, status: int, body: bytes, headers: Mapping[str, str], extra: str) -> NoReturn:
        """Raise what an answer means that is not a success."""
        if extra and status in _NOT_THERE:
            reason = f"the service does not offer to {extra}, which only Aletheia's own does"
            raise NotFound(BRAIN, status, reason)
        if status < 400:  # noqa: PLR2004
            reason = f"{status}, which is not followed; is {ADDRESS} the address it has in the end?"
            raise BadAnswer(BRAIN, reason, status=status)
        error = self._dialect.read_error(body)
        raise _to_our_own(status, error) or self._to_error(status, body, headers, error)

    def _to_error(
        self, status: int, body: bytes, headers: Mapping[str, str], error: Said
    ) -> AletheiaError:
        """Say what a refusal means that says nothing about what was asked."""
        raw = b"a web page" if _WEB_PAGE.match(body) else body
        said = excerpt(error.message.encode(errors="replace") or raw, self._key)
        if status in (408, 429) or status >= 500:  # noqa: PLR2004
            wait_s = read_retry_after(
                headers.get(hdrs.RETRY_AFTER), date=headers.get(hdrs.DATE), now=self._clock()
            )
            return Unavailable(BRAIN, f"{status}: {said}" if said else str(status), wait_s, status)
        advice = {401: f"check {API_KEY}", 403: f"check {API_KEY}", 404: f"check {ADDRESS}"}
        reason = "; ".join(part for part in (said, advice.get(status, "")) if part)
        return _REFUSALS.get(status, Refused)(BRAIN, status, reason)


def _to_our_own(status: int, error: Said) -> AletheiaError | None:
    """Find the error that a service of ours has translated into an answer."""
    if status == 409 and error.code in (MODEL_CHANGED, OTHER_MODEL):  # noqa: PLR2004
        kept, own, asked = (str(error.details.get(x, ""))[:200] for x in ("kept", "own", "asked"))
        is_changed = error.code == MODEL_CHANGED
        return ModelChanged(kept, asked) if is_changed else OtherModel(own, asked)
    if status in (400, 422) and error.code in INVALID:
        return InvalidTask(error.code, excerpt(error.message.encode(errors="replace")))
    return None

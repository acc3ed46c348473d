"""A Brain service over HTTP (SPEC §4, Brain): ours, or that of somebody else.

All calls may be repeated without harm, so that all are tried again after an outage.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, TypeVar

import numpy as np
from aiohttp import hdrs
from numpy.typing import NDArray
from yarl import URL

from aletheia.adapters.brain.wire import (
    INVALID,
    MODEL_CHANGED,
    OTHER_MODEL,
    Call,
    Dialect,
    Said,
)
from aletheia.adapters.http import HttpClient, Retries, is_token, read_base_url
from aletheia.adapters.http_answers import Answer, as_text
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
    InvalidTask,
    Misconfigured,
    NotFound,
    Refused,
)
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

LARGE_ANSWER_BYTES: Final = 2**20
"""From here on an answer is read in a thread: it takes long enough to delay everything else."""

_ADVICE: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: f"check {API_KEY}",
    HTTPStatus.FORBIDDEN: f"check {API_KEY}",
    HTTPStatus.NOT_FOUND: f"check {ADDRESS}",
}
_NOT_THERE: Final = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.NOT_IMPLEMENTED,
)


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
        draw: Callable[[], float] = random.random,
    ) -> None:
        if not is_token(api_key):
            raise Misconfigured(API_KEY, "must be set, as printable ASCII without spaces")
        self._base_url = read_base_url(ADDRESS, base_url)
        self._key, self.model = api_key, model
        self._is_ours = False
        self._timeout_s = timeout_s
        self._retries = Retries(max_retries, retry_base_s, draw)
        self._batch_items, self._batch_bytes = batch_items, batch_bytes
        self._max_answer_bytes = max_answer_bytes
        self._dialect = dialect or Dialect()
        authorization: dict[str, str] = {hdrs.AUTHORIZATION: f"Bearer {api_key}"}
        self._http = HttpClient(BRAIN, address=ADDRESS, timeout_s=timeout_s, headers=authorization)

    def __repr__(self) -> str:
        return f"BrainService({self._base_url!r}, ***)"

    async def open(self) -> None:
        """Make ready to send; nothing is sent yet. Idempotent."""
        await self._http.open()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._http.close()

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
            if refused.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
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

        async def send() -> T:
            answer = await self._http.exchange(
                call.method,
                url,
                body=call.body,
                headers=call.headers,
                secrets=(self._key,),
                max_bytes=self._max_answer_bytes,
                timeout_s=timeout_s,
            )
            if not answer.is_success:
                raise self._to_error(answer, extra)
            self._is_ours = self._dialect.is_ours(answer.headers)
            if len(answer.body) > LARGE_ANSWER_BYTES:
                return await asyncio.to_thread(answer.read, read)
            return answer.read(read)

        return await self._retries.send(send)

    def _to_error(self, answer: Answer, extra: str) -> AletheiaError:
        """Build the error that an answer means which is no success."""
        status = answer.status
        if extra and status in _NOT_THERE:
            reason = f"the service does not offer to {extra}, which only Aletheia's own does"
            return NotFound(BRAIN, status, reason)
        error = self._dialect.read_error(answer.body)
        reason = (answer.excerpt(error.message or None), _ADVICE.get(status, ""))
        ours = _to_our_own(answer, error)
        return ours or answer.to_error("; ".join(filter(None, reason)))


def _to_our_own(answer: Answer, error: Said) -> AletheiaError | None:
    """Find the error that a service of ours has translated into an answer."""
    if answer.status == HTTPStatus.CONFLICT and error.code in (MODEL_CHANGED, OTHER_MODEL):
        kept, own, asked = (as_text(error.details.get(x))[:200] for x in ("kept", "own", "asked"))
        is_changed = error.code == MODEL_CHANGED
        return ModelChanged(kept, asked) if is_changed else OtherModel(own, asked)
    is_invalid = answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    if is_invalid and error.code in INVALID:
        return InvalidTask(error.code, answer.excerpt(error.message))
    return None

"""A Brain service over HTTP (SPEC §4, Brain): ours, or that of somebody else.

All calls may be repeated without harm, so that all are tried again after an outage.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from yarl import URL

from aletheia.adapters.brain import dialect
from aletheia.adapters.brain.dialect import Call
from aletheia.adapters.http import HttpClient, Retries, is_token, read_base_url
from aletheia.adapters.http_answers import Answer, as_text
from aletheia.brain.access import BRAIN
from aletheia.brain.forms import rank_duplicates
from aletheia.brain.index import check_query
from aletheia.brain.ports import (
    DEFAULT_DUPLICATES,
    BrainDepartment,
    BrainItem,
    Coverage,
    DepartmentContext,
    Duplicate,
    FailedItem,
    KnownItem,
    ModelChanged,
    OtherModel,
    Upserted,
)
from aletheia.brain.wire import INVALID_CODES, TOO_LONG
from aletheia.errors import AletheiaError, BadAnswer, InvalidTask, Misconfigured, Refused
from aletheia.store.project_id import check_project_id

T = TypeVar("T")

ADDRESS: Final = "BRAIN_SERVICE_BASE_URL"
API_KEY: Final = "BRAIN_SERVICE_API_KEY"
"""The settings that errors point to."""

BATCH_ITEMS: Final = 256
BATCH_BYTES: Final = 4 * 2**20
"""Bounds on one request; a single item may be longer."""

MAX_ANSWER_BYTES: Final = 64 * 2**20

LARGE_ANSWER_BYTES: Final = 2**20
"""From here on an answer is read in a thread: it takes long enough to delay everything else."""

_MAX_NAME: Final = 200
_ADVICE: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: f"check {API_KEY}",
    HTTPStatus.FORBIDDEN: f"check {API_KEY}",
    HTTPStatus.NOT_FOUND: f"check {ADDRESS}",
}


class BrainService:
    """A client of a Brain service.

    `base_url`: its root, without `/api`; it may have a path prefix. `model`: the embedding model
    that vectors given here are of, with whatever else they depend on; a service of ours that embeds
    with another one refuses them; empty for unknown. `max_retries`, `retry_base_s`: see `Retries`.

    Raises:
        Misconfigured: the address or the key cannot be right.
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
    ) -> None:
        if not is_token(api_key):
            raise Misconfigured(API_KEY, "must be set, as printable ASCII without spaces")
        self._base_url = read_base_url(ADDRESS, base_url)
        self._key, self.model = api_key, model
        self._retries = Retries(max_retries, retry_base_s)
        self._http = HttpClient(
            BRAIN,
            address=ADDRESS,
            timeout_s=timeout_s,
            headers={"Authorization": f"Bearer {api_key}"},
        )

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
                written[item.id] = dialect.write_item(item)
            except InvalidTask as invalid:
                failed[item.id] = invalid.code
        created = updated = 0
        # What the service embeds itself may be of any model.
        model = self.model if any(item.vector is not None for item in items) else ""
        for ids in _pack(written):
            done = await self._upsert(project_id, department, ids, written, model)
            created, updated = created + done.created, updated + done.updated
            failed |= {item.id: item.code for item in done.failed}
        order = dict.fromkeys((*(item.id for item in items), *failed))
        faults = tuple(FailedItem(id_, failed[id_]) for id_ in order if id_ in failed)
        return Upserted(created, updated, faults)

    async def find_duplicates(
        self,
        project_id: str,
        *,
        content: str | None = None,
        vector: NDArray[np.float32] | None = None,
        threshold: float,
        limit: int = DEFAULT_DUPLICATES,
    ) -> list[Duplicate]:
        """See `Brain.find_duplicates`; what a service sends beyond that is left out.

        Raises:
            OtherModel: the service is ours, and embeds with another model.
        """
        check_project_id(project_id)
        check_query(content, vector, threshold, limit)
        call = dialect.find_duplicates(
            project_id,
            content=content,
            vector=vector,
            threshold=threshold,
            limit=limit,
            model=self.model,
        )
        found = await self._call(call)
        return rank_duplicates(found.duplicates, threshold=threshold, limit=limit)

    async def read_context(
        self,
        project_id: str,
        department: BrainDepartment,
        previous: Sequence[str] = (),
        *,
        max_tokens: int,
    ) -> DepartmentContext:
        """See `Brain.read_context`; the service names gaps as it can without the description."""
        check_project_id(project_id)
        call = dialect.read_context(project_id, department.slug, previous, max_tokens=max_tokens)
        return replace(await self._call(call), department=department.slug)

    async def measure_coverage(
        self,
        project_id: str,
        department: BrainDepartment,
        items: Sequence[KnownItem] | None = None,
    ) -> Coverage:
        """See `Brain.measure_coverage`; the service has aspects of its own."""
        check_project_id(project_id)
        return await self._call(dialect.measure_coverage(project_id, department.slug, items))

    async def _upsert(
        self,
        project_id: str,
        department: BrainDepartment,
        ids: Sequence[str],
        written: Mapping[str, bytes],
        model: str,
    ) -> Upserted:
        """Send a batch, in halves where it is longer than the service takes."""
        call = dialect.upsert(project_id, department, [written[id_] for id_ in ids], model)
        try:
            done = await self._call(call)
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
            counts = f"{done.created} created, {done.updated} updated, {len(done.failed)} failed"
            raise BadAnswer(BRAIN, f"of {len(ids)} items {counts}")
        return done

    async def _call(self, call: Call[T]) -> T:
        """Send a request, trying again as long as that may help."""
        url = URL(self._base_url + call.path).with_query(call.query)

        async def send() -> T:
            answer = await self._http.exchange(
                "GET" if call.body is None else "POST",
                url,
                body=call.body,
                headers=call.headers,
                secrets=(self._key,),
                max_bytes=MAX_ANSWER_BYTES,
            )
            if not answer.is_success:
                raise _to_error(answer)
            if len(answer.body) > LARGE_ANSWER_BYTES:
                return await asyncio.to_thread(answer.read, call.read)
            return answer.read(call.read)

        return await self._retries.send(send)


def _to_error(answer: Answer) -> AletheiaError:
    """Build the error that an answer means which is no success, or that a service of ours meant."""
    refusal = dialect.read_refusal(answer.body)
    if answer.status == HTTPStatus.CONFLICT:
        kept, own, asked = (
            as_text(refusal.details.get(name))[:_MAX_NAME] for name in ("kept", "own", "asked")
        )
        if refusal.code == ModelChanged.code:
            return ModelChanged(kept, asked)
        if refusal.code == OtherModel.code:
            return OtherModel(own, asked)
    is_invalid = answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    if is_invalid and refusal.code in INVALID_CODES:
        return InvalidTask(refusal.code, answer.excerpt(refusal.message))
    reason = (answer.excerpt(refusal.message or None), _ADVICE.get(answer.status, ""))
    return answer.to_error("; ".join(filter(None, reason)))


def _pack(written: Mapping[str, bytes]) -> Iterator[list[str]]:
    """Divide items into requests."""
    batch: list[str] = []
    size = 0
    for item_id, text in written.items():
        if batch and (len(batch) == BATCH_ITEMS or size + len(text) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item_id)
        size += len(text)
    if batch:
        yield batch

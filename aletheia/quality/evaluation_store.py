"""Requests and results of evaluations, as they are stored (SPEC §4, Evaluation).

A request is stored before anything runs, so that one that never got a run can be found. Each set of
item ids is evaluated once, unless it is forced, and by one run at a time.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update, Where
from aletheia.items.departments import Department
from aletheia.quality.evaluation import evaluation_id, version_of
from aletheia.store.backoff import Backoff
from aletheia.store.clock import SYSTEM_CLOCK, Clock, TimeUnit, moment
from aletheia.store.lease import DEFAULT_SKEW_S, Leases, LeaseTerms

EVALUATIONS: Final = "aletheia_evaluations"
REQUESTS: Final = "aletheia_evaluation_requests"

LEASE_S: Final = 60.0
"""How long a request stays that of a run that died, seconds; as a project does (SPEC §4)."""

POLL_EVERY_S: Final = 1.0
"""Between two polls of a request that another run works on, seconds."""

UNJUDGED: Final = "unjudged"
"""Whether judges were asked for a stored evaluation and none gave an answer that counts."""

AGAIN: Final = Backoff(base_s=900.0, max_s=6 * 3_600.0, jitter=0)
"""How long after an evaluation without judges it is done again, longer with each attempt."""

MAX_ATTEMPTS: Final = 12
"""Attempts at an evaluation that nobody asked for; they last two days."""

PLAIN_VALUES: Final = ("score", "threshold", "items", "evaluated_at", "attempt", "mock")
"""What of an evaluation is plain enough for the Brain."""


def choose_plain(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the Brain keeps of a stored evaluation."""
    return {name: evaluation[name] for name in PLAIN_VALUES if evaluation.get(name) is not None}


def has_no_judge(evaluation: Mapping[str, Any]) -> bool:
    """Return whether judges were asked for an evaluation and none of them gave a score."""
    judge: Mapping[str, Any] = evaluation.get("judge") or {}
    return bool(judge.get("asked")) and not judge.get("votes")


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """A version of a department that is to be evaluated."""

    project_id: str
    department: str  # its slug
    department_number: int | None  # its place in the order of departments, if it has one
    version: str  # of its items, see `version_of`
    user_id: str
    is_auto: bool  # whether a gather run asked
    attempt: int  # from 1; each forced request is one more
    requested_at: datetime  # when, in UTC
    run_id: str | None = None  # the run that does it; `None` as long as none is known

    @property
    def key(self) -> str:
        """Idempotency key of the run: `eval:{project}:{department}:{version}`.

        A forced attempt has its number behind it, or Prefect would answer with the run before.
        """
        evaluation = evaluation_id(self.project_id, self.department, self.version)
        return _name_attempt(evaluation, self.attempt)

    def to_document(self) -> Document:
        """Return it as it is stored, not leased."""
        document = {**asdict(self), "_id": self.key, "requested_at": self.requested_at.isoformat()}
        document["auto"] = document.pop("is_auto")
        return {**document, "holder": "", "lease_until": 0}

    @classmethod
    def from_document(cls, document: Document) -> "EvaluationRequest":
        """Return what `to_document` wrote."""
        values: dict[str, Any] = {field.name: document.get(field.name) for field in fields(cls)}
        values["is_auto"] = document["auto"]
        values["requested_at"] = datetime.fromisoformat(document["requested_at"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class EvaluationOrder:
    """A request with what it was asked for: the department as it was, and its sorted item ids."""

    request: EvaluationRequest
    department: Department
    item_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Requested:
    """The request that counts, new or not; where its evaluation is stored, no run is needed."""

    request: EvaluationRequest
    stored: Document | None


class EvaluationStore:
    """Requests and results of one project.

    `announce` records, before a result is saved, that the Brain is to get it.
    """

    def __init__(
        self,
        documents: Documents,
        project_id: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
        announce: Callable[[EvaluationRequest], Awaitable[None]] | None = None,
    ) -> None:
        self._documents, self._project_id, self._clock = documents, project_id, clock
        terms = LeaseTerms(LEASE_S, DEFAULT_SKEW_S, unit=TimeUnit.SECONDS)
        self._leases = Leases(documents, REQUESTS, terms, clock=clock)
        self._announce = announce

    async def open(self) -> None:
        """Create the indices. Idempotent."""
        await self._documents.ensure_index(REQUESTS, ["project_id", "run_id"])
        await self._documents.ensure_index(REQUESTS, ["run_id", "requested_at"])
        await self._documents.ensure_index(EVALUATIONS, ["project_id", "department"])
        await self._documents.ensure_index(EVALUATIONS, [UNJUDGED, "evaluated_at"])

    async def request(
        self,
        department: Department,
        item_ids: Sequence[str],
        *,
        user_id: str,
        is_auto: bool,
        is_forced: bool = False,
        run_id: str | None = None,
    ) -> Requested:
        """Store that a department is to be evaluated with these items, before anything runs.

        A second request for the same version is the first one; forced, it is a new attempt, unless
        the last one has not begun yet, and so is one whose result no judge has contributed to.
        `run_id` names the run that asks and will do it; a request
        that has none yet becomes its own.
        """
        version = version_of(item_ids)
        stored = await self.find(department.slug, version)
        last = await self._last_attempt(department.slug, version)
        done = 0 if stored is None else int(stored["attempt"])
        is_begun = last is not None and (last.run_id is not None or last.attempt <= done)
        is_unjudged = stored is not None and has_no_judge(stored)
        is_wanted = is_forced or (is_unjudged and last is not None and last.attempt <= done)
        if last is not None and not (is_wanted and is_begun):
            if run_id is not None:
                await self.mark_started(last, run_id)
            return Requested(last, stored if last.attempt <= done else None)
        request = EvaluationRequest(
            project_id=self._project_id,
            department=department.slug,
            department_number=department.code_dep_number,
            version=version,
            user_id=user_id,
            is_auto=is_auto,
            attempt=1 + (0 if last is None else last.attempt),
            requested_at=moment(self._clock.now()),
            run_id=run_id,
        )
        ordered = {
            "department": department.model_dump(mode="json"),
            "item_ids": sorted(set(item_ids)),
        }
        document = {**request.to_document(), "payload": json.dumps(ordered).encode()}
        await self._documents.insert(REQUESTS, [document])
        # Somebody else may have written the same attempt meanwhile: theirs is the one that counts.
        stored = await self._documents.get(REQUESTS, [request.key])
        return Requested(EvaluationRequest.from_document(stored[request.key]), None)

    async def find_order(self, key: str) -> EvaluationOrder | None:
        """Return a request of this project by its key, with its items; `None` if unknown."""
        found = await self._documents.get(REQUESTS, [key], with_payload=True)
        document = found.get(key)
        if document is None or document["project_id"] != self._project_id:
            return None
        ordered = json.loads(document["payload"])
        department = Department.model_validate(ordered["department"])
        request = EvaluationRequest.from_document(document)
        return EvaluationOrder(request, department, tuple(ordered["item_ids"]))

    async def find_key(self, run_id: str) -> str | None:
        """Return the key of the request that a run is known to do."""
        where = {"project_id": self._project_id, "run_id": run_id}
        found = await self._documents.find(REQUESTS, where, limit=1)
        return found[0]["_id"] if found else None

    async def mark_started(self, request: EvaluationRequest, run_id: str) -> None:
        """Note which run does a request. A second time changes nothing."""
        change = Change(set={"run_id": run_id})
        await self._documents.update(REQUESTS, [Update(request.key, change, {"run_id": None})])

    async def list_without_run(self, *, limit: int = 100) -> list[EvaluationRequest]:
        """List the oldest requests no run is known for, in the order of their departments."""
        return await _list_without_run(self._documents, {"project_id": self._project_id}, limit)

    @asynccontextmanager
    async def holding(
        self, request: EvaluationRequest, run_id: str
    ) -> AsyncGenerator[Document | None]:
        """Lease a request, and yield its evaluation if there is one by now.

        A further attempt of the run that holds it goes on at once; another run waits until there
        is a result, or the lease has run out.
        """
        while (lease := await self._leases.take(request.key, run_id)) is None:
            if (stored := await self.find_result(request)) is not None:
                yield stored
                return
            await asyncio.sleep(POLL_EVERY_S)
        async with lease.hold():
            yield await self.find_result(request)

    async def save(self, request: EvaluationRequest, evaluation: Document) -> Document:
        """Store the result of a request, see `evaluate_items`; return what is stored now.

        A result of the same or a later attempt stays as it is. An evaluation of something else than
        was asked for is a `ValueError`.
        """
        asked = evaluation_id(request.project_id, request.department, request.version)
        if evaluation["_id"] != asked:
            raise ValueError(f"{evaluation['_id']!r} was evaluated, {asked!r} was asked for")
        document = {
            **evaluation,
            "department_number": request.department_number,
            "attempt": request.attempt,
            "user_id": request.user_id,
            "auto": request.is_auto,
            "evaluated_at": moment(self._clock.now()).isoformat(),
            UNJUDGED: has_no_judge(evaluation),
        }
        if self._announce is not None:
            await self._announce(request)
        if not await self._documents.insert(EVALUATIONS, [document]):
            change = Change(set={name: value for name, value in document.items() if name != "_id"})
            earlier = {"attempt": {"$lt": request.attempt}}
            await self._documents.update(EVALUATIONS, [Update(asked, change, earlier)])
        return (await self._documents.get(EVALUATIONS, [asked]))[asked]

    async def find(self, department: str, version: str) -> Document | None:
        """Return the evaluation of a version of a department, by its slug."""
        name = evaluation_id(self._project_id, department, version)
        return (await self._documents.get(EVALUATIONS, [name])).get(name)

    async def find_result(self, request: EvaluationRequest) -> Document | None:
        """Return the result of a request, or of a later one for the same version."""
        stored = await self.find(request.department, request.version)
        return None if stored is None or int(stored["attempt"]) < request.attempt else stored

    async def _last_attempt(self, department: str, version: str) -> EvaluationRequest | None:
        where = {"project_id": self._project_id, "department": department, "version": version}
        found = await self._documents.find(
            REQUESTS, where, sort="attempt", descending=True, limit=1
        )
        return EvaluationRequest.from_document(found[0]) if found else None


async def list_unjudged(
    documents: Documents, *, clock: Clock = SYSTEM_CLOCK, limit: int = 100
) -> list[tuple[str, str]]:
    """List evaluations without a judge that are due again: the project and key of their requests.

    Only the newest evaluation of a department counts. The one that waits longest comes first.
    """
    await documents.ensure_index(EVALUATIONS, [UNJUDGED, "evaluated_at"])
    where = {UNJUDGED: True, "attempt": {"$lt": MAX_ATTEMPTS}}
    due: list[tuple[str, str]] = []
    for found in await documents.find(EVALUATIONS, where, sort="evaluated_at", limit=limit):
        attempt, project_id = int(found["attempt"]), str(found["project_id"])
        at = datetime.fromisoformat(found["evaluated_at"])
        if clock.unix_s() < at.timestamp() + AGAIN.window_s(attempt):
            continue
        if await _is_newest(documents, found):
            due.append((project_id, _name_attempt(found["_id"], attempt)))
        else:
            # Another version has taken its place; it stays as it is.
            forgotten = Update(found["_id"], Change(set={UNJUDGED: False}))
            await documents.update(EVALUATIONS, [forgotten])
    return due


async def _is_newest(documents: Documents, evaluation: Document) -> bool:
    """Return whether no other version of its department was evaluated later."""
    where = {name: evaluation[name] for name in ("project_id", "department")}
    newest = await documents.find(EVALUATIONS, where, sort="evaluated_at", descending=True, limit=1)
    return newest[0]["_id"] == evaluation["_id"]


def _name_attempt(evaluation: str, attempt: int) -> str:
    """Return the key of a request by the id of its evaluation; see `EvaluationRequest.key`."""
    return f"eval:{evaluation}" if attempt == 1 else f"eval:{evaluation}:{attempt}"


async def list_lost_requests(
    documents: Documents, *, before: datetime, limit: int = 100
) -> list[EvaluationRequest]:
    """List the oldest requests of all projects, made before a time, no run is known for.

    They come project by project, the one that has waited longest first, as in `list_without_run`.
    """
    await documents.ensure_index(REQUESTS, ["run_id", "requested_at"])
    where = {"requested_at": {"$lt": before.isoformat()}}
    return await _list_without_run(documents, where, limit)


async def _list_without_run(
    documents: Documents, where: Where, limit: int
) -> list[EvaluationRequest]:
    waiting = {**where, "run_id": None}
    found = await documents.find(REQUESTS, waiting, sort="requested_at", limit=limit)
    requests = list(map(EvaluationRequest.from_document, found))
    projects = list(dict.fromkeys(request.project_id for request in requests))

    def place_of(request: EvaluationRequest) -> tuple[int, bool, int]:
        number = request.department_number
        return projects.index(request.project_id), number is None, number or 0

    return sorted(requests, key=place_of)

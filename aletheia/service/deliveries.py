"""Webhooks that were sent to us: each kept once, however often it comes, and starting one run.

A delivery is written before anything is started, under the sender's own id. Whoever has its lease
starts the run, with an idempotency key made of that id and of what was drawn when the delivery was
written, so that a crash at any point, copies at several processes, and a sender that tries again
all end in the same run, and an id that comes again once its delivery is gone starts another.
"""

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import orjson

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import AletheiaError
from aletheia.service.paging import Order, read_page
from aletheia.service.parts import Part
from aletheia.service.ports import Orchestrator
from aletheia.service.purging import purge_all
from aletheia.service.refusals import ServiceError
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds, moment
from aletheia.store.lease import Lease, Leases, LeaseTerms

log = logging.getLogger(__name__)

DELIVERIES: Final = "aletheia_hook_deliveries"
SIGNATURES: Final = "aletheia_hook_signatures"

LEASE_S: Final = 30.0
START_WITHIN_S: Final = 20.0
"""How long a copy waits for the run that another process starts, seconds."""

SIGNATURES_KEPT_S: Final = 900.0
"""How long signatures are remembered: longer than any of them is good."""

MAX_MESSAGE_CHARS: Final = 300

_POLL_EVERY_S: Final = 0.5
_DIGITS: Final = 24


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook that was sent to us."""

    id: str
    hook: str
    key: str  # the sender's id
    deployment: str
    received_at: datetime
    copies: int  # how often it came again
    run_id: str | None  # of the run that it started
    state: str  # `received`, `started` or `failed`
    code: str  # why it could not be started; empty if nothing failed
    message: str
    replays: int  # how often it was started anew
    replayed_run_id: str | None  # of the last of those


class Deliveries:
    """The deliveries of one store."""

    def __init__(
        self,
        documents: Documents,
        orchestrator: Part[Orchestrator],
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._documents, self._orchestrator, self._clock = documents, orchestrator, clock
        self._terms = LeaseTerms(LEASE_S)
        self._leases = Leases(documents, DELIVERIES, self._terms, clock=clock)
        self._starting: dict[str, asyncio.Task[Document]] = {}

    async def prepare(self) -> None:
        """Make listing and purging fast."""
        await self._documents.ensure_index(DELIVERIES, ["received_at"])
        await self._documents.ensure_index(SIGNATURES, ["at"])

    async def accept(
        self, hook: str, deployment: str, parameters: Mapping[str, Any], *, key: str, signature: str
    ) -> tuple[Delivery, bool]:
        """Keep a delivery and start its run; return it, and whether it is the first of its copies.

        Raises:
            ServiceError: 409 `replayed_signature`: what was signed came under another key before;
                409 `idempotency_key_reused`: something else came under this key.
            Unavailable, Misconfigured, InvalidTask: as `Orchestrator.start`. The delivery is kept.
        """
        id_ = f"{hook}-{hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]}"
        await self._note_signature(signature, id_)
        text = orjson.dumps(dict(parameters), option=orjson.OPT_SORT_KEYS).decode()
        fresh: Document = {
            "_id": id_,
            "hook": hook,
            "nonce": uuid.uuid4().hex,  # keys of runs last longer than deliveries and stores
            "key": key,
            "deployment": deployment,
            "parameters": text,
            "received_at": self._clock.now(),
            "copies": 0,
            "run_id": None,
            "state": "received",
            "code": "",
            "message": "",
            "replays": 0,
            "replayed_run_id": None,
            **self._terms.released,
        }
        is_first = bool(await self._documents.insert(DELIVERIES, [fresh]))
        if not is_first:
            await self._note_copy(id_, text)
        return _read(await self._ensure_started(id_)), is_first

    async def newest(self, *, limit: int, cursor: str | None) -> tuple[list[Delivery], str | None]:
        """Return a page of the deliveries, newest first, and the cursor of the next one."""
        found, following = await read_page(
            self._documents, DELIVERIES, {}, Order("received_at"), limit=limit, cursor=cursor
        )
        return list(map(_read, found)), following

    async def replay(self, id_: str, *, key: str) -> Delivery:
        """Start a delivery anew, by a run of its own; one that never started, by its first run.

        A second replay with a key returns the run of the first, while that is the last one.
        Raises 404 `not_found`, and as `accept`.
        """
        found = (await self._documents.get(DELIVERIES, [id_])).get(id_)
        if found is None:
            raise ServiceError(HTTPStatus.NOT_FOUND, "not_found", "there is no such delivery")
        if found["run_id"] is None:
            # By its own key: what the sender sends again is this run, too.
            return _read(await self._ensure_started(id_))
        digest = hashlib.sha256(key.encode()).hexdigest()
        run_id = await self._start_run(found, f"replay:{digest}")
        change = Change(set={"replayed_run_id": run_id}, increase={"replays": 1})
        while found["replayed_run_id"] != run_id:
            seen = {"_id": id_, "replayed_run_id": found["replayed_run_id"]}
            noted = await self._documents.take(DELIVERIES, seen, change)
            if noted is not None:
                return _read(noted)
            gone = {**found, "replayed_run_id": run_id}
            found = (await self._documents.get(DELIVERIES, [id_])).get(id_, gone)
        return _read(found)

    async def purge(self, older_than_s: float) -> int:
        """Delete old deliveries and signatures; return how many."""
        old = {"received_at": {"$lt": self._clock.now() - microseconds(older_than_s)}}
        past = {"at": {"$lt": self._clock.now() - microseconds(SIGNATURES_KEPT_S)}}
        gone = await purge_all(self._documents, SIGNATURES, past)
        return gone + await purge_all(self._documents, DELIVERIES, old)

    async def _note_signature(self, signature: str, id_: str) -> None:
        """Remember what a signature came with: it says nothing of the address or the key."""
        name = hashlib.sha256(signature.encode()).hexdigest()
        document: Document = {"_id": name, "delivery": id_, "at": self._clock.now()}
        if await self._documents.insert(SIGNATURES, [document]):
            return
        found = (await self._documents.get(SIGNATURES, [name])).get(name, document)
        if found["delivery"] != id_:
            message = "this body was sent, as it is signed, under another key or to another hook"
            raise ServiceError(HTTPStatus.CONFLICT, "replayed_signature", message)

    async def _note_copy(self, id_: str, text: str) -> None:
        where = {"parameters": text}
        update = Update(id_, Change(increase={"copies": 1}), where)
        if not (await self._documents.update(DELIVERIES, [update]))[0]:
            message = "something else was sent under this key"
            raise ServiceError(HTTPStatus.CONFLICT, "idempotency_key_reused", message)

    async def _ensure_started(self, id_: str) -> Document:
        """Start the run of a delivery, unless it is; all that wait here share an attempt."""
        attempt = self._starting.get(id_)
        if attempt is None:
            attempt = self._starting[id_] = asyncio.create_task(self._start(id_))
            attempt.add_done_callback(lambda _: self._starting.pop(id_, None))
        return await asyncio.shield(attempt)

    async def _start(self, id_: str) -> Document:
        deadline = self._clock.steady_s() + START_WITHIN_S
        while self._clock.steady_s() < deadline:
            found = (await self._documents.get(DELIVERIES, [id_])).get(id_)
            if found is None:
                break
            if found["run_id"] is not None:
                return found
            if (lease := await self._leases.take(id_, seen=found)) is not None:
                return await self._start_leased(lease)
            await asyncio.sleep(_POLL_EVERY_S)
        message = "another process is starting its run; try again"
        headers = {"Retry-After": "5"}
        raise ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "too_busy", message, headers)

    async def _start_leased(self, lease: Lease) -> Document:
        async with lease.hold():
            try:
                run_id = await self._start_run(lease.document, "first")
            except AletheiaError as error:
                said = str(error)[:MAX_MESSAGE_CHARS]
                await lease.write({"state": "failed", "code": error.code, "message": said})
                raise
            started = {"run_id": run_id, "state": "started", "code": "", "message": ""}
            await lease.write(started)
            return {**lease.document, **started}

    async def _start_run(self, delivery: Document, which: str) -> str:
        orchestrator = await self._orchestrator.get()
        key = f"hook:{delivery['_id']}:{delivery['nonce']}:{which}"
        parameters: dict[str, Any] = orjson.loads(delivery["parameters"])
        return await orchestrator.start(delivery["deployment"], parameters, idempotency_key=key)


def _read(document: Document) -> Delivery:
    return Delivery(
        id=document["_id"],
        hook=document["hook"],
        key=document["key"],
        deployment=document["deployment"],
        received_at=moment(int(document["received_at"])),
        copies=int(document["copies"]),
        run_id=document["run_id"],
        state=document["state"],
        code=document["code"],
        message=document["message"],
        replays=int(document["replays"]),
        replayed_run_id=document["replayed_run_id"],
    )

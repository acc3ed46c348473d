"""Circuit breakers that all processes share and restarts keep (SPEC §1, Resilience).

One document per dependency says how many calls in a row failed, and when the last of them did:

    closed     fewer failures than the threshold; every call is admitted
    open       as many as that, the last one less than the cooldown ago; no call is admitted
    half-open  as many, but longer ago; one call, the probe, is admitted and has a lease

The probe closes the breaker or opens it again. Each change is one conditional write. The outcome
of a call that was admitted before the breaker last closed is ignored.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    BreakerOpen,
    QuotaExhausted,
    Refused,
    Unavailable,
)
from aletheia.metrics import BREAKER_OPENINGS
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds, moment
from aletheia.store.lease import Lease, Leases, LeaseTerms

log = logging.getLogger(__name__)

BREAKERS: Final = "aletheia_breakers"

PROBE_LEASE_S: Final = 180.0
"""How long a probe may take, seconds; longer than any single call takes."""

PROBE_RETRY_S: Final = 5.0
"""How soon a call that is refused because of a probe under way may ask again, seconds."""

MAX_REASON_CHARS: Final = 300

PROBING: Final = ContextVar("probing", default=False)
"""Whether the call under way is a probe, which is sent once: no client tries it again by itself."""


class State(StrEnum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Permit:
    """An admitted call, whose outcome has to be recorded."""

    dependency: str
    generation: int  # how often the breaker had closed before
    probe: Lease | None = None


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The state of a breaker."""

    dependency: str
    state: State
    failures: int
    until: datetime | None  # when an open one lets a call try, or a probe's lease ends
    reason: str  # what the last failure said, empty after a success
    generation: int = 0  # how often it has closed


def is_breaker_failure(error: BaseException) -> bool:
    """Return whether an error counts against health: timeouts, lost connections and 5xx do."""
    if not isinstance(error, Unavailable):
        return False
    if error.status is None:
        return not isinstance(error, BadAnswer | QuotaExhausted)
    return error.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def is_answer(error: BaseException) -> bool:
    """Return whether an error shows that the dependency is there and answers."""
    return isinstance(error, Refused | Unavailable) and not is_breaker_failure(error)


class CircuitBreaker:
    """The breakers of one store.

    `threshold` failures in a row open one for `cooldown_s` seconds; at most twice as long after a
    clock jumps back. A probe may take `probe_lease_s` before another one is admitted.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        threshold: int,
        cooldown_s: float,
        probe_lease_s: float = PROBE_LEASE_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._documents = documents
        self._threshold = threshold
        self._cooldown = microseconds(cooldown_s)
        self._clock = clock
        self._terms = LeaseTerms(probe_lease_s, owner="probe", until="probe_until")
        self._probes = Leases(documents, BREAKERS, self._terms, clock=clock)

    @asynccontextmanager
    async def guarding(self, dependency: str) -> AsyncGenerator[Permit]:
        """Admit one call, or raise `BreakerOpen`, and record its outcome."""
        permit = await self.admit(dependency)
        async with self.recording(permit):
            yield permit

    @asynccontextmanager
    async def recording(
        self,
        permit: Permit,
        *,
        spares: Callable[[BaseException], bool] = lambda _: False,
        is_first: bool = False,
    ) -> AsyncGenerator[None]:
        """Record the outcome of an admitted call; if that fails it is logged.

        A failure that `spares` holds for shows nothing; with `is_first` there is more of the call
        to come unless this fails.
        """
        before = PROBING.get()
        PROBING.set(before or permit.probe is not None)
        try:
            yield
        except BaseException as error:
            if is_breaker_failure(error) and not spares(error):
                await self._record(permit, self.fail(permit, str(error)))
            elif is_answer(error) and not is_first:
                await self._record(permit, self.succeed(permit))
            else:
                await self._record(permit, self.abandon(permit))
            raise
        finally:
            PROBING.set(before)
        if not is_first:
            await self._record(permit, self.succeed(permit))

    async def check(self, dependency: str) -> None:
        """Raise `BreakerOpen` if no call may be admitted now."""
        self._refuse(self._state_of(await self._read(dependency)))

    async def admit(self, dependency: str) -> Permit:
        """Admit a call, which is to `succeed`, `fail` or `abandon`, or raise `BreakerOpen`."""
        while True:
            document = await self._read(dependency)
            found = self._state_of(document)
            if found.state is State.CLOSED:
                return Permit(dependency, document["generation"])
            self._refuse(found)
            seen = {name: document[name] for name in ("generation", "failed_at")}
            probe = await self._probes.take(dependency, seen=document, where=seen)
            if probe is not None:
                return Permit(dependency, document["generation"], probe)

    async def succeed(self, permit: Permit) -> None:
        """Record that a call was answered: failures in a row end here."""
        healthy: dict[str, Any] = {"failures": 0, "reason": ""}
        if permit.probe is not None:
            if await permit.probe.release(healthy, increase={"generation": 1}):
                log.warning("the breaker of %s is closed again", permit.dependency)
            return
        document = await self._read(permit.dependency)
        if 0 < document["failures"] < self._threshold:
            where = {"generation": permit.generation, "failures": {"$lt": self._threshold}}
            update = Update(permit.dependency, Change(set=healthy), where)
            await self._documents.update(BREAKERS, [update])

    async def fail(self, permit: Permit, reason: str) -> None:
        """Record that a call failed, with what it said."""
        failure = {"failed_at": self._clock.now(), "reason": reason[:MAX_REASON_CHARS]}
        if permit.probe is not None:
            if await permit.probe.release(failure):
                self._documents.note(BREAKER_OPENINGS.add(permit.dependency))
                log.warning("the breaker of %s stays open: %s", permit.dependency, reason)
            return
        where = {
            "_id": permit.dependency,
            "generation": permit.generation,
            "failures": {"$lt": self._threshold},
        }
        change = Change(set=failure, increase={"failures": 1})
        after = await self._documents.take(BREAKERS, where, change)
        if after is None:
            await self._documents.insert(BREAKERS, [self._new_document(permit.dependency)])
            after = await self._documents.take(BREAKERS, where, change)
        if after is not None and after["failures"] >= self._threshold:
            self._documents.note(BREAKER_OPENINGS.add(permit.dependency))
            log.error("the breaker of %s is open: %s", permit.dependency, reason)

    async def abandon(self, permit: Permit) -> None:
        """Record that a call ended without showing anything, so that another may be the probe."""
        if permit.probe is not None:
            await permit.probe.release()

    async def states(self) -> list[BreakerState]:
        """Return the states of all breakers that ever counted a failure."""
        return [self._state_of(document) for document in await self._documents.find(BREAKERS, {})]

    async def _read(self, dependency: str) -> Document:
        found = await self._documents.get(BREAKERS, [dependency])
        return found.get(dependency) or self._new_document(dependency)

    def _state_of(self, document: Document) -> BreakerState:
        failures, now = int(document["failures"]), self._clock.now()
        state, until = State.CLOSED, None
        if failures >= self._threshold:
            state = State.HALF_OPEN
            failed_at = int(document["failed_at"])
            # A moment far ahead of the clock is none to wait for: the clock has been moved back.
            if abs(now - failed_at) < self._cooldown:
                state, until = State.OPEN, moment(failed_at + self._cooldown)
            elif not self._probes.is_free(document):
                until = moment(self._terms.end_of(document))
        generation = int(document["generation"])
        return BreakerState(document["_id"], state, failures, until, document["reason"], generation)

    def _refuse(self, found: BreakerState) -> None:
        """Raise `BreakerOpen` for a breaker that admits no call now."""
        if found.until is None:
            return
        until = found.until
        if found.state is State.HALF_OPEN:
            # A probe is done long before its lease runs out.
            soon = moment(self._clock.now() + microseconds(PROBE_RETRY_S))
            until = min(until, soon)
        raise BreakerOpen(found.dependency, until)

    async def _record(self, permit: Permit, outcome: Awaitable[None]) -> None:
        try:
            await outcome
        except AletheiaError as error:
            name = permit.dependency
            log.warning("the outcome of a call to %s could not be written: %s", name, error)

    def _new_document(self, dependency: str) -> Document:
        counts = {"failures": 0, "generation": 0, "failed_at": 0, "reason": ""}
        return {"_id": dependency, **counts, **self._terms.released}

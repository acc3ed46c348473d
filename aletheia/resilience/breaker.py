"""Circuit breakers that all processes share and restarts keep (SPEC §1, Resilience).

One document per dependency says how many calls in a row failed, and when the last of them did.
Everything else follows from it and the clock:

    closed     fewer failures than the threshold; every call is admitted
    open       as many as that, the last one less than the cooldown ago; no call is admitted
    half-open  as many, but longer ago; one call, the probe, is admitted and holds a lease

The probe closes the breaker or opens it again; if it says nothing, its lease runs out. Each change
is one conditional write, so no crash leaves a breaker between two states. A call that was admitted
before the breaker last closed has no say any more: it belongs to an older generation.
"""

import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
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
from aletheia.settings import BreakerSettings

log = logging.getLogger(__name__)

BREAKERS = "aletheia_breakers"

PROBE_LEASE_S: Final = 180.0
"""How long a probe may say nothing; to be longer than any single call may take."""

_S: Final = 1_000_000
"""Microseconds, as all times in the store are: since 1970 in UTC."""

PROBE_LOOK: Final = 5 * _S
"""How soon whoever is refused because of a probe under way may ask again."""

_NO_PROBE: Final[dict[str, Any]] = {"probe": "", "probe_at": 0}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REASON_LENGTH: Final = 300
_SERVER_ERROR: Final = 500


class State(StrEnum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Permit:
    """A call that was admitted, and has to say how it went.

    Attributes:
        dependency: what it calls.
        generation: how often the breaker had closed before.
        probe: token of the lease, if this is the probe.
    """

    dependency: str
    generation: int
    probe: str | None = None


@dataclass(frozen=True, slots=True)
class BreakerState:
    """How a breaker stands.

    Attributes:
        dependency: whose breaker.
        state: what it does with calls.
        failures: failed calls in a row; not more than the threshold.
        until: when it lets a call try, while it is open, or when the lease of a probe under way
            runs out; otherwise `None`.
        reason: what the last failure said; empty after a success.
    """

    dependency: str
    state: State
    failures: int
    until: datetime | None
    reason: str


def is_breaker_failure(error: BaseException) -> bool:
    """Tell whether an error of a call counts against the dependency's health.

    Timeouts, lost connections and 5xx do. What the dependency answered otherwise (429, other 4xx,
    an answer that is not of its protocol) does not, nor does what never reached it.
    """
    if not isinstance(error, Unavailable):
        return False
    if error.status is None:
        return not isinstance(error, BadAnswer | QuotaExhausted)
    return error.status >= _SERVER_ERROR


def is_answer(error: BaseException) -> bool:
    """Tell whether an error shows that the dependency is there and answers."""
    return isinstance(error, Refused | Unavailable) and not is_breaker_failure(error)


class CircuitBreaker:
    """The breakers of one store.

    Args:
        documents: the store, open.
        threshold: failures in a row that open a breaker.
        cooldown_s: how long it stays open.
        probe_lease_s: how long a probe may say nothing before another one is admitted.
        clock: Unix time, seconds. After a jump back a breaker stays open for no more than twice
            its cooldown.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        threshold: int,
        cooldown_s: float,
        probe_lease_s: float = PROBE_LEASE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._documents = documents
        self._threshold = threshold
        self._cooldown = round(cooldown_s * _S)
        self._probe_lease = round(probe_lease_s * _S)
        self._clock = clock

    @classmethod
    def from_settings(
        cls,
        documents: Documents,
        settings: BreakerSettings,
        *,
        probe_lease_s: float = PROBE_LEASE_S,
        clock: Callable[[], float] = time.time,
    ) -> "CircuitBreaker":
        """Build breakers as the settings say."""
        return cls(
            documents,
            threshold=settings.circuit_breaker_threshold,
            cooldown_s=settings.circuit_breaker_cooldown_seconds,
            probe_lease_s=probe_lease_s,
            clock=clock,
        )

    @asynccontextmanager
    async def guarding(self, dependency: str) -> AsyncGenerator[Permit]:
        """Admit one call, and take what becomes of it into account.

        Raises:
            BreakerOpen: it was not admitted.
        """
        permit = await self.admit(dependency)
        async with self.judging(permit):
            yield permit

    @asynccontextmanager
    async def judging(self, permit: Permit) -> AsyncGenerator[None]:
        """Take what becomes of an admitted call into account.

        Only the call itself belongs inside. A verdict that cannot be written is logged; it
        changes nothing about the call's own outcome.
        """
        try:
            yield
        except BaseException as error:
            if is_breaker_failure(error):
                await self._tell(permit, self.fail(permit, str(error)))
            elif is_answer(error):
                await self._tell(permit, self.succeed(permit))
            else:
                await self._tell(permit, self.abandon(permit))
            raise
        await self._tell(permit, self.succeed(permit))

    @asynccontextmanager
    async def unless_failed(self, permit: Permit) -> AsyncGenerator[None]:
        """Take a failure into account; without one, the call it is for is still to come."""
        try:
            yield
        except BaseException as error:
            failed = is_breaker_failure(error)
            telling = self.fail(permit, str(error)) if failed else self.abandon(permit)
            await self._tell(permit, telling)
            raise

    async def check(self, dependency: str) -> None:
        """See whether a call may be admitted now, without admitting one.

        Raises:
            BreakerOpen: it is open, or half-open with a probe under way.
        """
        now = self._now()
        stands = self._state_of(await self._read(dependency), now)
        if stands.until is not None:
            raise BreakerOpen(dependency, _ask_again_at(stands, now))

    async def admit(self, dependency: str) -> Permit:
        """Admit a call; it has to end in `succeed`, `fail` or `abandon`.

        Raises:
            BreakerOpen: it is open, or half-open with a probe under way.
        """
        while True:
            document = await self._read(dependency)
            now = self._now()
            stands = self._state_of(document, now)
            if stands.state is State.CLOSED:
                return Permit(dependency, document["generation"])
            if stands.until is not None:
                raise BreakerOpen(dependency, _ask_again_at(stands, now))
            token = uuid.uuid4().hex
            seen = {name: document[name] for name in ("generation", "failed_at", "probe")}
            change = Change(set={"probe": token, "probe_at": now})
            (is_ours,) = await self._documents.update(BREAKERS, [Update(dependency, change, seen)])
            if is_ours:
                return Permit(dependency, document["generation"], token)

    async def succeed(self, permit: Permit) -> None:
        """Take into account that a call was answered: failures in a row end here."""
        if permit.probe is not None:
            change = Change(
                set={"failures": 0, "reason": "", **_NO_PROBE}, increase={"generation": 1}
            )
            if await self._settle_probe(permit, change):
                log.warning("the breaker of %s is closed again", permit.dependency)
            return
        document = await self._read(permit.dependency)
        if 0 < document["failures"] < self._threshold:
            change = Change(set={"failures": 0, "reason": ""})
            where = {"generation": permit.generation, "failures": {"$lt": self._threshold}}
            await self._documents.update(BREAKERS, [Update(permit.dependency, change, where)])

    async def fail(self, permit: Permit, reason: str) -> None:
        """Take into account that a call failed, with what it said."""
        failure: dict[str, Any] = {"failed_at": self._now(), "reason": reason[:_REASON_LENGTH]}
        if permit.probe is not None:
            change = Change(set=failure | _NO_PROBE)
            if await self._settle_probe(permit, change):
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
            await self._documents.insert(BREAKERS, [_new_document(permit.dependency)])
            after = await self._documents.take(BREAKERS, where, change)
        if after is not None and after["failures"] >= self._threshold:
            log.error("the breaker of %s is open: %s", permit.dependency, reason)

    async def abandon(self, permit: Permit) -> None:
        """Say that a call ended without showing anything, so that another may be the probe."""
        if permit.probe is not None:
            await self._settle_probe(permit, Change(set=_NO_PROBE))

    async def states(self) -> list[BreakerState]:
        """List the breakers of everything that ever failed, by name."""
        now = self._now()
        found = await self._documents.find(BREAKERS, {})
        return [self._state_of(document, now) for document in found]

    def _now(self) -> int:
        return round(self._clock() * _S)

    async def _read(self, dependency: str) -> Document:
        found = await self._documents.get(BREAKERS, [dependency])
        return found.get(dependency) or _new_document(dependency)

    def _state_of(self, document: Document, now: int) -> BreakerState:
        failures = int(document["failures"])
        state, until = State.CLOSED, None
        if failures >= self._threshold:
            state = State.HALF_OPEN
            failed_at, probe_at = document["failed_at"], document["probe_at"]
            # A moment far ahead of the clock is none to wait for: the clock has been moved back.
            if abs(now - failed_at) < self._cooldown:
                state, until = State.OPEN, _moment(failed_at + self._cooldown)
            elif document["probe"] and abs(now - probe_at) < self._probe_lease:
                until = _moment(probe_at + self._probe_lease)
        return BreakerState(document["_id"], state, failures, until, document["reason"])

    async def _settle_probe(self, permit: Permit, change: Change) -> bool:
        """Change the breaker if the probe still has its lease."""
        where = {"probe": permit.probe}
        (is_ours,) = await self._documents.update(
            BREAKERS, [Update(permit.dependency, change, where)]
        )
        return is_ours

    async def _tell(self, permit: Permit, telling: Awaitable[None]) -> None:
        try:
            await telling
        except AletheiaError as error:
            log.warning("how a call to %s went could not be written: %s", permit.dependency, error)


def _new_document(dependency: str) -> Document:
    counts = {"failures": 0, "generation": 0, "failed_at": 0, "reason": ""}
    return {"_id": dependency, **counts, **_NO_PROBE}


def _ask_again_at(stands: BreakerState, now: int) -> datetime:
    """Say when to ask again: a probe under way is done long before its lease runs out."""
    assert stands.until is not None
    if stands.state is State.HALF_OPEN:
        return min(stands.until, _moment(now + PROBE_LOOK))
    return stands.until


def _moment(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)

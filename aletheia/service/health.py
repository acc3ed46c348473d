"""Whether the service runs, and whether what it depends on answers; open to everybody."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from aletheia.errors import AletheiaError, Misconfigured
from aletheia.resilience.breaker import BreakerState
from aletheia.resilience.limits import Tier, TierUsage
from aletheia.store.clock import SYSTEM_CLOCK

log = logging.getLogger(__name__)

ReadT = TypeVar("ReadT")

PING_TIMEOUT_S: Final = 5.0
"""Bound on one ping."""

READ_TIMEOUT_S: Final = 1.0
"""Bound on reading limits and breakers: `/health` answers without them rather than late."""

CACHED_FOR_S: Final = 2.0
"""How long limits and breakers are taken as they were: anybody may ask for them."""


INTERNAL: Final = "internal_error"
"""Code of a ping that failed for no reason of its dependency."""


@dataclass(frozen=True, slots=True)
class Ping:
    """How to find out whether a dependency answers.

    `send` returns if it does, and raises `Misconfigured` if it is not set up; `is_needed` is
    whether the service is not ready without it.
    """

    name: str
    send: Callable[[], Awaitable[None]]
    is_needed: bool = True


class _Shared(Generic[ReadT]):
    """Something that is read once for all that ask meanwhile, and within a while after."""

    def __init__(
        self, read: Callable[[], Coroutine[Any, Any, ReadT]], *, cached_for_s: float = 0.0
    ) -> None:
        self._read, self._cached_for_s = read, cached_for_s
        self._begun_at = float("-inf")
        self._reading: asyncio.Task[ReadT] | None = None

    async def get(self) -> ReadT:
        """Return it."""
        now_s = SYSTEM_CLOCK.steady_s()
        is_old = now_s - self._begun_at >= self._cached_for_s
        if self._reading is None or (self._reading.done() and is_old):
            self._begun_at, self._reading = now_s, asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)


def spaced(send: Callable[[], Awaitable[None]], every_s: float) -> Callable[[], Awaitable[None]]:
    """Return a ping that is sent again only after a while: anybody may ask for it.

    Meanwhile what the last one ended with is returned, or raised.
    """

    async def send_once() -> AletheiaError | None:
        try:
            await send()
        except AletheiaError as error:
            return error
        return None

    sending = _Shared(send_once, cached_for_s=every_s)

    async def send_spaced() -> None:
        if (error := await sending.get()) is not None:
            raise error

    return send_spaced


class Breaker(BaseModel):
    """The breaker of a dependency."""

    dependency: str = Field(description="What it guards.", examples=["openai"])
    state: str = Field(description="`closed`, `open` or `half_open`.", examples=["closed"])
    until: datetime | None = Field(description="When an open one lets a call try, in UTC.")


class Limit(BaseModel):
    """The usage of one limit of a provider."""

    provider: str = Field(description="Whose requests are counted.", examples=["openai"])
    tier: str = Field(description="Its window.", examples=["minute"])
    used: int = Field(description="Requests in the window.")
    limit: int | None = Field(description="How many are allowed; null: any number.")
    refusals: int = Field(description="Calls that this limit refused, since ever.")


class Alive(BaseModel):
    """That the service runs, and how freely it may call providers."""

    status: Literal["ok"] = Field(default="ok", description="Always `ok`.")
    limits: list[Limit] = Field(
        default_factory=list[Limit], description="The limits of each provider that was called."
    )
    breakers: list[Breaker] = Field(
        default_factory=list[Breaker], description="The breakers of all dependencies."
    )
    are_readings_known: bool = Field(
        default=False, description="Whether limits and breakers could be read."
    )


@dataclass(frozen=True, slots=True)
class Readings:
    """Limits, by provider and tier, and breakers, as they are now."""

    limits: Mapping[str, Mapping[Tier, TierUsage]]
    breakers: Sequence[BreakerState]


ReadReadings: TypeAlias = Callable[[], Awaitable[Readings]]


class Check(BaseModel):
    """Whether a dependency answers."""

    name: str = Field(description="Of the dependency.", examples=["brain"])
    status: Literal["ok", "missing", "failed"] = Field(
        description="Whether it answers, is not set up, or does not answer."
    )
    reason: str = Field(
        default="",
        description="The setting that is missing, or the code of what went wrong.",
        examples=["unavailable"],
    )


class Readiness(BaseModel):
    """Whether the service can do its work."""

    status: Literal["ready", "unready"] = Field(
        description="Whether everything answers that is needed."
    )
    checks: list[Check] = Field(description="One for each dependency.")


def make_health_router(
    pings: Sequence[Ping], read_readings: ReadReadings | None = None
) -> APIRouter:
    """Build the routes for whoever watches the service."""
    router = APIRouter(tags=["service"])
    reading = _Shared(_Reader(read_readings).read, cached_for_s=CACHED_FOR_S)
    pinging = _Shared(_Pinger(pings).send)
    unready: dict[int | str, dict[str, Any]] = {
        HTTPStatus.SERVICE_UNAVAILABLE.value: {
            "model": Readiness,
            "description": "Something that is needed does not answer, or is missing.",
        }
    }

    @router.get("/health")
    async def read_health() -> Alive:
        """Answer that the service runs, whatever becomes of what it depends on."""
        return await reading.get()

    @router.get("/ready", responses=unready, name="read_ready")
    @router.get("/health/ready", responses=unready)
    async def read_readiness(response: Response) -> Readiness:
        """Ping what the service depends on, and answer 503 where something needed is not there."""
        found = await pinging.get()
        if found.status != "ready":
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return found

    return router


class _Reader:
    """Reads limits and breakers."""

    def __init__(self, read: ReadReadings | None) -> None:
        self._read = read

    async def read(self) -> Alive:
        """Return them, or that they are not known."""
        if self._read is None:
            return Alive()
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return _describe(await self._read())
        except (AletheiaError, TimeoutError) as error:
            log.warning("limits and breakers cannot be read: %s", error or "too slow")
        except Exception:
            log.exception("reading limits and breakers went wrong")
        return Alive()


class _Pinger:
    """Pings everything."""

    def __init__(self, pings: Sequence[Ping]) -> None:
        self._pings = pings

    async def send(self) -> Readiness:
        """Return what answers."""
        checks = await asyncio.gather(*map(_check, self._pings))
        is_ready = all(
            check.status == "ok" or not ping.is_needed
            for ping, check in zip(self._pings, checks, strict=True)
        )
        return Readiness(status="ready" if is_ready else "unready", checks=checks)


def _describe(readings: Readings) -> Alive:
    limits = [
        Limit(
            provider=provider,
            tier=tier,
            used=usage.used,
            limit=usage.limit,
            refusals=usage.refusals,
        )
        for provider, tiers in readings.limits.items()
        for tier, usage in tiers.items()
    ]
    breakers = [
        Breaker(dependency=breaker.dependency, state=breaker.state, until=breaker.until)
        for breaker in readings.breakers
    ]
    return Alive(limits=limits, breakers=breakers, are_readings_known=True)


async def _check(ping: Ping) -> Check:
    try:
        async with asyncio.timeout(PING_TIMEOUT_S):
            await ping.send()
    except Misconfigured as missing:
        return Check(name=ping.name, status="missing", reason=missing.name)
    except AletheiaError as error:
        # What the error says may name hosts, which is nobody's business out here.
        log.warning("%s does not answer: %s", ping.name, error)
        return Check(name=ping.name, status="failed", reason=error.code)
    except TimeoutError:
        return Check(name=ping.name, status="failed", reason="timeout")
    except Exception:
        # One that has a fault of ours hides none of the others.
        log.exception("the ping of %s went wrong", ping.name)
        return Check(name=ping.name, status="failed", reason=INTERNAL)
    return Check(name=ping.name, status="ok")

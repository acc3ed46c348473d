"""Whether the service runs, and whether what it depends on answers; open to everybody."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from aletheia.errors import AletheiaError, Misconfigured

log = logging.getLogger(__name__)

PING_TIMEOUT_S: Final = 5.0
"""Bound on one ping."""


@dataclass(frozen=True, slots=True)
class Ping:
    """How to find out whether a dependency answers.

    `send` returns if it does, and raises `Misconfigured` if it is not set up; `is_needed` is
    whether the service is not ready without it.
    """

    name: str
    send: Callable[[], Awaitable[None]]
    is_needed: bool = True


class Alive(BaseModel):
    """That the service runs."""

    status: Literal["ok"] = "ok"


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


def make_health_router(pings: Sequence[Ping]) -> APIRouter:
    """Build the routes for whoever watches the service."""
    router = APIRouter(tags=["service"])
    unready: dict[int | str, dict[str, Any]] = {
        HTTPStatus.SERVICE_UNAVAILABLE.value: {
            "model": Readiness,
            "description": "Something that is needed does not answer, or is missing.",
        }
    }

    @router.get("/health")
    async def read_health() -> Alive:
        """Answer that the service runs, whatever becomes of what it depends on."""
        return Alive()

    @router.get("/ready", responses=unready, name="read_ready")
    @router.get("/health/ready", responses=unready)
    async def read_readiness(response: Response) -> Readiness:
        """Ping what the service depends on, and answer 503 where something needed is not there."""
        checks = await asyncio.gather(*map(_check, pings))
        is_ready = all(
            check.status == "ok" or not ping.is_needed
            for ping, check in zip(pings, checks, strict=True)
        )
        if not is_ready:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Readiness(status="ready" if is_ready else "unready", checks=checks)

    return router


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
    return Check(name=ping.name, status="ok")

"""The service: one FastAPI application over what it is given."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel

from aletheia.brain.ports import Brain
from aletheia.errors import Unavailable
from aletheia.service.auth import BearerKey
from aletheia.service.brain import make_brain_router
from aletheia.service.guarding import BODY_TIMEOUT_S, MAX_BODY_BYTES, guarded_by
from aletheia.service.refusals import install_refusals

log = logging.getLogger(__name__)

_DESCRIPTION: Final = """\
Aletheia's Brain: an index of what was gathered.

Every answer that is no success is `{"error": {"code", "message"}}`. Names in a request that are \
not known are ignored. A body is strict JSON.

Whoever sends embeddings says by `X-Aletheia-Model` which model they are of, so that vectors of \
two models never meet. Answers carry `X-Aletheia: brain`, by which a client knows that it may ask \
for more than the four endpoints of the specification. One model serves all projects: when the \
service goes over to another one (`/api/v1/model/adopt`), nothing of any project is found until \
whoever has it sends it again.
"""


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """What the service is made of.

    Attributes:
        brain: answers; opened and closed by the service.
        api_key: what callers have to send; `None` lets nobody in.
        max_body_bytes: longest body that is read.
        body_timeout_s: how long a body may take to arrive, seconds.
    """

    brain: Brain
    api_key: str | None
    max_body_bytes: int = MAX_BODY_BYTES
    body_timeout_s: float = BODY_TIMEOUT_S


class Alive(BaseModel):
    """That the service runs."""

    status: Literal["ok"] = "ok"


def create_app(parts: ServiceParts) -> FastAPI:
    """Make the application; it opens the Brain when it starts, or when it first can."""
    opening = _Opening(parts)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        try:
            await opening.brain()
        except Unavailable as outage:
            log.warning("the Brain is tried again with the first request: %s", outage)
        try:
            yield
        finally:
            await parts.brain.close()

    app = FastAPI(
        title="Aletheia",
        version=version("aletheia"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    install_refusals(app)
    route_class = guarded_by(
        BearerKey(parts.api_key),
        max_body_bytes=parts.max_body_bytes,
        body_timeout_s=parts.body_timeout_s,
    )
    app.include_router(make_brain_router(opening, route_class))

    async def tell_alive() -> Alive:
        """Say that the service runs; whether what it depends on does is another question."""
        return Alive()

    app.add_api_route("/health", tell_alive, methods=["GET"], tags=["service"])
    return app


class _Opening:
    """Opens the Brain once, as soon as that works."""

    def __init__(self, parts: ServiceParts) -> None:
        self._parts = parts
        self._attempt: asyncio.Task[None] | None = None

    async def brain(self) -> Brain:
        """See `OpenedBrain.brain`."""
        # All that wait share an attempt: one after the other they would wait for each one's end.
        attempt = self._attempt
        if attempt is None or (attempt.done() and (attempt.cancelled() or attempt.exception())):
            attempt = self._attempt = asyncio.create_task(self._parts.brain.open())
        await asyncio.shield(attempt)
        return self._parts.brain

"""The service: one FastAPI application over the routers it is given."""

from collections.abc import MutableMapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.middleware.cors import CORSMiddleware

from aletheia.service.correlation import HEADER, CorrelationMiddleware
from aletheia.service.documentation import add_documentation
from aletheia.service.guarding import Guard, GuardedRoute
from aletheia.service.health import Ping, ReadReadings, make_health_router
from aletheia.service.refusals import HTTP_MEANINGS, describe_refusals, install_refusals

_DESCRIPTION: Final = """\
Aletheia's service: its Brain, an index of what was gathered; what front ends read; what operators \
do; webhooks in.

Every answer that is no success is `{"error": {"code", "message"}}`. Names in a request that are \
not known are ignored. A body is strict JSON. `x-roles` of an operation lists the roles of which a \
token needs one.

Beside what is listed here, `/ws/automated-gather/{project_id}?from_seq=` is a WebSocket with the \
same frames as `/events/automated-gather/{project_id}`.
"""

_ROUTINE: Final = frozenset({"/health", "/health/ready", "/ready", "/metrics"})
"""What is asked for all the time, and not traced."""

_HEADERS: Final = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID")
"""Headers that pages of other origins may send."""


def create_app(
    routers: Sequence[APIRouter],
    authenticator: Guard,
    pings: Sequence[Ping],
    *,
    read_readings: ReadReadings | None = None,
    origins: Sequence[str] = (),
) -> FastAPI:
    """Build the application, with one ping for each thing that its routers depend on.

    Each router has its own guard, see `guarded_by`; a router that has none is the authenticator's.
    `read_readings` reads what `/health` shows beside that it runs; pages of `origins` may call.
    """
    app = FastAPI(
        title="Aletheia",
        version=version("aletheia"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        responses=describe_refusals(HTTP_MEANINGS),
        # What a request failed with may hold anything; our own log has it.
        telemetry={"exclude": _is_routine, "logs": False, "operation_spans": False},
    )
    install_refusals(app)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=_HEADERS,
            expose_headers=["Retry-After", HEADER],
        )
    app.add_middleware(CorrelationMiddleware)

    async def authenticate(request: Request) -> None:
        await authenticator.admit(request)

    for router in routers:
        is_guarded = issubclass(router.route_class, GuardedRoute)
        app.include_router(router, dependencies=[] if is_guarded else [Depends(authenticate)])
    app.include_router(make_health_router(pings, read_readings))
    add_documentation(app)
    return app


def _is_routine(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in _ROUTINE

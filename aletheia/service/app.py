"""The service: one FastAPI application over the routers it is given."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, Depends, FastAPI, Request

from aletheia.service.guarding import BearerKey, GuardedRoute
from aletheia.service.health import Ping, make_health_router
from aletheia.service.refusals import install_refusals

_DESCRIPTION: Final = """\
Aletheia's service. Its Brain is an index of what was gathered.

Every answer that is no success is `{"error": {"code", "message"}}`. Names in a request that are \
not known are ignored. A body is strict JSON.
"""


def create_app(routers: Sequence[APIRouter], key: BearerKey, pings: Sequence[Ping]) -> FastAPI:
    """Build the application, with one ping for each thing that its routers depend on.

    Each router has its own guard, see `guarded_by`; callers of one that has none need the key.
    """
    app = FastAPI(
        title="Aletheia",
        version=version("aletheia"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    install_refusals(app)

    def authenticate(request: Request) -> None:
        key.check(request.headers)

    for router in routers:
        is_guarded = issubclass(router.route_class, GuardedRoute)
        app.include_router(router, dependencies=[] if is_guarded else [Depends(authenticate)])
    app.include_router(make_health_router(pings))
    return app

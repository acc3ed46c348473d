"""Routers for bearers of tokens, each with its roles (SPEC §6, Who may)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Security
from fastapi.security import HTTPBearer

from aletheia.service.authentication import Authenticator, RoleGuard
from aletheia.service.guarding import Guard, Slots, guarded_by
from aletheia.service.refusals import BODY_MEANINGS, TOKEN_MEANINGS, describe_refusals
from aletheia.service.roles import Role

TOKEN_SCHEME: Final = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    bearerFormat="JWT",
    description="A token of the configured issuer, with one of the roles in `x-roles`.",
)
"""Documents the token; the routes themselves ask for it, before they read anything."""

MAX_BODY_BYTES: Final = 65_536
"""Longest body that these routes take."""


class TokenRoutes:
    """Builds routers that let in bearers of tokens with some roles."""

    def __init__(self, authenticator: Authenticator, slots: Slots) -> None:
        self._authenticator, self._slots = authenticator, slots

    def make_guard(self, roles: frozenset[Role]) -> Guard:
        """Build what lets bearers of tokens with some roles in."""
        return RoleGuard(self._authenticator, roles)

    def make_router(
        self, tag: str, roles: frozenset[Role], *, guard: Guard | None = None
    ) -> APIRouter:
        """Build a router without routes so far; `guard` stands in for that of the roles alone."""
        route_class = guarded_by(
            guard or self.make_guard(roles),
            slots=self._slots,
            roles=frozenset(map(str, roles)),
            max_body_bytes=MAX_BODY_BYTES,
        )
        return APIRouter(
            tags=[tag],
            route_class=route_class,
            dependencies=[Security(TOKEN_SCHEME)],
            responses=describe_refusals(TOKEN_MEANINGS),
            strict_content_type=False,
        )


def describe_body(further: Mapping[HTTPStatus, str] | None = None) -> dict[int | str, Any]:
    """Return what further statuses mean of a route that takes a body, and others it has."""
    return describe_refusals({**BODY_MEANINGS, **(further or {})})

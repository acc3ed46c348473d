"""Who a bearer token was made for (SPEC §6, Who may).

The signature is joserfc's business. Before that a token has to be short, have three
parts, and a header that names nothing but the key: no `crit`, no key of its own, no algorithm but
those of the keys that are configured. Whatever goes wrong, the caller is not let in.
"""

import base64
import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, cast

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from aletheia.errors import AletheiaError, Misconfigured
from aletheia.service.keys import VerificationKeys
from aletheia.service.parts import Part
from aletheia.service.refusal_counts import RefusalCounts
from aletheia.service.refusals import ServiceError
from aletheia.service.roles import Caller, Role
from aletheia.store.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)

MAX_TOKEN_CHARS: Final = 8192
"""Longest token that is read: with its header it fits into what servers read of headers."""

MAX_HEADER_CHARS: Final = 1024
"""Longest header of a token, in base64."""

MAX_ROLES: Final = 200
"""Longest list of roles; other systems' roles may be among them."""

MAX_SUBJECT_CHARS: Final = 200

LEEWAY_S: Final = 30
"""How far the issuer's clock may differ from ours, seconds."""

ALLOWED_HEADERS: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
"""What the header of a token may name. Everything else changes what the token means (`crit`, `b64`,
`zip`), or brings or names a key of its own (`jwk`, `jku`, `x5c`, `x5u`)."""

_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_FAULTS: Final = (JoseError, ValueError, TypeError, ArithmeticError, RecursionError)
"""What a token that is not well-formed may end in, here or in the library."""


class Authenticator:
    """Finds out whom a token was made for; without keys, nobody."""

    def __init__(
        self,
        keys: Part[VerificationKeys],
        *,
        issuer: str,  # `iss`, which has to be equal
        audience: str,  # `aud`, or one of them
        roles_claim: str,  # where the list of roles is; dots lead into objects
        refusals: RefusalCounts,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._keys, self._issuer, self._audience = keys, issuer, audience
        self._roles_claim, self._clock = roles_claim, clock
        self.refusals = refusals

    async def ping(self) -> None:
        """Raise `Misconfigured` if there is no key, `Unavailable` if none can be had for now."""
        await (await self._keys.get()).find(None, "")

    async def identify(self, headers: Headers) -> Caller:
        """Return the bearer of the token in `Authorization`.

        Raises:
            ServiceError: 401 `missing_token`, `invalid_token`, `expired_token`;
                503 `no_authentication_configured`, `keys_unavailable`.
        """
        token = read_bearer(headers)
        try:
            keys = await self._keys.get()
            return await self._check(token, keys)
        except Misconfigured as missing:
            log.warning("nobody can sign in: %s", missing)
            message = "the service knows no keys of tokens, so nobody may call it"
            raise _unavailable("no_authentication_configured", message) from None
        except AletheiaError as outage:
            log.warning("nobody can sign in for now: %s", outage)
            message = "the keys of tokens cannot be had for now"
            raise _unavailable("keys_unavailable", message) from None
        except ExpiredTokenError:
            raise _unauthorized("expired_token", "the token has expired") from None
        except _FAULTS as fault:
            log.debug("a token is not taken: %s", type(fault).__name__)
            raise _unauthorized("invalid_token", "the token is not valid here") from None

    async def _check(self, token: str, keys: VerificationKeys) -> Caller:
        header = read_header(token)
        algorithm = header["alg"]
        if algorithm not in keys.algorithms:
            raise ValueError("another algorithm")
        found = await keys.find(header.get("kid"), algorithm)
        if found is None or found.algorithm != algorithm:
            raise ValueError("an unknown key")
        registry = jws.JWSRegistry(algorithms=[algorithm])
        claims = jwt.decode(token, found.key, algorithms=[algorithm], registry=registry).claims
        self._claims.validate(claims)
        return self._read(claims)

    @property
    def _claims(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock.unix_s()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    def _read(self, claims: Mapping[str, Any]) -> Caller:
        subject = str(claims["sub"])
        if len(subject) > MAX_SUBJECT_CHARS or not subject.isprintable():
            raise ValueError("a strange subject")
        # A number may be too large for a float.
        expires_at = min(claims["exp"], 2**40)
        return Caller(subject, read_roles(claims, self._roles_claim), float(expires_at))


class RoleGuard:
    """Lets in who has a token with one of some roles; notes the caller in the request's state."""

    def __init__(self, authenticator: Authenticator, roles: Collection[Role]) -> None:
        self._authenticator, self.roles = authenticator, frozenset(roles)

    async def admit(self, connection: HTTPConnection) -> None:
        """Raise `ServiceError` unless the caller may; see `Authenticator.identify`, and 403."""
        async with self._authenticator.refusals.counting(connection):
            caller = await self._authenticator.identify(connection.headers)
            check_roles(caller, self.roles)
        host = connection.client.host if connection.client else ""
        connection.state.caller = replace(caller, address=host)


def caller_of(connection: HTTPConnection) -> Caller:
    """Return the caller that a guard let in."""
    return cast("Caller", connection.state.caller)


def check_roles(caller: Caller, roles: Collection[Role]) -> None:
    """Raise 403 `forbidden` unless a caller has one of some roles."""
    if not caller.has_any(roles):
        message = f"this needs one of the roles {', '.join(sorted(roles))}"
        raise ServiceError(HTTPStatus.FORBIDDEN, "forbidden", message)


def read_bearer(headers: Headers) -> str:
    """Return the one bearer token of a request, if it has the form of one."""
    given = headers.getlist("authorization")
    scheme, _, token = (given[0] if given else "").partition(" ")
    if len(given) > 1:
        raise _unauthorized("invalid_token", "send one token")
    if scheme.lower() != "bearer" or not token.strip():
        message = "send a token as `Authorization: Bearer TOKEN`"
        raise _unauthorized("missing_token", message)
    token = token.strip()
    if len(token) > MAX_TOKEN_CHARS or not _TOKEN.fullmatch(token):
        raise _unauthorized("invalid_token", "the token is not valid here")
    return token


def read_header(token: str) -> dict[str, str]:
    """Return the header of a token, before anything of it is believed. Raises `ValueError`."""
    part = token.partition(".")[0]
    if len(part) > MAX_HEADER_CHARS:
        raise ValueError("a long header")
    text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    header: object = json.loads(text, object_pairs_hook=_refuse_doubles)
    if not isinstance(header, dict):
        raise TypeError("no object")
    values = cast("dict[str, object]", header)
    is_text = all(isinstance(value, str) for value in values.values())
    if not is_text or "alg" not in values or not ALLOWED_HEADERS.issuperset(values):
        raise ValueError("a header that is not taken")
    if cast("str", values.get("typ", "JWT")).lower() not in _TYPES:
        raise ValueError("a token of another type")
    return cast("dict[str, str]", header)


def read_roles(claims: Mapping[str, Any], claim: str) -> frozenset[Role]:
    """Return the roles of ours among those of a token; none where it has no such claim.

    Raises:
        ValueError: they are no list of strings. A string is no list: `administrator` has `admin`
            in it.
    """
    value: object = claims.get(claim)
    if value is None:
        value = claims
        for name in claim.split("."):
            if not isinstance(value, Mapping):
                return frozenset()
            value = cast("Mapping[str, object]", value).get(name)
    if value is None:
        return frozenset()
    if not isinstance(value, list):
        raise TypeError("roles that are no list")
    roles = cast("list[object]", value)
    if len(roles) > MAX_ROLES or not all(isinstance(role, str) for role in roles):
        raise ValueError("roles that are no strings")
    return frozenset(role for role in Role if role.value in roles)


def _refuse_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name that stands twice")
    return names


def _unauthorized(code: str, message: str) -> ServiceError:
    given = "" if code == "missing_token" else ' error="invalid_token"'
    headers = {"WWW-Authenticate": f"Bearer{given}"}
    return ServiceError(HTTPStatus.UNAUTHORIZED, code, message, headers)


def _unavailable(code: str, message: str) -> ServiceError:
    return ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, code, message, {"Retry-After": "5"})

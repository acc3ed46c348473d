"""Who may call the service."""

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from typing import Protocol

from aletheia.errors import Misconfigured
from aletheia.service.refusals import ServiceError


class Authenticator(Protocol):
    """Decides by a request's headers whether it is answered."""

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise a `ServiceError` unless the caller may go on."""
        ...


class BearerKey:
    """A key that callers send as `Authorization: Bearer KEY`; an empty one refuses everybody.

    `setting` is where the key comes from, as refusals name it.
    """

    def __init__(self, key: str, setting: str) -> None:
        self._key, self._setting = key.encode(), setting

    def __repr__(self) -> str:
        return f"BearerKey(***, {self._setting!r})"

    async def ping(self) -> None:
        """Raise `Misconfigured` if there is no key."""
        if not self._key:
            raise Misconfigured(self._setting, "is not set, so that nobody may call what needs it")

    def check(self, headers: Mapping[str, str]) -> None:
        """Check the key, in a time that does not depend on how much of it is right.

        Raises:
            ServiceError: 503 `no_key_configured`, 401 `missing_key`, 401 `wrong_key`: a caller
                with another key is unknown rather than forbidden (RFC 6750, §3.1).
        """
        if not self._key:
            message = f"the service has no key, so nobody may call it; set {self._setting}"
            raise ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "no_key_configured", message)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            message = "send the key as `Authorization: Bearer KEY`"
            challenge = {"WWW-Authenticate": "Bearer"}
            raise ServiceError(HTTPStatus.UNAUTHORIZED, "missing_key", message, challenge)
        if not hmac.compare_digest(given.strip().encode(), self._key):
            message = "the key is not the one of this service"
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise ServiceError(HTTPStatus.UNAUTHORIZED, "wrong_key", message, challenge)

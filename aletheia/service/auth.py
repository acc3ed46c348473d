"""Who may call the service."""

import hmac
from collections.abc import Mapping

from aletheia.service.refusals import ServiceError


class BearerKey:
    """A key that callers send as `Authorization: Bearer KEY`.

    Args:
        key: the key; `None` lets nobody in.
    """

    def __init__(self, key: str | None) -> None:
        self._key = (key or "").encode()

    def __repr__(self) -> str:
        return "BearerKey(***)"

    def check(self, headers: Mapping[str, str]) -> None:
        """See that a request has the key; how long that takes says nothing about it.

        Raises:
            ServiceError: 503 `no_key_configured`, 401 `missing_key`, 401 `wrong_key`: a caller
                with another key is unknown rather than forbidden (RFC 6750, §3.1).
        """
        if not self._key:
            message = "the service has no key, so nobody may call it; set BRAIN_SERVICE_API_KEY"
            raise ServiceError(503, "no_key_configured", message)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            message = "send the key as `Authorization: Bearer KEY`"
            raise ServiceError(401, "missing_key", message, {"WWW-Authenticate": "Bearer"})
        if not hmac.compare_digest(given.strip().encode(), self._key):
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise ServiceError(
                401, "wrong_key", "the key is not the one of this service", challenge
            )

"""How a client proves to the upstream who it is."""

from typing import Protocol

from aletheia.adapters.http import is_token
from aletheia.errors import Misconfigured


class SignIn(Protocol):
    """How the client proves to the upstream who it is."""

    async def header(self) -> str | None:
        """Return the value of the `Authorization` header; `None` sends none.

        Raises:
            Unavailable: what hands out tokens is out of reach.
            Unauthorized: it refuses to.
        """
        ...

    async def refresh(self, stale: str) -> str | None:
        """Return a value to use instead of `stale`, which the upstream has just refused.

        Returns:
            `None` where there is no other.

        Raises:
            Unavailable: what hands out tokens is out of reach.
            Unauthorized: it refuses to.
        """
        ...


class NoSignIn:
    """The upstream asks for nothing."""

    async def header(self) -> str | None:
        """Return no header."""
        return None

    async def refresh(self, stale: str) -> str | None:  # noqa: ARG002 - as the protocol names it
        """Return nothing: there is no other."""
        return None


class TokenSignIn:
    """A bearer token that never changes.

    Args:
        token: printable ASCII without spaces.

    Raises:
        Misconfigured: the token cannot be sent in a header.
    """

    def __init__(self, token: str) -> None:
        if not is_token(token):
            raise Misconfigured("API_TOKEN", "must be printable ASCII without spaces")
        self._header = f"Bearer {token}"

    def __repr__(self) -> str:
        return "TokenSignIn(***)"

    async def header(self) -> str | None:
        """Return the token, as a header."""
        return self._header

    async def refresh(self, stale: str) -> str | None:  # noqa: ARG002 - as the protocol names it
        """Return nothing: there is no other."""
        return None

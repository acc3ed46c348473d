"""How a client proves to the upstream who it is."""

from typing import Final, Protocol

from aletheia.adapters.http import is_token
from aletheia.errors import Misconfigured

SIGN_IN: Final = "sign-in"
"""What errors and breakers call the token endpoint."""


class SignIn(Protocol):
    """How the client proves to the upstream who it is."""

    async def header(self) -> str | None:
        """Return the value of the `Authorization` header; `None` sends none.

        Raises `Unavailable` or `Unauthorized` where what hands out tokens does not.
        """
        ...

    async def refresh(self, stale: str) -> str | None:
        """Return a value to use instead of one that the upstream has refused, if there is one."""
        ...


class NoSignIn:
    """Sign-in to an upstream that asks for nothing, or takes one header for ever."""

    def __init__(self, header: str | None = None) -> None:
        self._header = header

    async def header(self) -> str | None:
        """Return the header."""
        return self._header

    async def refresh(self, stale: str) -> str | None:  # noqa: ARG002 - as the protocol names it
        """Return nothing: there is no other."""
        return None


class TokenSignIn(NoSignIn):
    """Sign-in with a bearer token that never changes, of printable ASCII without spaces."""

    def __init__(self, token: str) -> None:
        if not is_token(token):
            raise Misconfigured("API_TOKEN", "must be printable ASCII without spaces")
        super().__init__(f"Bearer {token}")

    def __repr__(self) -> str:
        return "TokenSignIn(***)"

"""Reads the keys that an issuer of tokens publishes."""

from typing import Final

from yarl import URL

from aletheia.adapters.http import HttpClient, read_address
from aletheia.errors import Misconfigured

ISSUER: Final = "the issuer of tokens"
"""What errors call it."""

ADDRESS: Final = "AUTH_JWKS_URL"
"""The setting that errors point to."""

MAX_BYTES: Final = 512 * 1024
TIMEOUT_S: Final = 5.0

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class KeyDocument:
    """The document of an issuer's keys.

    Raises `Misconfigured` unless its address is https, or of this machine: whoever can change what
    is read there can sign in as anybody.
    """

    def __init__(self, address: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url: URL = read_address(ADDRESS, address)
        if self._url.scheme != "https" and self._url.host not in _LOOPBACK:
            raise Misconfigured(ADDRESS, "must begin with https://")
        self._http = HttpClient(ISSUER, address=ADDRESS, timeout_s=timeout_s, uses_proxy=True)

    async def open(self) -> None:
        """Make ready to read. Idempotent."""
        await self._http.open()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._http.close()

    async def read(self) -> bytes:
        """Read the document as it is now. Raises `Unavailable`, `Refused`."""
        answer = await self._http.exchange("GET", self._url, max_bytes=MAX_BYTES)
        if not answer.is_success:
            raise answer.to_error()
        return answer.body

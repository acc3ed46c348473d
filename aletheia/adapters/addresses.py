"""Which addresses we connect to for somebody else: the guard of webhooks and of files.

Whoever sends a task or starts a run names addresses, so none of them is trusted. Unless its host is
allowed by name, every address that the host has must be public. A host is looked up once for each
connection, and the connection goes to what was checked then, so that an answer of the DNS that
changes in between changes nothing.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from aletheia.errors import Misconfigured

MAX_LOOKUPS: Final = 16
"""Hosts that are looked up at once for others."""

_LOOKING_UP: Final = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="lookup")

NOT_PUBLIC: Final = "the host has an address that is not public"

MAX_URL: Final = 2000
"""Characters of an address."""

_MIN_SECRET: Final = 4

_GLOBAL_IPV6: Final = ipaddress.ip_network("2000::/3")
"""All that is handed out (https://www.iana.org/assignments/ipv6-address-space); outside of it are
loopback, link-local, unique local, site-local, multicast, IPv4-mapped and NAT64 ones."""

_SPECIAL: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # what every machine of Azure asks about itself
        "192.0.0.0/24",  # IETF protocol assignments
        "192.88.99.0/24",  # relays to 6to4
        "2001::/23",  # IETF protocol assignments, Teredo among them, which hides an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which hides an IPv4 address
        "3fff::/20",  # documentation
    )
)
"""What `ipaddress` of some supported version takes for global and is not
(https://www.iana.org/assignments/iana-ipv4-special-registry and its sister for IPv6), and services
of a machine's own cloud at an address that looks like any other
(https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16)."""

_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""The third quarter of an IPv6 address that hides an IPv4 address (RFC 5214)."""


def is_public(address: str) -> bool:
    """Check whether an IP address is one that anybody on the Internet has."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(ip.version == network.version and ip in network for network in _SPECIAL):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        is_tunnel = (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP
        return ip in _GLOBAL_IPV6 and ip.is_global and ip.scope_id is None and not is_tunnel
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def is_address(host: str) -> bool:
    """Check whether a normalised host is an IP address, perhaps in one of its odd forms.

    No name ends in a number (https://url.spec.whatwg.org/#ends-in-a-number-checker). The odd forms
    are none that `is_public` knows, so that they are not public.
    """
    return ":" in host or host.rsplit(".", 1)[-1][:1].isdigit()


def normalise_host(host: str) -> str:
    """Write a host as addresses have it: lower case, punycode, no final dot, no brackets.

    `ValueError` if it is none.
    """
    bare = host.strip().strip("[]").rstrip(".").lower()
    return URL.build(scheme="https", host=bare).raw_host or "" if bare else ""


def redact(address: str) -> str:
    """Show scheme, host and port of an address, and nothing that may be a secret.

    Paths hold tokens too: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    """
    try:
        url = URL(address)
        return f"{url.origin()}/…" if url.host else "…"
    except ValueError:
        return "…"


def find_secrets(url: URL) -> tuple[str, ...]:
    """List what an answer might repeat of an address and must not be shown, longest first."""
    parts = [url.user, url.password, *url.parts, *url.query.values(), url.raw_query_string]
    raw = [url.raw_user, url.raw_password, *url.raw_parts]
    known = {part for part in (*parts, *raw) if part and len(part) >= _MIN_SECRET}
    return tuple(sorted(known, key=len, reverse=True))


class AddressGuard:
    """Checks addresses as far as is possible without asking DNS.

    Raises:
        Misconfigured: what is allowed are not hosts.
    """

    def __init__(self, setting: str, allowed_hosts: Iterable[str] = ()) -> None:
        # Without port; they may be private, and speak plain http.
        self._setting = setting
        try:
            self._allowed_hosts = frozenset(map(normalise_host, allowed_hosts)) - {""}
        except ValueError:
            reason = "must be hosts, without scheme and port, with commas between them"
            raise Misconfigured(setting, reason) from None

    def check(self, address: str) -> tuple[URL, bool]:
        """Read an address; return it, and whether its host is allowed by name.

        Raises:
            ValueError: it cannot be used; the text is one for whoever named it.
        """
        try:
            url = URL(address)
            host = normalise_host(url.raw_host or "")
        except ValueError:
            raise ValueError("it is not a URL") from None
        if len(address) > MAX_URL or not all("!" <= character <= "~" for character in str(url)):
            raise ValueError(f"it is longer than {MAX_URL} characters or holds odd ones")
        if url.scheme not in ("http", "https") or not host:
            raise ValueError("it must begin with https:// and a host")
        if host in self._allowed_hosts:
            return url, True
        if url.scheme != "https":
            raise ValueError(f"it must be https, as {redact(address)} is not in {self._setting}")
        if is_address(host) and not is_public(host):
            raise ValueError(f"{redact(address)} is not public and not in {self._setting}")
        return url, False


class NotPublic(OSError):
    """A host has an address that is not public."""

    def __init__(self) -> None:
        super().__init__(NOT_PUBLIC)


def make_connector(
    *,
    is_public_only: bool,
    resolver: AbstractResolver | None = None,  # in place of the system's
    ssl_context: ssl.SSLContext | None = None,  # whom we trust, in place of the system
) -> aiohttp.BaseConnector:
    """Make a connector that opens a new connection each time, so that every one is checked.

    With `is_public_only` a connection to an address that is not public fails: aiohttp's
    `ClientConnectorError`, whose `os_error` is `NotPublic`. Nothing was sent then.
    """
    # It asks nothing else of a loop.
    asked = resolver or aiohttp.ThreadedResolver(cast("asyncio.AbstractEventLoop", Lookups()))
    return aiohttp.TCPConnector(
        force_close=True,
        use_dns_cache=False,
        ssl=ssl_context or True,
        resolver=_PublicResolver(asked) if is_public_only else asked,
        # aiohttp asks no resolver about what is an address already.
        socket_factory=_make_public_socket if is_public_only else None,
    )


class Lookups:
    """Asks the DNS in threads of its own.

    A server of names that hangs keeps a thread for half a minute, whoever waits for it or does not,
    and whoever names a host names its server: the threads that all others ask in are few.
    """

    def __init__(self, look_up: Callable[..., Any] = socket.getaddrinfo) -> None:
        self._look_up = look_up

    async def getaddrinfo(self, host: str, port: int, **options: Any) -> Any:
        """See `socket.getaddrinfo`."""
        return await self._run(partial(self._look_up, host, port, **options))

    async def getnameinfo(self, address: Any, flags: int = 0) -> Any:
        """See `socket.getnameinfo`."""
        return await self._run(partial(socket.getnameinfo, address, flags))

    async def _run(self, look_up: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(_LOOKING_UP, look_up)


def is_refusal(error: BaseException | None) -> bool:
    """Check whether an error of a connection means that its other end is not public."""
    return isinstance(getattr(error, "os_error", None), NotPublic)


class _PublicResolver(AbstractResolver):
    """Looks up hosts all of whose addresses are public."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look a host up; an address that is not public is an `OSError`, as is having none."""
        found = await self._resolver.resolve(host, port, family)
        if not all(is_public(address["host"]) for address in found):
            raise NotPublic
        return found

    async def close(self) -> None:
        """Close the resolver that it asks."""
        await self._resolver.close()


def _make_public_socket(info: tuple[Any, ...]) -> socket.socket:
    """Make a socket for a connection, unless its other end is not public."""
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise NotPublic
    return socket.socket(family, kind, protocol)

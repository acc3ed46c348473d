"""Sends gather events to webhooks, signed, and nowhere they must not go (SPEC §4, Webhook).

Who starts a run names its webhook, so an address is not trusted. Unless its host is allowed by
name, it must be https and every address the host has must be public. A host is looked up once for
each sending and the connection goes to what was checked then, and is checked again as it is made;
so an answer of the DNS that changes in between changes nothing. An allowed host may be private and
may be plain http. Nobody may redirect.
"""

import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Collection
from typing import Final

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from aletheia.adapters.answers import excerpt, read_retry_after
from aletheia.errors import InvalidTask, Misconfigured, Refused, Unavailable, Unreachable
from aletheia.events.log import KeptEvent

WEBHOOK: Final = "webhook"
"""What errors call it, and the kind of sink it is."""

ALLOWED_HOSTS: Final = "WEBHOOK_ALLOWED_HOSTS"
SECRET: Final = "WEBHOOK_SECRET"  # noqa: S105
"""The settings that errors point to."""

TIMESTAMP_HEADER: Final = "X-Aletheia-Timestamp"
SIGNATURE_HEADER: Final = "X-Aletheia-Signature"
EVENT_ID_HEADER: Final = "X-Aletheia-Event-Id"

REFUSES_THE_EVENT: Final = frozenset({400, 406, 410, 411, 412, 413, 414, 415, 416, 422, 431})
"""Answers that speak of the event rather than of the receiver, so that the same event gets them
again. Anything else that is no success (401 or 404 while the receiver is set up, a redirect, 429,
5xx) may change, and is tried again."""

_MAX_URL: Final = 2000
_SHOWN_BYTES: Final = 1024
_MIN_SECRET: Final = 4

_GLOBAL_IPV6: Final = ipaddress.ip_network("2000::/3")
"""All that is handed out (https://www.iana.org/assignments/ipv6-address-space); outside of it are
loopback, link-local, unique local, site-local, multicast, IPv4-mapped and translated ones."""

_SPECIAL: Final = tuple(
    ipaddress.ip_network(one)
    for one in (
        "192.0.0.0/24",  # IETF protocol assignments
        "192.88.99.0/24",  # relays to 6to4
        "2001::/23",  # IETF protocol assignments, Teredo among them, which hides an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which hides an IPv4 address
        "3fff::/20",  # documentation
    )
)
"""What `ipaddress` of some supported version takes for global and is not
(https://www.iana.org/assignments/iana-ipv4-special-registry and its sister for IPv6)."""


def is_public(address: str) -> bool:
    """Say whether an IP address is one that anybody on the Internet has."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(ip.version == one.version and ip in one for one in _SPECIAL):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        return ip in _GLOBAL_IPV6 and ip.is_global and ip.scope_id is None
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def redact(address: str) -> str:
    """Show scheme, host and port of an address, and nothing that may be a secret.

    Paths hold tokens too: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    """
    try:
        url = URL(address)
        return f"{url.origin()}/…" if url.host else "…"
    except ValueError:
        return "…"


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Make the value of the signature's header."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


class Webhooks:
    """Posts events to the addresses that runs name.

    Args:
        secret: key of the signatures.
        allowed_hosts: names and addresses of hosts, without port, that may be private and http.
        timeout_s: bound on one sending, from looking the host up to the answer, seconds.
        clock: Unix time, seconds; goes into the signature.
        resolver: looks hosts up; `None` asks the system.
        ssl_context: whom we trust; `None` trusts whom the system trusts.

    Raises:
        Misconfigured: there is no secret, or what is allowed are not hosts.
    """

    def __init__(
        self,
        secret: str,
        *,
        allowed_hosts: Collection[str] = (),
        timeout_s: float = 10.0,
        clock: Callable[[], float] = time.time,
        resolver: AbstractResolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if not secret:
            raise Misconfigured(
                SECRET, "is empty; without it nobody can tell our events from others"
            )
        self._secret = secret
        try:
            self._allowed_hosts = frozenset(map(_normalise_host, allowed_hosts)) - {""}
        except ValueError:
            reason = "must be hosts, without scheme and port, with commas between them"
            raise Misconfigured(ALLOWED_HOSTS, reason) from None
        self._timeout_s = timeout_s
        self._clock = clock
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        if not self._sessions:
            self._sessions = {is_allowed: self._session(is_allowed) for is_allowed in (False, True)}

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    def check(self, address: str) -> None:
        """See whether events may be sent to an address, as far as that shows without asking DNS.

        Raises:
            InvalidTask: `invalid_webhook_url`.
        """
        self._read(address)

    async def send(self, address: str, event: KeptEvent) -> None:
        """Post one event.

        Raises:
            InvalidTask: `invalid_webhook_url`; nothing was sent.
            Misconfigured: the host has an address that is not public; nothing was sent.
            Refused: the receiver will not take this event, ever.
            Unreachable: no connection came about.
            Unavailable: it is too slow, or answers with anything else but success.
        """
        url, is_allowed = self._read(address)
        if not self._sessions:
            raise RuntimeError("the client is not open")
        timestamp = str(int(self._clock()))
        headers = {
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.USER_AGENT: "aletheia",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: sign(self._secret, timestamp, event.body),
            EVENT_ID_HEADER: event.id,
        }
        shown = redact(address)
        status: int | None = None
        said = b""
        try:
            async with self._sessions[is_allowed].post(
                url, data=event.body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
                if not 200 <= status < 300:  # noqa: PLR2004
                    said = await _read_beginning(response)
                wait_s = read_retry_after(
                    response.headers.get(hdrs.RETRY_AFTER),
                    date=response.headers.get(hdrs.DATE),
                    now=self._clock(),
                )
        except TimeoutError:
            reason = f"{shown}: no complete answer within {self._timeout_s:g} s"
            raise Unavailable(WEBHOOK, reason, status=status) from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _NotPublic):
                reason = f"{shown}: {error.os_error}; name the host there if that is meant to be"
                raise Misconfigured(ALLOWED_HOSTS, reason) from None
            raise Unreachable(WEBHOOK, f"{shown}: {type(error.os_error).__name__}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The library's words may repeat the address.
            raise Unavailable(WEBHOOK, f"{shown}: {type(error).__name__}", None, status) from None
        if 200 <= status < 300:  # noqa: PLR2004
            return
        reason = f"{shown}: {excerpt(said, *_secrets_of(url))}"
        if status in REFUSES_THE_EVENT:
            raise Refused(WEBHOOK, status, reason)
        raise Unavailable(WEBHOOK, f"{status} from {reason}", wait_s, status)

    def _read(self, address: str) -> tuple[URL, bool]:
        """Read an address; say whether its host is allowed by name."""
        try:
            url = URL(address)
            host = _normalise_host(url.raw_host or "")
        except ValueError:
            raise _invalid("it is not a URL") from None
        if len(address) > _MAX_URL or not all("!" <= one <= "~" for one in str(url)):
            raise _invalid(f"it is longer than {_MAX_URL} characters or holds odd ones")
        if url.scheme not in ("http", "https") or not host:
            raise _invalid("it must begin with https:// and a host")
        if host in self._allowed_hosts:
            return url, True
        if url.scheme != "https":
            raise _invalid(f"it must be https, as {redact(address)} is not in {ALLOWED_HOSTS}")
        # No name ends in a number (https://url.spec.whatwg.org/#ends-in-a-number-checker), so what
        # does is an address, perhaps in one of its odd forms, which `is_public` does not know.
        is_ip = ":" in host or host.rsplit(".", 1)[-1][:1].isdigit()
        if is_ip and not is_public(host):
            raise _invalid(f"{redact(address)} is not public and not in {ALLOWED_HOSTS}")
        return url, False

    def _session(self, is_allowed: bool) -> aiohttp.ClientSession:
        resolver = self._resolver or aiohttp.ThreadedResolver()
        # A new connection each time: a receiver that closes idle ones loses no event, and every
        # one goes through the checks.
        connector = aiohttp.TCPConnector(
            force_close=True,
            use_dns_cache=False,
            ssl=self._ssl_context or True,
            resolver=resolver if is_allowed else _PublicResolver(resolver),
            socket_factory=None if is_allowed else _make_public_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            # Not rounded up to whole seconds, as it is by default.
            timeout=aiohttp.ClientTimeout(
                total=self._timeout_s, ceil_threshold=self._timeout_s + 1
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )


class _NotPublic(OSError):
    """A host has an address that is not public."""


class _PublicResolver(AbstractResolver):
    """Looks up hosts all of whose addresses are public."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look a host up.

        Raises:
            OSError: it has no address, or one that is not public.
        """
        found = await self._resolver.resolve(host, port, family)
        if not all(is_public(one["host"]) for one in found):
            raise _NotPublic("the host has an address that is not public")
        return found

    async def close(self) -> None:
        """Let go of what it asks."""
        await self._resolver.close()


def _make_public_socket(
    info: tuple[
        socket.AddressFamily | int,
        socket.SocketKind | int,
        int,
        str,
        tuple[str, int] | tuple[str, int, int, int],
    ],
) -> socket.socket:
    """Make a socket for a connection that is about to be made.

    Raises:
        OSError: its other end is not public.
    """
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise _NotPublic("the host has an address that is not public")
    return socket.socket(family, kind, protocol)


async def _read_beginning(response: aiohttp.ClientResponse) -> bytes:
    said = b""
    while len(said) < _SHOWN_BYTES and (chunk := await response.content.readany()):
        said += chunk
    return said[:_SHOWN_BYTES]


def _normalise_host(host: str) -> str:
    """Write a host as addresses have it: lower case, punycode, no final dot, no brackets."""
    bare = host.strip().strip("[]").rstrip(".").lower()
    return URL.build(scheme="https", host=bare).raw_host or "" if bare else ""


def _secrets_of(url: URL) -> list[str]:
    """List what an answer might repeat of an address and must not be shown, longest first."""
    parts = [url.user, url.password, *url.parts, *url.query.values(), url.raw_query_string]
    raw = [url.raw_user, url.raw_password, *url.raw_parts]
    known = {part for part in (*parts, *raw) if part and len(part) >= _MIN_SECRET}
    return sorted(known, key=len, reverse=True)


def _invalid(reason: str) -> InvalidTask:
    return InvalidTask("invalid_webhook_url", f"webhook_url cannot be used: {reason}")

"""Sends gather events to webhooks, signed, and nowhere they must not go (SPEC §4, Webhook).

Who starts a run names its webhook, so an address is not trusted. Unless its host is allowed by
name, it must be https and every address the host has must be public. A host is looked up once for
each sending, and the connection goes to what was checked then, so that an answer of the DNS that
changes in between changes nothing. Nobody may redirect.
"""

import ipaddress
import socket
import ssl
from collections.abc import Callable, Collection
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from aletheia.adapters.http import HttpClient
from aletheia.errors import InvalidTask, Misconfigured, Refused, Unavailable
from aletheia.events.log import SavedEvent
from aletheia.events.ports import WEBHOOK
from aletheia.events.signatures import (
    EVENT_ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    sign,
)
from aletheia.store.clock import SYSTEM_CLOCK

ALLOWED_HOSTS: Final = "WEBHOOK_ALLOWED_HOSTS"
SECRET: Final = "WEBHOOK_SECRET"  # noqa: S105 - the name of a setting
"""The settings that errors point to."""

REFUSES_THE_EVENT: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.GONE,
        HTTPStatus.LENGTH_REQUIRED,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.REQUEST_URI_TOO_LONG,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    }
)
"""Answers that speak of the event rather than of the receiver, so that the same event gets them
again. Anything else that is no success (401 or 404 while the receiver is set up, a redirect, 429,
5xx) may change, and is tried again."""

_MAX_URL: Final = 2000
_MIN_SECRET: Final = 4

_GLOBAL_IPV6: Final = ipaddress.ip_network("2000::/3")
"""All that is handed out (https://www.iana.org/assignments/ipv6-address-space); outside of it are
loopback, link-local, unique local, site-local, multicast, IPv4-mapped and translated ones."""

_SPECIAL: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
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
    """Check whether an IP address is one that anybody on the Internet has."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(ip.version == network.version and ip in network for network in _SPECIAL):
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


class Webhooks:
    """Posts events to the addresses that runs name.

    Raises:
        Misconfigured: there is no secret, or what is allowed are not hosts.
    """

    def __init__(
        self,
        secret: str,  # key of the signatures
        *,
        allowed_hosts: Collection[str] = (),  # without port; they may be private and http
        timeout_s: float = 10.0,  # of one sending, from looking the host up to the answer
        clock: Callable[[], float] = SYSTEM_CLOCK.unix_s,  # goes into the signature
        resolver: AbstractResolver | None = None,  # in place of the system's
        ssl_context: ssl.SSLContext | None = None,  # whom we trust, in place of the system
    ) -> None:
        if not secret:
            reason = "is empty; without it nobody can tell our events from others"
            raise Misconfigured(SECRET, reason)
        self._secret = secret
        try:
            self._allowed_hosts = frozenset(map(_normalise_host, allowed_hosts)) - {""}
        except ValueError:
            reason = "must be hosts, without scheme and port, with commas between them"
            raise Misconfigured(ALLOWED_HOSTS, reason) from None
        self._clock, self._resolver, self._ssl_context = clock, resolver, ssl_context
        self._allowed, self._public = (
            HttpClient(
                WEBHOOK,
                timeout_s=timeout_s,
                headers={"Accept": "*/*"},
                make_connector=partial(self._make_connector, is_public_only=is_public_only),
                clock=clock,
            )
            for is_public_only in (False, True)
        )

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        await self._allowed.open()
        await self._public.open()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._allowed.close()
        await self._public.close()

    async def send(self, address: str, event: SavedEvent) -> None:
        """Post one event; raises as `post`."""
        await self.post(address, event.body, event.id)

    async def post(self, address: str, body: bytes, event_id: str) -> None:
        """Post a body, signed, under an id by which its receiver knows a copy.

        Raises:
            InvalidTask: `invalid_webhook_url`; nothing was sent.
            Misconfigured: the host has an address that is not public; nothing was sent.
            Refused: the receiver will not take this event, ever.
            Unreachable: no connection came about.
            Unavailable: it is too slow, or answers with anything else but success.
        """
        url, is_allowed = self.check(address)
        timestamp = str(int(self._clock()))
        shown = redact(address)
        client = self._allowed if is_allowed else self._public
        try:
            answer = await client.exchange(
                "POST",
                url,
                body=body,
                headers={
                    TIMESTAMP_HEADER: timestamp,
                    SIGNATURE_HEADER: sign(self._secret, timestamp, body),
                    EVENT_ID_HEADER: event_id,
                },
                secrets=_secrets_of(url),
            )
        except Unavailable as error:
            refused = getattr(error.__cause__, "os_error", None)
            if isinstance(refused, _NotPublic):
                reason = f"{shown}: {refused}; name the host there if that is meant to be"
                raise Misconfigured(ALLOWED_HOSTS, reason) from None
            raise type(error)(WEBHOOK, f"{shown}: {error.reason}", None, error.status) from None
        if answer.is_success:
            return
        reason = f"{shown}: {answer.excerpt()}"
        if answer.status in REFUSES_THE_EVENT:
            raise Refused(WEBHOOK, answer.status, reason)
        reason = f"{answer.status} from {reason}"
        raise Unavailable(WEBHOOK, reason, answer.retry_after_s, answer.status)

    def check(self, address: str) -> tuple[URL, bool]:
        """Check an address as far as is possible without asking DNS; see `send`.

        Returns:
            The address, and whether its host is allowed by name.
        """
        try:
            url = URL(address)
            host = _normalise_host(url.raw_host or "")
        except ValueError:
            raise _invalid("it is not a URL") from None
        if len(address) > _MAX_URL or not all("!" <= character <= "~" for character in str(url)):
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

    def _make_connector(self, *, is_public_only: bool) -> aiohttp.BaseConnector:
        resolver = self._resolver or aiohttp.ThreadedResolver()
        # A new connection each time: a receiver that closes idle ones loses no event, and every
        # one goes through the checks.
        return aiohttp.TCPConnector(
            force_close=True,
            use_dns_cache=False,
            ssl=self._ssl_context or True,
            resolver=_PublicResolver(resolver) if is_public_only else resolver,
            socket_factory=_make_public_socket if is_public_only else None,
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
        """Look a host up; an address that is not public is an `OSError`, as is having none."""
        found = await self._resolver.resolve(host, port, family)
        if not all(is_public(address["host"]) for address in found):
            raise _NotPublic("the host has an address that is not public")
        return found

    async def close(self) -> None:
        """Close the resolver that it asks."""
        await self._resolver.close()


def _make_public_socket(info: tuple[Any, ...]) -> socket.socket:
    """Make a socket for a connection, unless its other end is not public."""
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise _NotPublic("the host has an address that is not public")
    return socket.socket(family, kind, protocol)


def _normalise_host(host: str) -> str:
    """Write a host as addresses have it: lower case, punycode, no final dot, no brackets."""
    bare = host.strip().strip("[]").rstrip(".").lower()
    return URL.build(scheme="https", host=bare).raw_host or "" if bare else ""


def _secrets_of(url: URL) -> tuple[str, ...]:
    """List what an answer might repeat of an address and must not be shown, longest first."""
    parts = [url.user, url.password, *url.parts, *url.query.values(), url.raw_query_string]
    raw = [url.raw_user, url.raw_password, *url.raw_parts]
    known = {part for part in (*parts, *raw) if part and len(part) >= _MIN_SECRET}
    return tuple(sorted(known, key=len, reverse=True))


def _invalid(reason: str) -> InvalidTask:
    return InvalidTask("invalid_webhook_url", f"webhook_url cannot be used: {reason}")

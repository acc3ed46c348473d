"""Sends gather events to webhooks, signed, and nowhere they must not go (SPEC §4, Webhook).

Who starts a run names its webhook, so an address is not trusted. Unless its host is allowed by
name, it must be https and every address the host has must be public. A host is looked up once for
each sending, and the connection goes to what was checked then, so that an answer of the DNS that
changes in between changes nothing. Nobody may redirect.
"""

import ssl
from collections.abc import Callable, Collection
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp.abc import AbstractResolver
from yarl import URL

from aletheia.adapters.addresses import (
    NOT_PUBLIC,
    AddressGuard,
    find_secrets,
    is_refusal,
    make_connector,
    redact,
)
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
        self._guard, self._clock = AddressGuard(ALLOWED_HOSTS, allowed_hosts), clock
        self._allowed, self._public = (
            HttpClient(
                WEBHOOK,
                timeout_s=timeout_s,
                headers={"Accept": "*/*"},
                make_connector=partial(
                    make_connector,
                    is_public_only=is_public_only,
                    resolver=resolver,
                    ssl_context=ssl_context,
                ),
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
                secrets=find_secrets(url),
            )
        except Unavailable as error:
            if is_refusal(error.__cause__):
                reason = f"{shown}: {NOT_PUBLIC}; name the host there if that is meant to be"
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
            return self._guard.check(address)
        except ValueError as error:
            reason = f"webhook_url cannot be used: {error}"
            raise InvalidTask("invalid_webhook_url", reason) from None

"""One-time tickets, with which a browser opens a socket without its token in an address.

Addresses stand in logs and histories. A ticket is good once, for half a minute, and the store keeps
its hash, so that it is good at any process of the service and no copy of the store opens anything.
"""

import hashlib
import secrets
from http import HTTPStatus
from typing import Final

from aletheia.documents import Document, Documents
from aletheia.service.purging import purge_all
from aletheia.service.refusals import ServiceError
from aletheia.service.roles import Caller, Role
from aletheia.store.clock import SYSTEM_CLOCK, Clock

TICKETS: Final = "aletheia_service_tickets"

VALID_FOR_S: Final = 30.0
"""How long a ticket is good."""

MAX_TICKET_CHARS: Final = 64

MAX_UNUSED: Final = 60
"""Good tickets that a caller may have and not have used; another one has to wait."""

_BYTES: Final = 32


class Tickets:
    """The tickets of one store."""

    def __init__(self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._documents, self._clock = documents, clock

    async def prepare(self) -> None:
        """Make issuing and purging fast."""
        await self._documents.ensure_index(TICKETS, ["subject"])
        await self._documents.ensure_index(TICKETS, ["good_until"])

    async def issue(self, caller: Caller) -> str:
        """Return a new ticket for a caller; raise 429 `too_many_tickets`, where many are unused."""
        unused = {"subject": caller.subject, "good_until": {"$gt": self._clock.unix_s()}}
        if await self._documents.count(TICKETS, unused) >= MAX_UNUSED:
            message = f"you have {MAX_UNUSED} tickets that are good and not used; wait for a while"
            headers = {"Retry-After": str(round(VALID_FOR_S))}
            status = HTTPStatus.TOO_MANY_REQUESTS
            raise ServiceError(status, "too_many_tickets", message, headers)
        ticket = secrets.token_urlsafe(_BYTES)
        document: Document = {
            "_id": _name(ticket),
            "subject": caller.subject,
            "roles": sorted(caller.roles),
            "expires_at": caller.expires_at,
            "good_until": self._clock.unix_s() + VALID_FOR_S,
        }
        await self._documents.insert(TICKETS, [document])
        return ticket

    async def take(self, ticket: str) -> Caller | None:
        """Return whom a ticket was made for, once; `None` if it is not good, or not any more."""
        if not ticket or len(ticket) > MAX_TICKET_CHARS:
            return None
        name = _name(ticket)
        found = (await self._documents.get(TICKETS, [name])).get(name)
        # Of any number of users at once the one whose deletion finds it has it.
        if found is None or not await self._documents.delete(TICKETS, {"_id": name}):
            return None
        now_s = self._clock.unix_s()
        if not found["good_until"] - VALID_FOR_S - 1 <= now_s < found["good_until"]:
            return None
        if found["expires_at"] <= now_s:
            return None
        roles = frozenset(map(Role, found["roles"]))
        return Caller(found["subject"], roles, found["expires_at"])

    async def purge(self) -> int:
        """Delete tickets that nobody used in time; return how many."""
        old = {"good_until": {"$lt": self._clock.unix_s()}}
        return await purge_all(self._documents, TICKETS, old)


def _name(ticket: str) -> str:
    return hashlib.sha256(ticket.encode(errors="replace")).hexdigest()

"""What operators asked for, kept in the store: who, when, from where, what (SPEC §6)."""

import logging
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aletheia.documents import Document, Documents
from aletheia.store.clock import SYSTEM_CLOCK, Clock, moment

log = logging.getLogger(__name__)

AUDIT: Final = "aletheia_service_audit"

MAX_CHARS: Final = 200
"""Of a name, and of where somebody acts from."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where.

    `source` is an address, a machine with the command line, or Prefect.
    """

    name: str
    source: str
    roles: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that somebody asked for."""

    id: str
    at: datetime
    who: str
    source: str  # empty in records of an earlier version
    roles: tuple[str, ...]
    action: str
    details: Mapping[str, Any]


class AuditLog:
    """The record of one store. An entry is written before its action is done, and never changed."""

    def __init__(self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._documents, self._clock = documents, clock

    async def prepare(self) -> None:
        """Make reading and purging fast. Idempotent."""
        await self._documents.ensure_index(AUDIT, ["at"])

    async def record(
        self, actor: Actor, action: str, details: Mapping[str, Any], *, id_: str | None = None
    ) -> bool:
        """Record what somebody asks for, before it is done; return whether that is new.

        `id_` is the entry's, where asking for the same again is nothing more.
        """
        document: Document = {
            "_id": id_ or uuid.uuid4().hex,
            "at": self._clock.now(),
            "subject": actor.name[:MAX_CHARS],
            "source": actor.source[:MAX_CHARS],
            "roles": sorted(map(str, actor.roles)),
            "action": action,
            "details": dict(details),
        }
        is_new = bool(await self._documents.insert(AUDIT, [document]))
        log.info("%s asks for %s, from %s: %s", actor.name, action, actor.source, dict(details))
        return is_new

    async def newest(self, limit: int) -> list[AuditEntry]:
        """Return the newest entries, the newest first."""
        found = await self._documents.find(AUDIT, {}, sort="at", descending=True, limit=limit)
        return [
            AuditEntry(
                id=row["_id"],
                at=moment(row["at"]),
                who=row["subject"],
                source=row.get("source", ""),
                roles=tuple(row["roles"]),
                action=row["action"],
                details=row["details"],
            )
            for row in found
        ]

"""A record of who did what by the service, kept in the store."""

import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final

from aletheia.documents import Document, Documents
from aletheia.service.purging import purge_all
from aletheia.service.roles import Caller
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds

log = logging.getLogger(__name__)

AUDIT: Final = "aletheia_service_audit"


async def record_action(
    documents: Documents,
    caller: Caller,
    action: str,
    details: Mapping[str, Any],
    *,
    id_: str | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> bool:
    """Record what a caller asked for, before it is done; return whether that is new.

    `id_` is the record's, where asking for the same again is nothing more.
    """
    document: Document = {
        "_id": id_ or uuid.uuid4().hex,
        "at": clock.now(),
        "subject": caller.subject,
        "roles": sorted(caller.roles),
        "action": action,
        "details": dict(details),
    }
    is_new = bool(await documents.insert(AUDIT, [document]))
    log.info("%s asks for %s: %s", caller.subject, action, dict(details))
    return is_new


async def purge_audit(
    documents: Documents, older_than_s: float, *, clock: Clock = SYSTEM_CLOCK
) -> int:
    """Delete records that are older than that; return how many."""
    old = {"at": {"$lt": clock.now() - microseconds(older_than_s)}}
    return await purge_all(documents, AUDIT, old)


async def prepare_audit(documents: Documents) -> None:
    """Make purging fast."""
    await documents.ensure_index(AUDIT, ["at"])

"""A record of who did what by the service, kept in the store."""

from collections.abc import Mapping
from typing import Any

from aletheia.documents import Documents
from aletheia.service.purging import purge_all
from aletheia.service.roles import Caller
from aletheia.store.audit import AUDIT, Actor, AuditLog
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds


async def record_action(
    documents: Documents,
    caller: Caller,
    action: str,
    details: Mapping[str, Any],
    *,
    id_: str | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> bool:
    """Record what a caller asked for; see `AuditLog.record`."""
    actor = Actor(caller.subject, f"the service, {caller.address or 'itself'}", caller.roles)
    return await AuditLog(documents, clock=clock).record(actor, action, details, id_=id_)


async def purge_audit(
    documents: Documents, older_than_s: float, *, clock: Clock = SYSTEM_CLOCK
) -> int:
    """Delete records that are older than that; return how many."""
    old = {"at": {"$lt": clock.now() - microseconds(older_than_s)}}
    return await purge_all(documents, AUDIT, old)

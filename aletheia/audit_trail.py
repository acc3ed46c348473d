"""What people did about the system, wherever that stands, as one list (SPEC §6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aletheia.documents import Document, Documents
from aletheia.reasoning.approvals import AUDIT as PLAN_AUDIT
from aletheia.reasoning.recommendations import RECOMMENDATIONS
from aletheia.store.audit import AuditLog
from aletheia.store.clock import moment

APPROVED: Final = "approved"
"""The event of a plan's record that a person causes."""

BY_PREFECT: Final = "prefect-ui"


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a person did: who, when, from where, what."""

    at: datetime
    who: str
    source: str
    action: str
    details: Mapping[str, Any]


async def list_acts(documents: Documents, limit: int) -> list[Act]:
    """Return what people did last, the newest first: actions, approvals and decisions."""
    acts = [
        Act(entry.at, entry.who, entry.source, entry.action, entry.details)
        for entry in await AuditLog(documents).newest(limit)
    ]
    approved = await documents.find(
        PLAN_AUDIT, {"event": APPROVED}, sort="at", descending=True, limit=limit
    )
    decided = await documents.find(
        RECOMMENDATIONS,
        {"decided_at": {"$gt": 0}},
        sort="decided_at",
        descending=True,
        limit=limit,
    )
    acts += [*map(_of_approval, approved), *map(_of_decision, decided)]
    return sorted(acts, key=lambda act: act.at, reverse=True)[:limit]


def _of_approval(entry: Document) -> Act:
    details = dict(entry["details"])
    who, role = details.pop("who", ""), details.get("role", "")
    source = "Prefect" if role == BY_PREFECT else "the service"
    return Act(moment(entry["at"]), who, source, "plan approve", details)


def _of_decision(row: Document) -> Act:
    details = {name: row[name] for name in ("finding", "decision", "reason") if row.get(name)}
    at, who = moment(row["decided_at"]), row["decided_by"]
    return Act(at, who, "the service", "recommendation decide", details)

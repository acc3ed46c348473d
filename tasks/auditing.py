"""Runs by which operators act, in the audit log (SPEC §6).

The service and the command line record who asked before they start such a run, and name the record
in its idempotency key. Whoever starts one in Prefect itself is recorded by the run.
"""

import getpass
import socket
from collections.abc import Mapping
from typing import Any, Final

from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run

from aletheia.documents import Documents
from aletheia.store.audit import Actor, AuditLog
from tasks.clients.store import get_store
from tasks.runs import read_run

RECORDED: Final = "action:"
"""How the idempotency key of a run begins that is in the audit log already."""


async def record_command(
    documents: Documents, action: str, details: Mapping[str, Any], *, id_: str | None = None
) -> None:
    """Record what somebody asks for at the command line."""
    actor = Actor(_name_user(), f"the command line, {socket.gethostname()}")
    await AuditLog(documents).record(actor, action, details, id_=id_)


async def record_this_run() -> None:
    """Record who started this run, once, unless that was done before it began."""
    run = await read_run(str(flow_run.id)) if flow_run.id else None
    if run is None or (run.idempotency_key or "").startswith(RECORDED):
        return
    action = f"{flow_run.flow_name}/{flow_run.flow_name}"
    actor = Actor(_name_starter(run), "Prefect")
    await AuditLog(await get_store()).record(actor, action, run.parameters, id_=f"run:{run.id}")


def _name_starter(run: FlowRun) -> str:
    """Name who started a run as far as Prefect knows; the open-source server knows no users."""
    known = None if run.created_by is None else run.created_by.display_value
    return str(known or run.parameters.get("user_id") or "unknown")


def _name_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have a user without a name
        return "unknown"

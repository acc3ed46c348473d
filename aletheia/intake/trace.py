"""What the ledger knows of one task, in order (SPEC §7, the command line)."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from pydantic import BaseModel

from aletheia.documents import Documents
from aletheia.intake.models import Origin
from aletheia.intake.rows import ROWS
from aletheia.llm.prices import usd_of
from aletheia.llm.usage import USAGE

MAX_CALLS: Final = 200
"""Calls to models that a trace shows, the first ones."""

_CALL_FIELDS: Final = (*("provider", "model", "kind", "state", "tokens_in", "tokens_out", "tasks"),)
_CALLBACK: Final = "callback_json"

MOMENTS: Final[Mapping[str, str]] = {
    "created_at": "created, by the upstream's clock",
    "claimed_at": "claimed",
    "taken_at": "taken over, or taken up again",
    "processing_at": "the upstream acknowledged `processing`",
    "queued_at": "handed over to its lane",
    "kept_at": "the report was written down",
    "resent_at": "listed as pending again",
    "reported_at": "the upstream acknowledged the report",
    "dead_at": "became a dead letter",
    "replaying_at": "a replay began",
    "finished_at": "finished",
    "waiting_until": "waits until then",
}
"""Moments of a row, Unix time in seconds, and what they mean."""

FACTS: Final = (
    *(
        "type",
        "group",
        "lane",
        "job",
        "generation",
        "owner",
        "attempts",
        "report_tries",
        "outcome",
        "result",
    ),
    *("usage", "error", "report_error", "waiting_for", "dead_code", "dead_message"),
    *("replay_refused", "listed_state", _CALLBACK, "content_hash"),
)
"""What else of a row is shown; never the task's content or its result's vectors."""


class Event(BaseModel, frozen=True):
    """A moment in the life of a task."""

    at: datetime
    what: str


class ModelCall(BaseModel, frozen=True):
    """A call to a model that was made for a task, perhaps for others together with it."""

    at: datetime
    provider: str
    model: str
    kind: str
    state: str  # see `UsageState`
    tokens_in: int  # as long as it is reserved, and if it was lost, the upper estimate
    tokens_out: int
    usd: str  # a decimal number
    tasks: int  # that were computed together


class Trace(BaseModel, frozen=True):
    """What the ledger knows of one content of a task's id."""

    task_id: str
    state: str  # of its row, see `RowState`
    origin: Origin  # where the task comes from
    events: list[Event]  # oldest first
    calls: list[ModelCall]  # that are still kept, oldest first
    facts: dict[str, Any]  # the rest, by the names of the row


async def read_traces(documents: Documents, task_id: str) -> list[Trace]:
    """Return what is known of a task, one trace for each content it had, oldest first."""
    traces: list[Trace] = []
    for row in await documents.find(ROWS, {"task_id": task_id}, sort="claimed_at"):
        moments = {name: row[name] for name in MOMENTS if row.get(name)}
        events = [
            Event(at=datetime.fromtimestamp(at_s, UTC), what=MOMENTS[name])
            for name, at_s in sorted(moments.items(), key=lambda moment: moment[1])
        ]
        facts = {name: row[name] for name in FACTS if row.get(name) not in (None, "", {})}
        traces.append(
            Trace(
                task_id=task_id,
                state=row["state"],
                origin=row.get("origin") or "upstream",
                events=events,
                calls=await _read_calls(documents, (row.get("computations") or "").split()),
                facts=facts,
            )
        )
    return traces


async def _read_calls(documents: Documents, computations: Sequence[str]) -> list[ModelCall]:
    """Read the calls to models of some computations."""
    if not computations:
        return []
    where = {"computation": {"$in": list(computations)}}
    found = await documents.find(USAGE, where, sort="at", limit=MAX_CALLS)
    return [
        ModelCall(
            at=datetime.fromtimestamp(call["at"], UTC),
            usd=f"{usd_of(call['nanousd']):f}",
            **{name: call[name] for name in _CALL_FIELDS},
        )
        for call in found
    ]


def hide_params(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts with the names alone of what the upstream sends along with its callback.

    The values are the upstream's, and may be secrets of whoever is called back.
    """
    shown = {name: value for name, value in facts.items() if name != _CALLBACK}
    if _CALLBACK not in facts:
        return shown
    try:
        sent: object = json.loads(facts[_CALLBACK])
    except (ValueError, TypeError, RecursionError):
        return shown
    callback = cast("dict[str, object]", sent) if isinstance(sent, dict) else {}
    params = callback.get("params")
    names = sorted(cast("dict[str, object]", params)) if isinstance(params, dict) else []
    return {**shown, "callback": {"route": callback.get("route"), "params": names}}

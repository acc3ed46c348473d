"""Tasks that are pushed to us, and their reports (SPEC §1, Tasks pushed to us).

A pushed task is a row of the ledger like any other one, claimed by nobody: the next shift takes it
over, checks, computes and reports it. Nothing is sent to an upstream about it. Its report is the
result that the ledger keeps, and where one was named, a signed callback.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, cast

import orjson

from aletheia.documents import Document, Documents
from aletheia.errors import InvalidTask
from aletheia.intake import counting
from aletheia.intake.models import PUSHED, Entry, NewTask, RowState
from aletheia.intake.parsing import parse_page, stub_of
from aletheia.intake.reports import RESULTS
from aletheia.intake.rows import ROWS, Rows
from aletheia.intake.wording import Wording

CALLBACK_URL: Final = "callback_url"

MAX_PUSHED: Final = 1000
"""Tasks in one request."""

_ENVELOPES: Final = ("tasks", "data", "items", "docs")
_ARRIVAL_S: Final = 1e-6
"""Between the moments by which the tasks of one request keep their order."""

PushedState: TypeAlias = Literal["pending", "processing", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class PushedTask:
    """What became of a task of a request: its id, and whether it was pushed before."""

    id: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class PushedStatus:
    """The status of a pushed task; `report` is its report once there is one."""

    id: str
    state: PushedState
    attempts: int
    report: Mapping[str, Any] | None


def read_pushed(body: object, *, max_entry_bytes: int) -> list[Entry]:
    """Read the tasks of a request: one, a list, or a list in an envelope, in any dialect.

    A task without an id gets a new one. What is wrong with a type or an input is found when the
    task is taken up, as for any other task.

    Raises:
        InvalidTask: `no_tasks`, `too_many_tasks`, `invalid_id`, `invalid_callback_url`,
            `duplicate_id`; `task_too_large`, and `invalid_input` of one that is nested too deep.
    """
    entries = [_read_entry(found, max_entry_bytes) for found in _list_entries(body)]
    task_id, times = Counter(entry.id for entry in entries).most_common(1)[0]
    if times > 1:
        raise InvalidTask("duplicate_id", f"{times} tasks have the id {task_id[:60]!r}")
    return entries


def _list_entries(body: object) -> Sequence[object]:
    found: object = body
    if isinstance(body, dict):
        envelope = cast("dict[str, object]", body)
        lists = [envelope[name] for name in _ENVELOPES if isinstance(envelope.get(name), list)]
        is_task = any(name in envelope for name in ("type", "task_type"))
        found = lists[0] if lists and not is_task else [envelope]
    if not isinstance(found, list) or not found:
        raise InvalidTask("no_tasks", "send a task, or a list of tasks")
    entries = cast("list[object]", found)
    if len(entries) > MAX_PUSHED:
        raise InvalidTask("too_many_tasks", f"a request has at most {MAX_PUSHED:,} tasks")
    return entries


def _read_entry(found: object, max_entry_bytes: int) -> Entry:
    if not isinstance(found, dict):
        raise InvalidTask("invalid_task", "a task is an object")
    fields = dict(cast("dict[str, object]", found))
    callback_url = fields.pop(CALLBACK_URL, None)
    if callback_url is not None and not isinstance(callback_url, str):
        raise InvalidTask("invalid_callback_url", f"the {CALLBACK_URL} is no text")
    for name in ("state", "status"):
        fields.pop(name, None)  # whatever it was elsewhere, here it begins
    if fields.get("id") is None and fields.get("_id") is None:
        fields["id"] = uuid.uuid4().hex
    page = parse_page([fields], max_entry_bytes=max_entry_bytes)
    if not page.entries:
        raise InvalidTask("invalid_id", page.rejected[0].reason)
    entry = page.entries[0]
    if isinstance(entry.task, InvalidTask) and entry.json == stub_of(entry.id, fields):
        raise entry.task  # nothing of it would be written down by which it could be told later
    return replace(entry, origin="pushed", callback_url=callback_url or None)


class PushedTasks:
    """The pushed tasks of a ledger."""

    def __init__(self, documents: Documents, rows: Rows) -> None:
        self._documents, self._rows = documents, rows

    async def push(self, entries: Sequence[Entry]) -> list[PushedTask]:
        """Write tasks down; one whose id was pushed before is that task, and not a second one.

        Raises:
            InvalidTask: `id_reused`: an id was pushed before with other content. Nothing of the
                request is written down, unless that happened at the same moment.
        """
        known = await self._documents.get(ROWS, [entry.row_id for entry in entries])
        for entry in entries:
            self._check_same(entry, known.get(entry.row_id))
        now_s = self._rows.clock.unix_s()
        rows: list[Document] = []
        counts: dict[str, Any] = {}
        for number, entry in enumerate(entries):
            # Nobody holds it, and by its end the one that came first is taken first.
            ended_s = now_s - self._rows.terms.skew_s - 1 + number * _ARRIVAL_S
            row = {**self._rows.new(NewTask(entry, "", 1)), **self._rows.lease(ended_s, None)}
            rows.append(row)
            counted_type = counting.type_of(entry)
            counts[entry.row_id] = counting.claimed(
                entry, counted_type, RowState.CLAIMED, now_s, self._rows.lane
            )
        new = await self._documents.insert(ROWS, rows, counts=counts)
        if len(new) < len(entries):
            # Somebody else may have pushed the same id with other content just now.
            found = await self._documents.get(ROWS, [entry.row_id for entry in entries])
            for entry in entries:
                self._check_same(entry, found.get(entry.row_id))
        return [PushedTask(entry.id, entry.row_id in new) for entry in entries]

    async def find(self, task_id: str) -> PushedStatus | None:
        """Return the status of a pushed task; `None` if there is no such one."""
        row_id = f"{task_id}{PUSHED}"
        row = (await self._documents.get(ROWS, [row_id], with_payload=True)).get(row_id)
        if row is None:
            return None
        body: bytes | None = row.get("payload")
        if body is None and row.get("outcome") is not None:
            saved = await self._documents.get(RESULTS, [row_id], with_payload=True)
            body = saved.get(row_id, {}).get("payload")
            if body is None and row.get("error"):
                body = Wording().failure(row["error"])
        report = None if body is None else orjson.loads(body)
        return PushedStatus(task_id, _state_of(row), int(row.get("attempts") or 0), report)

    def _check_same(self, entry: Entry, row: Document | None) -> None:
        if row is not None and row["content_hash"] != entry.content_hash:
            said = f"the id {entry.id[:60]!r} was pushed before, with other content"
            raise InvalidTask("id_reused", said)


def _state_of(row: Document) -> PushedState:
    if row.get("outcome") is not None:
        return "succeeded" if row["outcome"] == "succeeded" else "failed"
    if row["state"] == RowState.PROCESSING:
        return "processing"
    return "failed" if row["state"] in (RowState.DEAD, RowState.REJECTED) else "pending"


def describe_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return result, usage and error of a report, each `None` where it has none."""
    return {name: report.get(name) for name in ("result", "usage", "error")}

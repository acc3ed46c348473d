"""Reading pages and writing reports: three dialects in, one out (SPEC §1)."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import orjson
from pydantic import ValidationError

from aletheia.errors import AletheiaError, InvalidTask
from aletheia.intake.models import Entry, Outcome, Page, Rejected, Task

MAX_ID_LENGTH = 256
"""Longest id taken for one, characters; the upstream's own are 24 to 36."""

_INPUT_NAMES = ("data", "content", "input_data")
_MAX_DEPTH = 100
"""Deepest nesting looked into; deeper input serves no task type."""

PROCESSING = b'{"state":"processing"}'
"""The report that takes a task off the pending list."""


def parse_page(entries: Sequence[object], *, max_entry_bytes: int) -> Page:
    """Sort the entries of a page into tasks, faulty tasks, and what cannot be reported.

    Of several entries with one id the first (oldest) counts.

    Args:
        entries: JSON values as they came.
        max_entry_bytes: an entry longer than this, as JSON, fails as `task_too_large`; its
            content is not kept.
    """
    good: dict[str, Entry] = {}
    rejected: list[Rejected] = []
    not_pending: list[str] = []
    for entry in entries:
        text = _to_json(entry)
        try:
            task_id = _usable_id(entry)
        except InvalidTask as problem:
            cut = text[:max_entry_bytes]
            content_hash = _sha256(_to_json(entry, is_canonical=True))
            rejected.append(Rejected(content_hash, cut, problem.message))
            continue
        fields = cast("Mapping[str, object]", entry)
        if _is_pending(fields):
            good.setdefault(task_id, _read_entry(task_id, fields, text, max_entry_bytes))
        else:
            not_pending.append(task_id)
    return Page(len(entries), tuple(good.values()), tuple(rejected), tuple(not_pending))


def parse_entry(text: str) -> Entry:
    """Read an entry back from the JSON that the ledger kept."""
    entry = _from_json(text)
    return _read_entry(_usable_id(entry), cast("Mapping[str, object]", entry), text, len(text) * 4)


def succeeded(
    result: Mapping[str, Any], usage: Mapping[str, Any] | None, record: Mapping[str, Any]
) -> Outcome:
    """Write the report of a success.

    Args:
        result: for the upstream; NumPy arrays are written as lists.
        usage: for the upstream and the ledger.
        record: what of the result stays in the ledger.
    """
    report: dict[str, Any] = {"state": "succeeded", "result": dict(result)}
    if usage:
        report["usage"] = dict(usage)
    body = orjson.dumps(report, option=orjson.OPT_SERIALIZE_NUMPY)
    return Outcome(body, result=dict(record), usage=dict(usage) if usage else None)


def failed(error: AletheiaError) -> Outcome:
    """Write the report of a failure."""
    told = {"code": error.code, "message": _clean(str(error)), "retryable": error.retryable}
    return Outcome(orjson.dumps({"state": "failed", "error": told}), error=told)


def body_of_failure(error: Mapping[str, Any]) -> bytes:
    """Write the report of a failure again from what the ledger kept of it."""
    return orjson.dumps({"state": "failed", "error": dict(error)})


def failure_in(body: bytes) -> Mapping[str, Any] | None:
    """Read code and message from the report of a failure; `None` for another report."""
    if not body.startswith(b'{"state":"failed"'):
        return None
    told = cast("dict[str, Any]", orjson.loads(body)["error"])
    return {"code": told["code"], "message": told["message"]}


def _usable_id(entry: object) -> str:
    if not isinstance(entry, Mapping):
        raise InvalidTask("invalid_task", "the entry is not an object")
    fields = cast("Mapping[str, object]", entry)
    found = fields.get("id")
    if found is None:
        found = fields.get("_id")
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str):
        raise InvalidTask("invalid_id", "the entry has no id")
    # "." and ".." vanish when a path is normalised: a report would go to another address.
    if (
        not found.strip()
        or len(found) > MAX_ID_LENGTH
        or found in {".", ".."}
        or not found.isprintable()
    ):
        raise InvalidTask("invalid_id", f"the id {found[:40]!r} cannot be part of an address")
    return found


def _is_pending(fields: Mapping[str, object]) -> bool:
    state = _first(fields, ("state", "status"))
    return state is None or (isinstance(state, str) and state.strip().lower() == "pending")


def _read_entry(
    task_id: str, fields: Mapping[str, object], text: str, max_entry_bytes: int
) -> Entry:
    type_name = _first(fields, ("type", "task_type"))
    found_input = _first(fields, _INPUT_NAMES)
    parameters = fields.get("parameters")
    content = _to_json([_lower(type_name), found_input, parameters], is_canonical=True)
    content_hash = _sha256(content)
    try:
        if len(text) > max_entry_bytes:
            text = json.dumps({"id": task_id, "type": str(type_name)[:100]})
            raise InvalidTask(
                "task_too_large", f"the task is larger than {max_entry_bytes:,} bytes"
            )
        task: Task | InvalidTask = Task(
            id=task_id,
            type=_type_of(type_name),
            input=_input_of(found_input, parameters),
            callback_route=fields.get("callbackRoute"),
            callback_params=fields.get("callbackParams"),
            job_id=fields.get("job_id"),
            created_at=_first(fields, ("createdAt", "created_at")),
            retry_count=cast("int", fields.get("retry_count") or 0),
            max_retries=cast("int | None", fields.get("max_retries")),
            content_hash=content_hash,
        )
    except InvalidTask as problem:
        task = problem
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        task = InvalidTask("invalid_task", f"{name}: {first['msg']}")
    return Entry(task_id, content_hash, text, task)


def _type_of(found: object) -> str:
    if not isinstance(found, str) or not found.strip():
        raise InvalidTask("missing_type", "the task names no type")
    return found


def _input_of(found: object, parameters: object) -> dict[str, Any]:
    if found is None:
        raise InvalidTask("missing_input", f"the task has none of {', '.join(_INPUT_NAMES)}")
    if not isinstance(found, Mapping):
        raise InvalidTask("invalid_input", "the task's input is not an object")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise InvalidTask("invalid_input", "the task's parameters are not an object")
    given = cast("Mapping[str, Any]", found)
    tuned = cast("Mapping[str, Any]", parameters or {})
    merged = {**tuned, **given}
    for value in _leaves(merged):
        if isinstance(value, str) and not _is_unicode(value):
            raise InvalidTask("invalid_text", "the input holds half of a surrogate pair")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidTask("invalid_input", "the input holds a number that is not finite")
    return merged


def _leaves(value: object, depth: int = 0) -> Iterator[object]:
    if depth > _MAX_DEPTH:
        raise InvalidTask("invalid_input", f"the input is nested deeper than {_MAX_DEPTH}")
    if isinstance(value, Mapping):
        for name, inner in cast("Mapping[object, object]", value).items():
            yield name
            yield from _leaves(inner, depth + 1)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from _leaves(inner, depth + 1)
    else:
        yield value


def _first(fields: Mapping[str, object], names: Sequence[str]) -> object:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _to_json(value: object, *, is_canonical: bool = False) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if is_canonical else 0).decode()
    except (TypeError, RecursionError):
        # orjson takes neither half surrogates, nor integers over 64 bits, nor deep nesting.
        try:
            return json.dumps(value, sort_keys=is_canonical, separators=(",", ":"))
        except RecursionError:
            return json.dumps({"unreadable": "nested too deep"})


def _from_json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _clean(message: str, limit: int = 500) -> str:
    kept = "".join(c if c.isprintable() else " " for c in message[: limit * 2])
    return kept.encode(errors="replace").decode()[:limit]

"""Reading pages of tasks in three dialects (SPEC §1)."""

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, cast

import orjson
from pydantic import ValidationError

from aletheia.errors import InvalidTask
from aletheia.intake.models import Entry, Page, Rejected, Task

log = logging.getLogger(__name__)

MAX_ID_LENGTH = 256
"""Longest id taken for one, characters; the upstream's own are 24 to 36."""

MAX_REJECTED_LENGTH = 10_000
"""How much is recorded of an entry that cannot be reported, characters."""

MAX_MOMENT_LENGTH = 40
"""Longest moment that is read, characters; nanoseconds and a zone take 35."""

MAX_SECONDS = 32_503_680_000
MAX_MILLISECONDS = 1000 * MAX_SECONDS
"""The year 3000 in Unix time; what is larger in seconds is in milliseconds."""

_INPUT_NAMES = ("data", "content", "input_data")
_STATE_NAMES = ("state", "status")
_TYPE_NAMES = ("type", "task_type")
_CREATED_NAMES = ("createdAt", "created_at")
_MAX_DEPTH = 100
"""Deepest nesting that is read; deeper input serves no task type."""


def parse_page(entries: Sequence[object], *, max_entry_bytes: int) -> Page:
    """Sort the entries of a page into tasks, faulty tasks, and what cannot be reported.

    Of several entries with one id the first (oldest) counts. An entry longer than
    `max_entry_bytes`, as JSON, fails as `task_too_large`; its content is not kept.
    """
    good: dict[str, Entry] = {}
    rejected: list[Rejected] = []
    not_pending: list[str] = []
    for entry in entries:
        try:
            task_id = _usable_id(entry)
        except (InvalidTask, ValueError) as problem:
            try:
                text = _to_json(entry, is_canonical=True)
            except (RecursionError, ValueError):
                text = '"nested too deep, or too long a number"'
            rejected.append(Rejected(_sha256(text), text[:MAX_REJECTED_LENGTH], str(problem)))
            continue
        fields = cast("Mapping[str, object]", entry)
        state = _listed_state(fields)
        if state is not None and state.lower() != "pending":
            not_pending.append(task_id)
        elif task_id not in good:
            good[task_id] = _read_safely(task_id, fields, max_entry_bytes)
    return Page(len(entries), tuple(good.values()), tuple(rejected), tuple(not_pending))


def parse_entry(text: str) -> Entry:
    """Read an entry back from the JSON that the ledger kept."""
    # A faster reader makes floats of integers over 64 bits.
    entry: object = json.loads(text)
    task_id = _usable_id(entry)
    return _read_entry(task_id, cast("Mapping[str, object]", entry), len(text) * 4)


def routing_json(task: Task) -> str:
    """Return the upstream's own routing data, JSON, without half surrogates."""
    routing = {"route": task.callback_route, "params": task.callback_params}
    text = json.dumps(routing, ensure_ascii=False)
    return text if _is_unicode(text) else json.dumps(routing)


def _usable_id(entry: object) -> str:
    if not isinstance(entry, dict):
        raise InvalidTask("invalid_task", "the entry is not an object")
    fields = cast("Mapping[str, object]", entry)
    problems: list[InvalidTask] = []
    for found in (fields.get("id"), fields.get("_id")):
        if found is not None:
            try:
                return _read_id(found)
            except InvalidTask as unusable:
                problems.append(unusable)
    raise problems[0] if problems else InvalidTask("invalid_id", "the entry has no id")


def _read_id(found: object) -> str:
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str):
        raise InvalidTask("invalid_id", "the entry has no id")
    # "." and ".." vanish when a path is normalised: a report would go to another address.
    is_blank = not found.strip() or found in {".", ".."}
    if is_blank or len(found) > MAX_ID_LENGTH or not found.isprintable():
        raise InvalidTask("invalid_id", f"the id {found[:40]!r} cannot be part of an address")
    return found


def stub_of(task_id: str, fields: Mapping[str, object]) -> str:
    """Return what is saved of an entry that cannot be saved as it came, JSON."""
    task_type = _first(fields, _TYPE_NAMES)
    shown = task_type[:100] if isinstance(task_type, str) else type(task_type).__name__
    state = _listed_state(fields)
    return json.dumps({"id": task_id, "type": shown, **({"state": state} if state else {})})


def _listed_state(fields: Mapping[str, object]) -> str | None:
    state = _first(fields, _STATE_NAMES)
    return state.strip() if isinstance(state, str) else None


def _read_safely(task_id: str, fields: Mapping[str, object], max_entry_bytes: int) -> Entry:
    try:
        return _read_entry(task_id, fields, max_entry_bytes)
    except Exception as fault:
        # Nothing of the entry is shown: what cannot be read may not be printed either.
        log.exception("an entry cannot be read, and fails")
        problem = InvalidTask("invalid_task", f"it cannot be read: {type(fault).__name__}")
        text = stub_of(task_id, fields)
        return Entry(task_id, _sha256(f"unreadable {text}"), text, problem, _listed_state(fields))


def _read_entry(task_id: str, fields: Mapping[str, object], max_entry_bytes: int) -> Entry:
    stub, state = stub_of(task_id, fields), _listed_state(fields)
    if any(depth > _MAX_DEPTH and isinstance(it, dict | list) for it, depth in _walk(fields)):
        problem = InvalidTask("invalid_input", f"the task is nested deeper than {_MAX_DEPTH}")
        return Entry(task_id, _sha256(f"nested too deep {stub}"), stub, problem, state)
    text = _to_json(fields)
    try:
        if len(text.encode(errors="surrogatepass")) > max_entry_bytes:
            reason = f"the task is larger than {max_entry_bytes:,} bytes"
            raise InvalidTask("task_too_large", reason)
        task = _read_task(task_id, fields)
    except InvalidTask as problem:
        # What makes a task faulty may be anywhere in it: whatever changes makes it another one.
        whole = {name: value for name, value in fields.items() if name not in _STATE_NAMES}
        content_hash = _sha256(_to_json(whole, is_canonical=True))
        kept = stub if problem.code == "task_too_large" else text
        return Entry(task_id, content_hash, kept, problem, state)
    return Entry(task_id, task.content_hash, text, task, state)


def _read_task(task_id: str, fields: Mapping[str, object]) -> Task:
    if not isinstance(_first(fields, _STATE_NAMES), str | None):
        raise InvalidTask("invalid_state", "the task's state is not a name")
    task_type = _first(fields, _TYPE_NAMES)
    if not isinstance(task_type, str) or not task_type.strip():
        raise InvalidTask("missing_type", "the task names no type")
    found_input = _first(fields, _INPUT_NAMES)
    parameters = fields.get("parameters")
    content = _to_json([task_type.strip().lower(), found_input, parameters], is_canonical=True)
    try:
        return Task(
            id=task_id,
            type=task_type,
            input=_input_of(found_input, _unless_empty(parameters)),
            callback_route=fields.get("callbackRoute"),
            callback_params=fields.get("callbackParams"),
            job_id=_read_job(fields.get("job_id")),
            retry_count=cast("int", _unless_empty(fields.get("retry_count")) or 0),
            max_retries=cast("int | None", _unless_empty(fields.get("max_retries"))),
            created_at=_read_moment(_first(fields, _CREATED_NAMES)),
            content_hash=_sha256(content),
        )
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidTask("invalid_task", f"{name}: {first['msg']}") from problem


def _read_job(found: object) -> str:
    """Read the id of a task's job; what is none belongs to no job, since it only decides turns."""
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    is_usable = isinstance(found, str) and found.isprintable() and len(found) <= MAX_ID_LENGTH
    return found.strip() if is_usable and isinstance(found, str) else ""


def _read_moment(found: object) -> float | None:
    """Read a moment, ISO 8601 or a number of (milli)seconds, as Unix time; `None` if it is none.

    It only serves to measure how long a task has waited: what cannot be read is left out.
    """
    if isinstance(found, str):
        try:
            at = datetime.fromisoformat(found[:MAX_MOMENT_LENGTH])
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    elif isinstance(found, int | float) and not isinstance(found, bool):
        if not 0 < found <= MAX_MILLISECONDS:  # also of what is not a number
            return None
        seconds = found / 1000 if found > MAX_SECONDS else float(found)
    else:
        return None
    return seconds if 0 < seconds <= MAX_SECONDS else None


def _input_of(found: object, parameters: object) -> dict[str, Any]:
    if found is None:
        raise InvalidTask("missing_input", f"the task has none of {', '.join(_INPUT_NAMES)}")
    if not isinstance(found, Mapping):
        raise InvalidTask("invalid_input", "the task's input is not an object")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise InvalidTask("invalid_input", "the task's parameters are not an object")
    merged = cast("dict[str, Any]", {**(parameters or {}), **found})
    for value, _ in _walk(merged):
        if isinstance(value, str) and not _is_unicode(value):
            raise InvalidTask("invalid_text", "the input holds half of a surrogate pair")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidTask("invalid_input", "the input holds a number that is not finite")
    return merged


def _walk(value: object) -> Iterator[tuple[object, int]]:
    """Yield a JSON value, and whatever is in it, with depths; recursion would end too early."""
    todo: list[tuple[object, int]] = [(value, 1)]
    while todo:
        found, depth = todo.pop()
        yield found, depth
        if isinstance(found, dict):
            names_and_values = chain.from_iterable(cast("dict[object, object]", found).items())
            todo += [(inner, depth + 1) for inner in names_and_values]
        elif isinstance(found, list):
            todo += [(inner, depth + 1) for inner in cast("list[object]", found)]


def _first(fields: Mapping[str, object], names: Sequence[str]) -> object:
    """Return the first value with anything in it, or else the first one that is there."""
    found = [value for name in names if (value := fields.get(name)) is not None]
    return next(filter(_is_filled, found), next(iter(found), None))


def _unless_empty(value: object) -> object:
    """Return a value, and `None` for a blank text or an empty list or object."""
    text = value.strip() if isinstance(value, str) else value
    return None if text in ("", [], {}) else value


def _is_filled(value: object) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, dict):
        # One level: `{"text": ""}` holds nothing.
        fields = cast("dict[object, object]", value).values()
        return any(field.strip() if isinstance(field, str) else field for field in fields)
    return bool(value)


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
        return json.dumps(value, sort_keys=is_canonical, separators=(",", ":"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

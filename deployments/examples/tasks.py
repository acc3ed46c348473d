"""The tasks that the example upstream lists, and what should become of each."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from deployments.examples.texts import stdlib_texts

EXAMPLE_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
"""The model of the tasks that name one."""

NEWEST_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When the newest task was created, where nobody says."""

WORDS: Final = 30
"""About how many words a text has."""


@dataclass(frozen=True, slots=True)
class ExampleTask:
    """A task as it is listed, and the `error.code` it should be reported with, if it is faulty.

    It is not reportable if it has no id.
    """

    entry: dict[str, Any]
    code: str | None = None
    is_reportable: bool = True

    @property
    def id(self) -> str:
        """Its id, in whichever dialect."""
        return str(self.entry.get("id", self.entry.get("_id", "(no id)")))


def example_tasks(
    n: int,
    *,
    with_faults: bool = True,
    model: str = EXAMPLE_MODEL,
    newest_at: datetime = NEWEST_AT,
) -> list[ExampleTask]:
    """Return tasks in all three dialects, oldest first, with real texts of some 30 words.

    There are `n` good ones, of which a third name the model, and one of each fault among them. They
    were created a second apart, where their dialect says when; the newest one at `newest_at`.
    """

    def create(number: int) -> str:
        return (newest_at - timedelta(seconds=n - 1 - number)).isoformat()

    dialects = (_make_s0, partial(_make_s1, model=model), _make_s2)
    tasks = [
        ExampleTask(dialects[number % len(dialects)](number, text, create(number)))
        for number, text in enumerate(stdlib_texts(n, WORDS))
    ]
    if with_faults:
        faults = make_faulty_tasks()
        for place, fault in enumerate(faults):
            tasks.insert((place + 1) * len(tasks) // (len(faults) + 1), fault)
    return tasks


def make_faulty_tasks() -> list[ExampleTask]:
    """Return one task of each fault."""
    kind = {"type": "TEXT_EMBEDDING", "state": "PENDING"}
    long_text = "A text far too long to be embedded. " * 34_000
    faults: list[tuple[str, dict[str, Any]]] = [
        ("unknown_type", {"type": "HOROSCOPE", "state": "PENDING", "data": {"text": "Leo"}}),
        ("missing_text", {**kind, "data": {}}),
        ("empty_text", {**kind, "data": {"text": " "}}),
        ("invalid_text", {**kind, "data": {"text": ["not", "a", "string"]}}),
        ("input_too_long", {**kind, "data": {"text": long_text}}),
    ]
    tasks = [ExampleTask({"id": f"faulty-{code}", **entry}, code) for code, entry in faults]
    nameless = {**kind, "data": {"text": "A task without an id."}}
    return [*tasks, ExampleTask(nameless, is_reportable=False)]


def _make_s0(number: int, text: str, _: str) -> dict[str, Any]:
    task_id = f"docs/{number}" if number % 50 == 0 else f"task-{number:05}"
    data = {"text": text}
    return {"id": task_id, "type": "TEXT_EMBEDDING", "state": "PENDING", "data": data}


def _make_s1(number: int, text: str, created_at: str, *, model: str) -> dict[str, Any]:
    return {
        "_id": f"{0x65A0_0000_0000_0000_0000_0000 + number:024x}",
        "type": "text_embedding",
        "state": "pending",
        "content": {"text": text, "model": model},
        "callbackRoute": "/documents/embedded",
        "callbackParams": {"document": number},
        "createdAt": created_at,
    }


def _make_s2(number: int, text: str, created_at: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:example-task:{number}")),
        "task_type": "text_embedding",
        "status": "pending",
        "input_data": {"text": text},
        "parameters": {},
        "job_id": f"job-{number // 100}",
        "created_at": created_at,
        "retry_count": 0,
        "max_retries": 3,
    }

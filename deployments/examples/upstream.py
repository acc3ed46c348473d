"""The example upstream: the task API of SPEC §1 with real texts, for demo, benches and tests.

`GET /api/ai-tasks/{id}` and `GET /stats` show what became of the tasks.
"""

import hashlib
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from typing import Any, Final, cast
from urllib.parse import unquote

import orjson
from aiohttp import web

from deployments.examples.reports import read_report
from deployments.examples.server import LoopbackServer, answer, main
from deployments.examples.tasks import EXAMPLE_MODEL, example_tasks
from deployments.examples.worker_tasks import worker_examples

MAX_LIMIT: Final = 100
"""Largest page that is given out, tasks."""

DEFAULT_LIMIT: Final = 10
"""Page where no `limit` is given, tasks."""

TRANSITIONS: Final[Mapping[str, set[str]]] = {
    "pending": {"processing", "failed"},
    "processing": {"succeeded", "failed"},
    "succeeded": set[str](),
    "failed": set[str](),
}
"""States that may follow each state."""


@dataclass(slots=True)
class Task:
    """What the upstream knows about one task.

    `type` is in lower case, `states` and `report` are those that were accepted, `digest` is of the
    last one, `listed` holds the keys of its entries among the pending ones, and reports must be in
    the letter case of `listed_state`.
    """

    id: str
    type: str
    state: str = "pending"
    states: list[str] = field(default_factory=list[str])
    digest: bytes = b""
    report: bytes | None = None
    error_code: str | None = None
    listed: list[int] = field(default_factory=list[int])
    listed_state: str = "pending"


class ExampleUpstream(LoopbackServer):
    """The upstream's task API, served from memory; repeating an accepted report is a 200.

    `entries` are listed oldest first, in any dialect; a `limit` above `max_limit` is a 400; unless
    it `keeps_results`, a task is shown without its last report.
    """

    def __init__(
        self,
        entries: Iterable[object] = (),
        *,
        max_limit: int = MAX_LIMIT,
        keeps_results: bool = True,
        prefix: str = "",
    ) -> None:
        super().__init__(prefix=prefix)
        self.tasks: dict[str, Task] = {}
        self.max_limit = max_limit
        self.transitions = TRANSITIONS
        self._keeps_results = keeps_results
        self._pending: dict[int, bytes] = {}
        self._entries = 0
        self._without_id = 0
        self._first_listed_at: float | None = None
        self._last_accepted_at: float | None = None
        for entry in entries:
            self.add_entry(entry)

    def add_entry(self, entry: object, encoded: bytes | None = None) -> None:
        """List one more entry as pending, behind all others; without a usable id for ever.

        `encoded` is its JSON, where a strict encoder would write something else.
        """
        key = self._entries
        self._entries += 1
        self._pending[key] = orjson.dumps(entry) if encoded is None else encoded
        task_id, task_type = read_identity(entry)
        if task_id is None:
            self._without_id += 1
            return
        task = self.tasks.setdefault(task_id, Task(task_id, task_type))
        task.listed.append(key)
        fields = cast("dict[str, object]", entry)
        state = fields.get("state") or fields.get("status")
        task.listed_state = state if isinstance(state, str) else "pending"

    def read_stats(self) -> dict[str, Any]:
        """Return what became of the tasks, and the time from the first page to the last report."""
        tasks = self.tasks.values()
        first, last = self._first_listed_at, self._last_accepted_at
        return {
            "tasks": len(tasks),
            "without_id": self._without_id,
            "by_state": Counter(task.state for task in tasks),
            "by_error_code": Counter(task.error_code for task in tasks if task.error_code),
            "elapsed_s": None if first is None or last is None else last - first,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.rel_url.raw_path.removeprefix(self.prefix)
        folder, _, last = path.rpartition("/")
        task_id = unquote(last, errors="replace")
        match request.method, folder, last:
            case "GET", "/api/ai-tasks", "pending":
                return self._list(request.rel_url.query.get("limit"))
            case "GET", "", "stats":
                return answer(self.read_stats())
            case "GET", "/api/ai-tasks", segment if segment:
                return self._show(task_id)
            case "PATCH", "/api/ai-tasks", segment if segment:
                return self._accept(task_id, await request.read())
            case method, _, _:
                return refuse(HTTPStatus.NOT_FOUND, f"Cannot {method} {path}")

    def _list(self, asked: str | None) -> web.Response:
        limit = DEFAULT_LIMIT if asked is None else _read_limit(asked)
        if limit is None or limit > self.max_limit:
            message = f"limit must be an integer from 1 to {self.max_limit}"
            return refuse(HTTPStatus.BAD_REQUEST, message)
        if self._first_listed_at is None:
            self._first_listed_at = time.time()
        page = b",".join(islice(self._pending.values(), limit))
        return answer(b'{"data":[' + page + b"]}")

    def _show(self, task_id: str) -> web.Response:
        task = self.tasks.get(task_id)
        if task is None:
            return refuse(HTTPStatus.NOT_FOUND, f"task {task_id} not found")
        shown: dict[str, Any] = {"id": task.id, "state": task.state, "states": task.states}
        if task.report is not None:
            shown = orjson.loads(task.report) | shown
        return answer(shown)

    def _accept(self, task_id: str, body: bytes) -> web.Response:
        task = self.tasks.get(task_id)
        if task is None:
            return refuse(HTTPStatus.NOT_FOUND, f"task {task_id} not found")
        digest = hashlib.blake2b(body, digest_size=16).digest()
        if digest != task.digest:
            report, problems = read_report(body, task.type, task.listed_state)
            if problems:
                return refuse(HTTPStatus.BAD_REQUEST, *problems)
            state = report["state"]
            if state not in self.transitions[task.state]:
                message = f"task {task_id} is {task.state}, it cannot become {state}"
                return refuse(HTTPStatus.CONFLICT, message)
            task.state = state
            task.states.append(state)
            task.digest = digest
            task.report = body if self._keeps_results else None
            error = report.get("error") or {"code": "error_message"}
            task.error_code = error["code"] if state == "failed" else None
        self._last_accepted_at = time.time()
        for key in task.listed:
            self._pending.pop(key, None)
        task.listed.clear()
        return answer(b'{"ok":true}')


def refuse(status: int, *messages: str) -> web.Response:
    """Return an error in the form of NestJS."""
    return answer({"message": messages, "statusCode": status}, status)


def read_identity(entry: object) -> tuple[str | None, str]:
    """Return id and type of an entry in any dialect."""
    if not isinstance(entry, dict):
        return None, ""
    fields = cast("dict[str, object]", entry)
    found = fields["_id"] if fields.get("id") is None and "_id" in fields else fields.get("id")
    is_usable = isinstance(found, str | int) and not isinstance(found, bool) and found != ""
    task_id = str(found) if is_usable else None
    task_type = fields.get("type", fields.get("task_type"))
    return task_id, task_type.lower() if isinstance(task_type, str) else ""


def _read_limit(asked: str) -> int | None:
    is_number = asked.isascii() and asked.isdigit() and len(asked) <= len("999999999")
    return int(asked) or None if is_number else None


def _build(chosen: Namespace) -> ExampleUpstream:
    tasks = example_tasks(
        chosen.tasks,
        with_faults=not chosen.no_faults,
        model=chosen.model,
        newest_at=datetime.now(UTC),
    )
    if chosen.workers:
        tasks += [example.task for example in worker_examples()]
    return ExampleUpstream([task.entry for task in tasks])


if __name__ == "__main__":
    main(
        _build,
        {
            "--tasks": {"type": int, "default": 300, "help": "good tasks"},
            "--model": {"default": EXAMPLE_MODEL, "help": "that a third of the tasks name"},
            "--workers": {"action": "store_true", "help": "add a task of each type of workers"},
            "--no-faults": {"action": "store_true", "help": "leave out the faulty tasks"},
        },
    )

"""The bundled example upstream: the task API with real texts, for demos, benches and tests.

    python -m deployments.example_upstream --port 0 --tasks 300

listens on 127.0.0.1, prints one JSON line with its `url` when it does, keeps all state in memory,
and ends on SIGTERM or SIGINT. Besides the two endpoints of the API it serves
`GET /api/ai-tasks/{id}` and `GET /stats`, which tell what became of the tasks.
"""

import argparse
import ast
import hashlib
import os
import re
import sysconfig
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote

import orjson
import uvloop
from aiohttp import hdrs, web

from deployments.loopback import LoopbackServer, answer, read_secret, serve

EXAMPLE_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
"""What tasks name that name a model."""

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

PROPERTIES: Final = {
    "processing": {"state"},
    "succeeded": {"state", "result", "usage"},
    "failed": {"state", "error"},
}
"""Everything that may stand in a report of each state."""

_TASKS_PATH: Final = "/api/ai-tasks/"
_SKIPPED: Final = frozenset(
    {
        "distutils",
        "encodings",
        "idlelib",
        "lib2to3",
        "site-packages",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
    }
)


@dataclass(slots=True)
class Task:
    """What the upstream knows about one task.

    Attributes:
        id: as it stands in the path of a report, decoded.
        type: lower case; empty where the entry names none.
        state: where it stands now.
        states: accepted reports' states, in order; a repetition is not counted again.
        digest: of the last accepted report.
        report: the last accepted report, where those are kept.
        error_code: of the report of a failure.
        listed: keys of its entries among the pending ones.
    """

    id: str
    type: str
    state: str = "pending"
    states: list[str] = field(default_factory=list[str])
    digest: bytes = b""
    report: bytes | None = None
    error_code: str | None = None
    listed: list[int] = field(default_factory=list[int])


class ExampleUpstream(LoopbackServer):
    """The upstream's task API, served from memory on the loopback interface.

    It is as strict as an application that validates with whitelists: a report with an unknown
    property or a wrong type is a 400, an unknown id a 404, and a state that may not follow the
    task's present one a 409. Repeating an accepted report byte for byte is a 200.

    Args:
        entries: tasks as they are to be listed, oldest first, in any dialect.
        token: bearer token that every request must carry.
        max_limit: `limit` above it is a 400.
        keeps_results: keep each last report, so that a task can be shown with its result.
        prefix: path that stands before `/api`, such as `/gateway`.
    """

    def __init__(
        self,
        entries: Iterable[object] = (),
        *,
        token: str | None = None,
        max_limit: int = MAX_LIMIT,
        keeps_results: bool = True,
        prefix: str = "",
    ) -> None:
        super().__init__(prefix=prefix)
        self.tasks: dict[str, Task] = {}
        self.max_limit = max_limit
        self.transitions = TRANSITIONS
        self._authorization = None if token is None else f"Bearer {token}"
        self._keeps_results = keeps_results
        self._pending: dict[int, bytes] = {}
        self._entries = 0
        self._without_id = 0
        self._answers: Counter[str] = Counter()
        self._first_listed_at: float | None = None
        self._last_accepted_at: float | None = None
        for entry in entries:
            self.add_entry(entry)

    def add_entry(self, entry: object, encoded: bytes | None = None) -> None:
        """List one more entry as pending, behind all others.

        Args:
            entry: what is listed; without a usable id it stays pending for ever.
            encoded: its JSON, where that is not what a strict encoder would write.
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

    def read_stats(self) -> dict[str, Any]:
        """Say what became of the tasks, and when.

        Returns:
            `tasks` and `by_state` count ids, `without_id` entries that have none, `by_error_code`
            failed tasks, `requests` answers by method and status. `first_listed_at` (first page
            given out) and `last_accepted_at` (last accepted report) are seconds since the epoch,
            `elapsed_s` what lies between them.
        """
        tasks = self.tasks.values()
        first, last = self._first_listed_at, self._last_accepted_at
        return {
            "tasks": len(tasks),
            "without_id": self._without_id,
            "by_state": Counter(task.state for task in tasks),
            "by_error_code": Counter(task.error_code for task in tasks if task.error_code),
            "requests": self._answers,
            "first_listed_at": first,
            "last_accepted_at": last,
            "elapsed_s": None if first is None or last is None else last - first,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if (
            self._authorization is not None
            and request.headers.get(hdrs.AUTHORIZATION) != self._authorization
        ):
            return refuse(401, "Unauthorized")
        path = request.rel_url.raw_path.removeprefix(self.prefix)
        method = request.method
        if path.startswith(_TASKS_PATH):
            segment = path[len(_TASKS_PATH) :]
            if method == "PATCH" and segment and "/" not in segment:
                return self._accept(unquote(segment, errors="replace"), await request.read())
            if method == "GET" and segment == "pending":
                return self._list(request.rel_url.query.get("limit"))
            if method == "GET" and segment and "/" not in segment:
                return self._show(unquote(segment, errors="replace"))
        if method == "GET" and path == "/stats":
            return answer(orjson.dumps(self.read_stats()))
        return refuse(404, f"Cannot {method} {path}")

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and count it."""
        response = await self.handle(request)
        self._answers[f"{request.method} {response.status}"] += 1
        return response

    def _list(self, asked: str | None) -> web.Response:
        limit = DEFAULT_LIMIT if asked is None else _read_limit(asked)
        if limit is None or limit > self.max_limit:
            return refuse(400, f"limit must be an integer from 1 to {self.max_limit}")
        if self._first_listed_at is None:
            self._first_listed_at = time.time()
        page = b",".join(islice(self._pending.values(), limit))
        return answer(b'{"data":[' + page + b"]}")

    def _show(self, task_id: str) -> web.Response:
        task = self.tasks.get(task_id)
        if task is None:
            return refuse(404, f"task {task_id} not found")
        shown: dict[str, Any] = {"id": task.id, "state": task.state, "states": task.states}
        if task.report is not None:
            shown |= orjson.loads(task.report)
        return answer(orjson.dumps(shown))

    def _accept(self, task_id: str, body: bytes) -> web.Response:
        task = self.tasks.get(task_id)
        if task is None:
            return refuse(404, f"task {task_id} not found")
        digest = _digest(body)
        if digest != task.digest:
            report, problems = read_report(body, task.type)
            if problems:
                return refuse(400, *problems)
            state = report["state"]
            if state not in self.transitions[task.state]:
                return refuse(409, f"task {task_id} is {task.state}, it cannot become {state}")
            task.state = state
            task.states.append(state)
            task.digest = digest
            task.report = body if self._keeps_results else None
            task.error_code = report["error"]["code"] if state == "failed" else None
        self._last_accepted_at = time.time()
        for key in task.listed:
            self._pending.pop(key, None)
        task.listed.clear()
        return answer(b'{"ok":true}')


def refuse(status: int, *messages: str) -> web.Response:
    """Answer with an error, in the form that NestJS gives it."""
    body = orjson.dumps({"message": messages, "statusCode": status})
    return answer(body, status)


def read_identity(entry: object) -> tuple[str | None, str]:
    """Read id and type of an entry in any dialect."""
    if not isinstance(entry, dict):
        return None, ""
    fields = cast("dict[str, object]", entry)
    found = fields["_id"] if fields.get("id") is None and "_id" in fields else fields.get("id")
    is_usable = isinstance(found, str | int) and not isinstance(found, bool) and found != ""
    task_id = str(found) if is_usable else None
    task_type = fields.get("type", fields.get("task_type"))
    return task_id, task_type.lower() if isinstance(task_type, str) else ""


def read_report(body: bytes, task_type: str) -> tuple[dict[str, Any], list[str]]:
    """Read a report and list what is wrong with it.

    Args:
        body: the JSON that came.
        task_type: lower case; decides what a result must hold.

    Returns:
        The report, and a sentence for each problem; it is valid if there is none.
    """
    try:
        found: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return {}, [f"the body is not JSON: {error}"]
    if not isinstance(found, dict):
        return {}, ["the body must be an object"]
    report = cast("dict[str, Any]", found)
    state = report.get("state")
    if not isinstance(state, str) or state not in PROPERTIES:
        return {}, [f"state must be one of {', '.join(PROPERTIES)}"]
    problems = _find_strangers(report, PROPERTIES[state])
    if state == "succeeded":
        problems += _check_result(report.get("result"), task_type)
        problems += _check_usage(report.get("usage", {}))
    elif state == "failed":
        problems += _check_error(report.get("error"))
    return report, problems


def _check_result(found: object, task_type: str) -> list[str]:
    if not isinstance(found, dict):
        return ["result must be an object"]
    result = cast("dict[str, Any]", found)
    if task_type != "text_embedding":
        return []
    problems = _find_strangers(
        result, {"embedding", "model", "provider", "dimensions", "truncated", "mock"}, "result."
    )
    embedding = result.get("embedding")
    if not isinstance(embedding, list) or not embedding:
        problems.append("result.embedding must be a list of numbers")
    else:
        numbers = cast("list[object]", embedding)
        if not set(map(type, numbers)) <= {float, int}:
            problems.append("result.embedding must be a list of numbers")
        if type(result.get("dimensions")) is not int or result["dimensions"] != len(numbers):
            problems.append("result.dimensions must be the length of result.embedding")
    problems += [
        f"result.{name} must be a string"
        for name in ("model", "provider")
        if not isinstance(result.get(name), str) or not result[name]
    ]
    problems += [
        f"result.{name} must be true or false"
        for name in ("truncated", "mock")
        if not isinstance(result.get(name, False), bool)
    ]
    return problems


def _check_usage(found: object) -> list[str]:
    if not isinstance(found, dict):
        return ["usage must be an object"]
    usage = cast("dict[str, object]", found)
    return [
        f"usage.{name} must be a number"
        for name, value in usage.items()
        if type(value) not in (int, float)
    ]


def _check_error(found: object) -> list[str]:
    if not isinstance(found, dict):
        return ["error must be an object"]
    error = cast("dict[str, object]", found)
    problems = _find_strangers(error, {"code", "message", "retryable"}, "error.")
    problems += [
        f"error.{name} must be a string"
        for name in ("code", "message")
        if not isinstance(error.get(name), str) or not error[name]
    ]
    if not isinstance(error.get("retryable"), bool):
        problems.append("error.retryable must be true or false")
    return problems


def _find_strangers(found: dict[str, Any], known: set[str], path: str = "") -> list[str]:
    return [f"property {path}{name} should not exist" for name in found.keys() - known]


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _read_limit(asked: str) -> int | None:
    is_number = asked.isascii() and asked.isdigit() and len(asked) <= 9  # noqa: PLR2004
    return int(asked) or None if is_number else None


def stdlib_texts(n: int, words: int) -> list[str]:
    """Make texts out of the docstrings of Python's standard library.

    They are whole sentences of one module, or of several where a module has too few; the
    selection depends on nothing but the Python version.

    Args:
        n: how many.
        words: about how many words each has, at least 5; the last sentence is cut where it
            would exceed this by a fifth.

    Returns:
        `n` distinct texts.

    Raises:
        ValueError: the library does not hold that much.
    """
    texts = list(islice(_make_texts(words), n))
    if len(texts) < n:
        raise ValueError(f"the standard library has only {len(texts)} texts of {words} words")
    return texts


def _make_texts(words: int) -> Iterator[str]:
    made: set[str] = set()
    gathered: list[str] = []
    for sentence in _read_sentences():
        gathered += sentence.split()
        if len(gathered) < 0.95 * words:
            continue
        text = " ".join(gathered[: words * 6 // 5])
        gathered.clear()
        if text not in made:
            made.add(text)
            yield text


def _read_sentences() -> Iterator[str]:
    """Read the prose of all docstrings, module by module, in an order that mixes the subjects."""
    root = Path(sysconfig.get_path("stdlib"))
    modules: list[str] = []
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in _SKIPPED]
        place = Path(directory).relative_to(root)
        modules += [(place / name).as_posix() for name in files if name.endswith(".py")]
    for module in sorted(modules, key=lambda name: _digest(name.encode())):
        yield from _read_module(root / module)


@cache
def _read_module(path: Path) -> tuple[str, ...]:
    """Read the sentences of a module's docstrings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some modules hold escapes that Python warns about
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return ()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return tuple(
        sentence
        for node in ast.walk(tree)
        if isinstance(node, documented)
        for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or "")
        if _is_prose(paragraph)
        for sentence in re.split(r"(?<=[.!?])\s+", paragraph.strip())
    )


def _is_prose(paragraph: str) -> bool:
    words = paragraph.split()
    plain = sum(word.strip(".,;:()!?'\"").isalpha() for word in words)
    return len(words) >= 5 and plain >= 0.7 * len(words)  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class ExampleTask:
    """A task of the example upstream, and what should become of it.

    Attributes:
        entry: as it is listed.
        code: `error.code` of the failure it should be reported with; `None` for a good one.
        is_reportable: whether it has an id.
    """

    entry: dict[str, Any]
    code: str | None = None
    is_reportable: bool = True


def example_tasks(
    n: int, *, words: int = 30, with_faults: bool = True, model: str = EXAMPLE_MODEL
) -> list[ExampleTask]:
    """Make tasks in all three dialects, with real texts.

    Args:
        n: how many good ones; every 50th has an id with a slash.
        words: about how long their texts are.
        with_faults: spread one task of each fault among them.
        model: what a third of them ask to be embedded with; the others name none.

    Returns:
        The tasks, oldest first.
    """
    dialects = (_make_s0, partial(_make_s1, model=model), _make_s2)
    tasks = [
        ExampleTask(dialects[number % len(dialects)](number, text))
        for number, text in enumerate(stdlib_texts(n, words))
    ]
    if with_faults:
        faults = make_faulty_tasks()
        for place, fault in enumerate(faults):
            tasks.insert((place + 1) * len(tasks) // (len(faults) + 1), fault)
    return tasks


def make_faulty_tasks() -> list[ExampleTask]:
    """Make one task of each fault."""
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


def _make_s0(number: int, text: str) -> dict[str, Any]:
    task_id = f"docs/{number}" if number % 50 == 0 else f"task-{number:05}"
    data = {"text": text}
    return {"id": task_id, "type": "TEXT_EMBEDDING", "state": "PENDING", "data": data}


def _make_s1(number: int, text: str, *, model: str) -> dict[str, Any]:
    return {
        "_id": f"{0x65A0_0000_0000_0000_0000_0000 + number:024x}",
        "type": "text_embedding",
        "state": "pending",
        "content": {"text": text, "model": model},
        "callbackRoute": "/documents/embedded",
        "callbackParams": {"document": number},
        "createdAt": _make_time(number),
    }


def _make_s2(number: int, text: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:example-task:{number}")),
        "task_type": "text_embedding",
        "status": "pending",
        "input_data": {"text": text},
        "parameters": {},
        "job_id": f"job-{number // 100}",
        "created_at": _make_time(number),
        "retry_count": 0,
        "max_retries": 3,
    }


def _make_time(number: int) -> str:
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)).isoformat()


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the example upstream as a process of its own."""
    parser = argparse.ArgumentParser(prog="example_upstream", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--tasks", type=int, default=300, help="good tasks")
    parser.add_argument("--words", type=int, default=30, help="of a task's text, about")
    parser.add_argument("--model", default=EXAMPLE_MODEL, help="that a third of the tasks name")
    parser.add_argument("--no-faults", action="store_true", help="leave out the faulty tasks")
    parser.add_argument("--max-limit", type=int, default=MAX_LIMIT, help="largest page")
    parser.add_argument("--forget-results", action="store_true", help="keep states only")
    parser.add_argument(
        "--token",
        metavar="VARIABLE",
        help="ask for a bearer token; it is read from this environment variable, or from the "
        "first line of standard input where this is -",
    )
    options = parser.parse_args(arguments)
    token = None if options.token is None else read_secret("--token", options.token)
    tasks = example_tasks(
        options.tasks,
        words=options.words,
        with_faults=not options.no_faults,
        model=options.model,
    )
    upstream = ExampleUpstream(
        [task.entry for task in tasks],
        token=token,
        max_limit=options.max_limit,
        keeps_results=not options.forget_results,
    )
    uvloop.run(serve(upstream, options.port))


if __name__ == "__main__":
    main()

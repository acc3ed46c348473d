"""Log lines as JSON, each with the run and the task that it is about (SPEC §6, Logs)."""

import logging
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import trace
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from aletheia.escaping import show_controls
from aletheia.redaction import SECRETS

RUN_ID: Final = ContextVar[str | None]("run_id", default=None)
"""The run that this code works for; `None` outside of runs."""

REQUEST_ID: Final = ContextVar[str | None]("request_id", default=None)
"""The request that this code answers; `None` outside of the service."""

MAX_NAMED_TASKS: Final = 128
"""Tasks of one computation that lines and spans name."""

MAX_ID_CHARS: Final = 256


@dataclass(frozen=True, slots=True)
class Computation:
    """Tasks that are computed together, once: a try of some of them is another computation."""

    id: str
    task_ids: tuple[str, ...]

    @property
    def named_tasks(self) -> list[str]:
        """The ids of its tasks, as far as lines and spans name them."""
        return [task_id[:MAX_ID_CHARS] for task_id in self.task_ids[:MAX_NAMED_TASKS]]


COMPUTATION: Final = ContextVar[Computation | None]("computation", default=None)
"""What this code computes; `None` outside of the computing of tasks."""

FIELDS: Final = ("message", "levelname", "name")
RENAMED: Final = {"levelname": "level", "name": "logger", "exc_info": "exception"}
LEFT_OUT: Final = (*RESERVED_ATTRS, "color_message")
"""What records have beside that; uvicorn repeats its message with colours."""


def about_task(task_id: str) -> dict[str, Any]:
    """Return what to give as `extra` with a line about one task."""
    return {"task_id": task_id[:MAX_ID_CHARS]}


@contextmanager
def about_run(run_id: str | None) -> Generator[None]:
    """Mark all lines of a block, and of what it starts, as those of a run."""
    token = RUN_ID.set(run_id)
    try:
        yield
    finally:
        RUN_ID.reset(token)


@contextmanager
def about_request(request_id: str) -> Generator[None]:
    """Mark all lines of a block, and of what it starts, as those of a request to the service."""
    token = REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        REQUEST_ID.reset(token)


@contextmanager
def about_tasks(task_ids: Sequence[str]) -> Generator[Computation]:
    """Mark all lines and calls to models of a block as those of a computation of some tasks."""
    computation = Computation(uuid.uuid4().hex, tuple(task_ids))
    token = COMPUTATION.set(computation)
    try:
        yield computation
    finally:
        COMPUTATION.reset(token)


class Correlating(logging.Filter):
    """Adds to each line the ids by which those of a run, a request, a task or a trace are found.

    Set on a handler; what a line says about itself stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids, and let every line pass."""
        values = vars(record)
        if (run_id := RUN_ID.get()) is not None:
            values.setdefault("run_id", run_id)
        if (request_id := REQUEST_ID.get()) is not None:
            values.setdefault("request_id", request_id)
        if (computation := COMPUTATION.get()) is not None:
            values.setdefault("computation_id", computation.id)
            if "task_id" not in values:
                values.setdefault("task_ids", computation.named_tasks)
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            values.setdefault("trace_id", f"{context.trace_id:032x}")
            values.setdefault("span_id", f"{context.span_id:016x}")
        return True


class TextFormatter(logging.Formatter):
    """Writes what another formatter does, without secrets and what controls a terminal."""

    def __init__(self, form: logging.Formatter) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Write a line."""
        return show_controls(SECRETS.redact(self._form.format(record)))


def clean(handler: logging.Handler) -> None:
    """Make a handler write lines without secrets and what controls a terminal. Idempotent."""
    form = handler.formatter or logging.Formatter()
    if not isinstance(form, TextFormatter):
        handler.setFormatter(TextFormatter(form))


class Repeated:
    """Says what comes with every task once, and then how often it came.

    For what an outage makes each of a thousand tasks say. A kind is said again after a while.
    """

    def __init__(self, log: logging.Logger, *, every_s: float = 60.0) -> None:
        self._log, self._every_s = log, every_s
        self._said: dict[str, tuple[float, int, int]] = {}  # when, how severe, how many since

    def say(self, kind: str, level: int, message: str, *args: object, task_id: str = "") -> None:
        """Write a line, unless one of its kind was written a moment ago."""
        now = time.monotonic()
        said_at, _, more = self._said.get(kind, (float("-inf"), level, 0))
        if now - said_at < self._every_s:
            self._said[kind] = (said_at, level, more + 1)
            return
        self._count(kind)
        self._said[kind] = (now, level, 0)
        self._log.log(level, message, *args, extra=about_task(task_id) if task_id else None)

    def flush(self) -> None:
        """Write how often each kind came since it was said, and begin anew."""
        for kind in tuple(self._said):
            self._count(kind)
        self._said.clear()

    def _count(self, kind: str) -> None:
        _, level, more = self._said.get(kind, (0.0, logging.DEBUG, 0))
        if more:
            self._log.log(level, "%s: %d more like it", kind, more)


def use_json(handler: logging.Handler) -> None:
    """Make a handler write each line as one JSON object. Idempotent.

    Its fields are `timestamp` (UTC), `level`, `logger`, `message`, `exception`, the ids, and what
    a line gives as `extra`.
    """
    handler.setFormatter(
        JsonFormatter(FIELDS, rename_fields=RENAMED, timestamp=True, reserved_attrs=LEFT_OUT)
    )
    clean(handler)
    if not any(isinstance(known, Correlating) for known in handler.filters):
        handler.addFilter(Correlating())


def configure_logs(level: str, *, is_json: bool) -> None:
    """Write what this process logs to standard error, from a level on."""
    handler = logging.StreamHandler()
    if is_json:
        use_json(handler)
    else:
        line = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        handler.setFormatter(logging.Formatter(line))
        clean(handler)
    logging.basicConfig(handlers=[handler], force=True)
    # Below that, it and what it hands its logger to write down whole requests, with their tokens.
    lowest_other = max(logging.INFO, logging.getLevelNamesMapping()[level])
    for name, lowest in (("aletheia", level), ("uvicorn", lowest_other)):
        logger = logging.getLogger(name)
        logger.setLevel(lowest)
        # Prefect has handlers of its own for some, which write in another form.
        logger.handlers.clear()
        logger.propagate = True

"""SQLite connections on threads of their own, which coroutines of any event loop can ask."""

import asyncio
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from aletheia.errors import Unavailable
from aletheia.store.patience import STORE

T = TypeVar("T")
P = ParamSpec("P")

LOCK_TIMEOUT_S = 10.0
"""How long a write waits for those of other processes."""

_EAGER_TRIES, _EAGER_PAUSE_S, _PAUSE_S = 100, 0.001, 0.005
"""How often another process's lock is tried.

Commits follow each other closely, and SQLite's own handler soon waits 100 ms between two tries:
a writer could be kept out for seconds by a busy neighbour.
"""


@dataclass(eq=False, slots=True)
class _Job:
    """Some work, and the coroutine that waits for its answer."""

    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    answer: Any = None
    error: Exception | None = None


class Reader:
    """A thread that does, in order, what coroutines ask of its connection, and closes it.

    Each job changes nothing, and sees what was committed before it began. `name` is of what the
    file is; `check` raises `OSError` when it is not the same any more.
    """

    _group_size = 1
    """How many jobs are done before any of them is answered."""

    def __init__(
        self, name: str, connection: sqlite3.Connection, check: Callable[[], None]
    ) -> None:
        self._name = name
        self._connection = connection
        self._check = check
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._is_closed = False
        # A daemon, so that a process that never closes its store can still end; whatever was
        # reported to it as done has been committed.
        thread = f"{name}-{type(self).__name__.lower()}"
        self._thread = threading.Thread(target=self._run, name=thread, daemon=True)
        self._thread.start()

    async def ask(
        self,
        work: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do some work with the connection and these arguments, and return its answer.

        A cancelled caller's work is done completely or not at all. It may be done a second time
        after the first was rolled back.

        Raises:
            Unavailable: SQLite failed, or the worker is closed.
            ValueError: SQLite cannot hold a value, or the work raised it.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        job = _Job(lambda connection: work(connection, *args, **kwargs), future)
        with self._gate:
            if self._is_closed:
                raise Unavailable(self._name, "it is closed")
            self._jobs.put(job)
        try:
            return await future
        except (sqlite3.DataError, OverflowError) as error:
            raise ValueError(f"SQLite cannot hold this: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise unavailable(error, self._name) from error

    def close(self) -> None:
        """Do what was asked so far, then end; blocks until then. Idempotent."""
        with self._gate:
            if not self._is_closed:
                self._is_closed = True
                self._jobs.put(None)
        self._thread.join()

    def _serve(self, jobs: list[_Job]) -> None:
        """Do these jobs and note the answer or error of each."""
        for job in jobs:
            try:
                job.answer = job.work(self._connection)
            except Exception as error:  # noqa: BLE001 - its caller's business
                job.error = error

    def _run(self) -> None:
        is_open = True
        while is_open:
            jobs, is_open = self._next_jobs()
            try:
                self._check()
                self._serve(jobs)
            except Exception as error:  # noqa: BLE001 - a thread that dies leaves callers waiting
                for job in jobs:
                    job.error = error
            _settle(jobs)
        self._connection.close()

    def _next_jobs(self) -> tuple[list[_Job], bool]:
        """Wait for a job; return it, those queued behind it, and whether more may come."""
        jobs: list[_Job] = []
        entry = self._jobs.get()
        with suppress(Empty):
            while entry is not None:
                if not entry.future.cancelled():
                    jobs.append(entry)
                if len(jobs) == self._group_size:
                    return jobs, True
                entry = self._jobs.get_nowait()
        return jobs, entry is not None


class Alongside(Protocol):
    """What each transaction of a writer writes beside its jobs; called by the writer's thread."""

    def begin(self) -> None:
        """Begin a transaction; the one before may have been rolled back."""
        ...

    def write(self, connection: sqlite3.Connection) -> None:
        """Write, right before the commit."""
        ...

    def settle(self) -> None:
        """Learn that the transaction is committed."""
        ...


class Writer(Reader):
    """A thread that does all jobs waiting for it in one transaction, answered after its commit.

    Its connection is without a busy timeout: other processes are waited for `LOCK_TIMEOUT_S`.
    """

    _group_size = 256

    def __init__(
        self,
        name: str,
        connection: sqlite3.Connection,
        check: Callable[[], None],
        alongside: Alongside | None = None,
    ) -> None:
        self._alongside = alongside
        super().__init__(name, connection, check)

    def _serve(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        self._roll_back()
        retrying(
            lambda: self._connection.execute("BEGIN IMMEDIATE"),
            is_wanted=lambda: not all(job.future.cancelled() for job in jobs),
        )
        try:
            self._do(jobs)
        except Exception as error:
            self._roll_back()
            if len(jobs) == 1:
                raise
            self._serve_singly(jobs, error)

    def _do(self, jobs: list[_Job]) -> None:
        """Do these jobs, and what is written alongside, and commit."""
        if self._alongside is not None:
            self._alongside.begin()
        for job in jobs:
            job.answer = job.work(self._connection)
        if self._alongside is not None:
            self._alongside.write(self._connection)
        self._connection.execute("COMMIT")
        if self._alongside is not None:
            self._alongside.settle()

    def _serve_singly(self, jobs: list[_Job], first: Exception) -> None:
        """Do each job of a failed group in a transaction of its own, so that only bad ones fail.

        Savepoints would cost two statements a job, and a full disk ends the transaction all
        the same.
        """
        for job in jobs:
            if isinstance(first, sqlite3.OperationalError) and is_busy(first):
                job.error = first
                continue
            try:
                self._serve([job])
            except Exception as error:  # noqa: BLE001 - its caller's business
                job.error = first = error

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def retrying(attempt: Callable[[], T], is_wanted: Callable[[], bool] = lambda: True) -> T:
    """Try until no other process's lock is in the way, or nobody waits for it any more.

    Raises:
        sqlite3.OperationalError: it still was then, or after `LOCK_TIMEOUT_S`; or something else
            is wrong.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    tries = 0
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline or not is_wanted():
                raise
        tries += 1
        time.sleep(_EAGER_PAUSE_S if tries < _EAGER_TRIES else _PAUSE_S)


def fetch(
    connection: sqlite3.Connection, statement: str, parameters: Sequence[Any] = ()
) -> list[Any]:
    """Execute a statement and return all its rows."""
    return connection.execute(statement, parameters).fetchall()


def is_busy(error: sqlite3.OperationalError) -> bool:
    """Return whether a lock of another connection was in the way."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def unavailable(error: Exception, dependency: str = STORE) -> Unavailable:
    """Return the error that stands for one of SQLite or of the file system."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return Unavailable(dependency, f"{error} ({name})")


def _settle(jobs: list[_Job]) -> None:
    """Wake each event loop once for all its answers."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Job]] = defaultdict(list)
    for job in jobs:
        by_loop[job.future.get_loop()].append(job)
    for loop, answered in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_answer, answered)


def _answer(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.answer)
        else:
            job.future.set_exception(job.error)

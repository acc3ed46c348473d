"""A SQLite file that the processes of one machine share.

One thread writes, in groups with one commit each; another one reads beside it, which SQLite's
write-ahead log allows.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aletheia.adapters.documents import worker
from aletheia.adapters.documents.worker import Alongside, Reader, Writer, retrying, unavailable
from aletheia.errors import Misconfigured, Unavailable
from aletheia.store.patience import STORE

_WAL_LIMIT = 64 * 2**20
"""Bytes the write-ahead log keeps on disk after a burst."""

_creation = threading.Lock()
"""Held while a file is created by hand.

Closing any descriptor of a file drops all locks the process has on it, so this must not happen
while SQLite has the same file open.
"""


class SqliteFile:
    """A file with a connection to write and one to read.

    It and its directory are readable by their owner only, since they hold what tasks say.

    Its directory is created on opening if it is missing. `written_format`, of its tables, is kept
    in the file, so that an older program does not touch what a newer one wrote. `setup` creates the
    tables, if they are known beforehand; repeatable. Errors and threads are called by `name`. With
    `is_durable` an answer to a write means that it survives a power failure, too. `alongside` is
    written with every transaction.
    """

    def __init__(
        self,
        path: Path,
        written_format: int,
        *,
        setup: Callable[[sqlite3.Connection], None] | None = None,
        name: str = STORE,
        is_durable: bool = True,
        alongside: Alongside | None = None,
    ) -> None:
        self._path, self._format, self._setup, self._name = path, written_format, setup, name
        self._is_durable, self._opening = is_durable, threading.Lock()
        self._alongside = alongside
        self._workers: tuple[Writer, Reader] | None = None

    async def open(self) -> None:
        """Create the file if there is none, and connect. Idempotent.

        Raises:
            Unavailable: it cannot be made or read, or is something else.
            Misconfigured: a newer version of this program wrote it.
        """
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Do what was asked so far, then disconnect. Idempotent."""
        await asyncio.to_thread(self._close)

    @property
    def writer(self) -> Writer:
        """What changes the file; raises `Unavailable` if it is not open."""
        return self._open_workers()[0]

    @property
    def reader(self) -> Reader:
        """What reads the file; raises `Unavailable` if it is not open."""
        return self._open_workers()[1]

    def _open(self) -> None:
        with self._opening:
            if self._workers is not None:
                return
            try:
                place = self._create()
                writing = self._connect()
                try:
                    reading = self._connect()
                except BaseException:
                    writing.close()
                    raise
            except (sqlite3.Error, OSError) as error:
                raise unavailable(error, self._name) from error

            def check() -> None:
                if _place_of(self._path) != place:
                    raise FileNotFoundError(f"{self._path} is not the file that was opened")

            writing.execute("PRAGMA busy_timeout = 0")
            writer = Writer(self._name, writing, check, self._alongside)
            self._workers = writer, Reader(self._name, reading, check)

    def _close(self) -> None:
        with self._opening:
            workers, self._workers = self._workers or (), None
            for opened in workers:
                opened.close()

    def _create(self) -> tuple[int, int]:
        """Make directory and file if they are missing, and return the file's identity."""
        with _creation:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return _place_of(self._path)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=worker.LOCK_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            retrying(lambda: self._prepare(connection))
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Set up a new connection, and the file if it is new."""
        ((mode,),) = connection.execute("PRAGMA journal_mode = WAL").fetchall()
        if mode != "wal":
            raise OSError(f"no write-ahead log can be kept here, only {mode!r}")
        for pragma in (
            f"synchronous = {'FULL' if self._is_durable else 'NORMAL'}",
            f"journal_size_limit = {_WAL_LIMIT}",
            "cache_size = -16000",
            "temp_store = MEMORY",  # what tasks say goes into no other file
            "secure_delete = FAST",
        ):
            connection.execute(f"PRAGMA {pragma}")
        ((written,),) = connection.execute("PRAGMA user_version").fetchall()
        if written > self._format:
            reason = f"its {self._name} has format {written}; this version reads {self._format}"
            raise Misconfigured("ALETHEIA_DATA_DIR", reason)
        if self._setup is not None:
            self._setup(connection)
        if written < self._format:
            connection.execute(f"PRAGMA user_version = {self._format}")

    def _open_workers(self) -> tuple[Writer, Reader]:
        if self._workers is None:
            raise Unavailable(self._name, "it is not open")
        return self._workers


def _place_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino

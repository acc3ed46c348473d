"""The counters of a SQLite file: one row each, added to in the transactions of its writer."""

import sqlite3
import threading
from collections.abc import Iterable
from typing import Final

import orjson

from aletheia.adapters.documents.worker import fetch
from aletheia.metrics import bound_name
from aletheia.series import Counts

MAX_REMEMBERED: Final = 10_000
"""Names whose way into the table is remembered."""

_ADD: Final = """\
INSERT INTO counters(name, value) SELECT key, value FROM json_each(?) WHERE value IS NOT NULL
ON CONFLICT(name) DO UPDATE SET value = value + excluded.value"""


def create_counters(connection: sqlite3.Connection) -> None:
    """Create the table of counters if it is missing."""
    connection.execute("CREATE TABLE IF NOT EXISTS counters(name TEXT PRIMARY KEY, value)")


def read_counters(connection: sqlite3.Connection) -> dict[str, float]:
    """Return all counters."""
    return dict(fetch(connection, "SELECT name, value FROM counters"))


class CounterTable:
    """What a writer adds to the counters of its file, in one statement a transaction.

    `note` may be called from any thread; the rest is for the writer's: `begin`, any number of
    `add`, `write` before the commit, and `settle` after it. What was noted and not committed is
    written again by the next transaction.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._noted: dict[str, float] = {}
        self._taken: dict[str, float] = {}  # of what was noted, by the transaction under way
        self._adding: dict[str, float] = {}
        self._names: dict[str, str] = {}  # where a name's amounts go
        self._new_names: dict[str, str] = {}

    @property
    def has_noted(self) -> bool:
        """Whether anything waits for a write."""
        return bool(self._noted or self._taken)

    def note(self, counts: Counts) -> None:
        """Add something with the next transaction."""
        with self._gate:
            _sum_into(self._noted, counts)

    def begin(self) -> None:
        """Forget what a transaction that was rolled back has added."""
        self._adding.clear()
        self._new_names.clear()

    def add(self, counts: Counts, times: int = 1) -> None:
        """Add something with this transaction."""
        if times == 1:
            _sum_into(self._adding, counts)
        elif times:
            _sum_into(self._adding, {name: amount * times for name, amount in counts.items()})

    def write(self, connection: sqlite3.Connection) -> None:
        """Write what this transaction adds."""
        with self._gate:
            noted, self._noted = self._noted, {}
        _sum_into(self._taken, noted)
        amounts: dict[str, float] = {}
        _sum_into(amounts, self._adding)
        _sum_into(amounts, self._taken)
        if not amounts:
            return
        if not amounts.keys() <= self._names.keys():
            self._find_names(connection, amounts)
        bounded: dict[str, float] = {}
        for name, amount in amounts.items():
            written = self._new_names.get(name) or self._names[name]
            bounded[written] = bounded.get(written, 0) + amount
        connection.execute(_ADD, [orjson.dumps(bounded).decode()])

    def settle(self) -> None:
        """Forget what is committed."""
        self._taken.clear()
        if self._new_names:
            if len(self._names) > MAX_REMEMBERED:
                self._names.clear()
            self._names |= self._new_names

    def _find_names(self, connection: sqlite3.Connection, names: Iterable[str]) -> None:
        """Find where the amounts of names go that are not known yet."""
        known = {name for (name,) in fetch(connection, "SELECT name FROM counters")}
        for name in names:
            if name not in self._names:
                written = name if name in known else bound_name(name, known)
                self._new_names[name] = written
                known.add(written)


def _sum_into(sums: dict[str, float], counts: Counts) -> None:
    for name, amount in counts.items():
        sums[name] = sums.get(name, 0) + amount
